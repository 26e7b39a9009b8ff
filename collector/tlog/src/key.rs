//! Keys that notes are signed and verified with (c2sp.org/signed-note, c2sp.org/tlog-cosignature).

use crate::note::{NoteError, SignatureLine};
use crate::public::PublicKey;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// The text of a note, by a log: type 0x01 (Ed25519) or 0x02 (ECDSA).
    Log,
    /// A checkpoint with the time at which it was seen, by a witness: type 0x04.
    Witness,
}

/// Whose signatures are looked for, and what verifies them: a `vkey`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    usage: Use,
    public: PublicKey,
}

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form.
    #[error(
        "not a verifier key such as `example.org/log+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k`"
    )]
    Form,
    /// A key of a type that nothing here verifies.
    #[error(
        "its type 0x{0:02x} is not known: a log has 0x01 (Ed25519) or 0x02 (ECDSA P-256 or P-384), a witness 0x04 \
         (Ed25519 cosignature)"
    )]
    Type(u8),
    /// It was mistyped.
    #[error("its id is {found} where its name and key have {expected}: it was mistyped or changed")]
    Id {
        /// In the text.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// A name that a signature line cannot carry.
    #[error("`{0}` is no name of a key: 1 to 255 bytes of printable text without spaces and `+`")]
    Name(String),
    /// A private key that cannot be used.
    #[error("not an Ed25519 private key (PKCS #8, PEM) below a line `{TITLE}NAME`")]
    Private,
    /// No random numbers.
    #[error("the system has no randomness to make a key of")]
    Randomness,
}

/// A signature that is not the key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct WrongSignature;

impl VerifierKey {
    /// A key under a name. Witnesses have Ed25519 keys only (c2sp.org/tlog-cosignature).
    pub fn new(name: &str, usage: Use, public: PublicKey) -> Result<Self, KeyError> {
        let key = Self {
            name: checked(name)?.to_owned(),
            usage,
            public,
        };
        match (usage, &key.public) {
            (Use::Witness, PublicKey::P256(_) | PublicKey::P384(_)) => Err(KeyError::Type(0x02)),
            _ => Ok(key),
        }
    }

    /// Name of the key; of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn usage(&self) -> Use {
        self.usage
    }

    /// The key itself.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    fn kind(&self) -> u8 {
        match (self.usage, &self.public) {
            (Use::Witness, _) => 0x04,
            (Use::Log, PublicKey::Ed25519(_)) => 0x01,
            (Use::Log, PublicKey::P256(_) | PublicKey::P384(_)) => 0x02,
        }
    }

    /// Tells signature lines apart, together with the name. That of an ECDSA key is made of the key alone.
    pub fn id(&self) -> [u8; 4] {
        let public = self.public.to_bytes();
        let digest = match &self.public {
            PublicKey::Ed25519(_) => Sha256::new()
                .chain_update(&self.name)
                .chain_update([b'\n', self.kind()])
                .chain_update(public)
                .finalize(),
            PublicKey::P256(_) | PublicKey::P384(_) => Sha256::digest(public),
        };
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Checks the signature of a line over the text of a note; gives the time in seconds since 1970 that a witness
    /// says.
    pub fn verify(&self, text: &str, line: &SignatureLine) -> Result<Option<u64>, WrongSignature> {
        let (time, message, signature) = match self.usage {
            Use::Log => (None, text.to_owned(), line.signature.as_slice()),
            Use::Witness => {
                let (time, signature) = line.signature.split_first_chunk().ok_or(WrongSignature)?;
                let time = u64::from_be_bytes(*time);
                (Some(time), cosigned(time, text), signature)
            }
        };
        if self.public.verifies(message.as_bytes(), signature) {
            Ok(time)
        } else {
            Err(WrongSignature)
        }
    }
}

fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Whether a key can have this name.
pub fn check_name(name: &str) -> Result<(), KeyError> {
    checked(name).map(|_| ())
}

fn checked(name: &str) -> Result<&str, KeyError> {
    let fits = |char: char| !char.is_whitespace() && !char.is_control() && char != '+';
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(KeyError::Name(name.chars().take(80).collect()));
    }
    Ok(name)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind()];
        key.extend_from_slice(&self.public.to_bytes());
        let id = u32::from_be_bytes(self.id());
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let (kind, public) = key.split_first().ok_or(KeyError::Form)?;
        let (usage, public) = match kind {
            0x01 => (Use::Log, PublicKey::of_ed25519(public)),
            0x02 => (Use::Log, PublicKey::of_spki(public)),
            0x04 => (Use::Witness, PublicKey::of_ed25519(public)),
            other => return Err(KeyError::Type(*other)),
        };
        let key = Self::new(name, usage, public.ok_or(KeyError::Form)?)?;
        let expected = format!("{:08x}", u32::from_be_bytes(key.id()));
        if id != expected {
            return Err(KeyError::Id {
                found: id.to_owned(),
                expected,
            });
        }
        Ok(key)
    }
}

/// The line above a private key, before its name.
const TITLE: &str = "Norma note key of ";
const TAG: &str = "PRIVATE KEY";

/// A private key with its name.
pub struct SigningKey {
    name: String,
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl SigningKey {
    /// Makes a key; gives it with the text of its file.
    pub fn generate(name: &str) -> Result<(Self, String), KeyError> {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Randomness)?;
        let name = checked(name)?;
        let text = format!(
            "{TITLE}{name}\n{}",
            pem::encode(&pem::Pem::new(TAG, der.as_ref()))
        );
        Ok((Self::of_pkcs8(name, der.as_ref())?, text))
    }

    /// Reads the text of a key's file.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let name = text.lines().find_map(|line| line.strip_prefix(TITLE));
        let pem = pem::parse(text).map_err(|_| KeyError::Private)?;
        if pem.tag() != TAG {
            return Err(KeyError::Private);
        }
        Self::of_pkcs8(name.ok_or(KeyError::Private)?, pem.contents())
    }

    fn of_pkcs8(name: &str, der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Private)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| KeyError::Private)?;
        Ok(Self {
            name: checked(name)?.to_owned(),
            pair,
            public,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What others verify with.
    pub fn verifier(&self, usage: Use) -> VerifierKey {
        VerifierKey {
            name: self.name.clone(),
            usage,
            public: PublicKey::Ed25519(self.public),
        }
    }

    /// Signs the text of a note as a log does.
    pub fn sign(&self, text: &str) -> SignatureLine {
        self.line(Use::Log, self.pair.sign(text.as_bytes()).as_ref().to_vec())
    }

    /// Cosigns a checkpoint as a witness does, at `time` in seconds since 1970.
    pub fn cosign(&self, text: &str, time: u64) -> SignatureLine {
        let mut signature = time.to_be_bytes().to_vec();
        signature.extend_from_slice(self.pair.sign(cosigned(time, text).as_bytes()).as_ref());
        self.line(Use::Witness, signature)
    }

    fn line(&self, usage: Use, signature: Vec<u8>) -> SignatureLine {
        SignatureLine {
            name: self.name.clone(),
            id: self.verifier(usage).id(),
            signature,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.name)
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.signature);
        writeln!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::Signature(line.chars().take(80).collect());
        let (name, bytes) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or_else(wrong)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| wrong())?;
        let (id, signature) = bytes.split_first_chunk().ok_or_else(wrong)?;
        if signature.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            name: checked(name).map_err(|_| wrong())?.to_owned(),
            id: *id,
            signature: signature.to_vec(),
        })
    }
}
