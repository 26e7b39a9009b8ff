//! Keys that notes are signed and verified with (c2sp.org/signed-note, c2sp.org/tlog-cosignature).

use crate::note::{NoteError, SignatureLine};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// The text of a note, by a log: type 0x01.
    Log,
    /// A checkpoint with the time at which it was seen, by a witness: type 0x04.
    Witness,
}

impl Use {
    const fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }
}

/// Whose signatures are looked for, and what verifies them: a `vkey`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    usage: Use,
    public: [u8; 32],
}

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not of the form.
    #[error(
        "not a verifier key such as `example.org/log+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k`"
    )]
    Form,
    /// A key that is not Ed25519.
    #[error(
        "its type 0x{0:02x} is not known: a log has 0x01 (Ed25519), a witness 0x04 (Ed25519 cosignature)"
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
    /// Name of the key; of a log, its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn usage(&self) -> Use {
        self.usage
    }

    /// The key itself (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Tells signature lines apart, together with the name.
    pub fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.usage.byte()])
            .chain_update(self.public)
            .finalize();
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
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(message.as_bytes(), signature)
            .map_err(|_| WrongSignature)?;
        Ok(time)
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
        let mut key = vec![self.usage.byte()];
        key.extend_from_slice(&self.public);
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
        let (usage, public) = key.split_first().ok_or(KeyError::Form)?;
        let usage = match usage {
            1 => Use::Log,
            4 => Use::Witness,
            other => return Err(KeyError::Type(*other)),
        };
        let key = Self {
            name: checked(name)?.to_owned(),
            usage,
            public: public.try_into().map_err(|_| KeyError::Form)?,
        };
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
            public: self.public,
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
