//! A session with a token, and the one key in it that is used.

use super::uri::Pkcs11Uri;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use norma_tlog::PublicKey;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A PIN is far shorter.
const MAX_PIN: u64 = 1024;
/// Signed once a session, to see that the key's two halves belong together. It is the beginning of no note that is
/// signed otherwise.
const CHECK: &str = "norma.dev/key-check/v1\n";

/// CKA_EC_PARAMS: the object identifiers of curves in DER, and for Ed25519 also its name, as PKCS #11 allows.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// Why a token does not sign.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// The library.
    #[error("cannot load the PKCS #11 library {}: {why}; is the token's software installed?", path.display())]
    Module {
        /// `module-path`.
        path: PathBuf,
        /// The loader's answer.
        why: String,
    },
    /// No such token.
    #[error(
        "no such token is there ({there}); is it plugged in, and the server of a network token reachable?"
    )]
    Away {
        /// Those that are.
        there: String,
    },
    /// No such key.
    #[error("the token has {found} {what} that fit `object` and `id`, and it must be one")]
    Objects {
        /// How many.
        found: usize,
        /// Private or public keys.
        what: &'static str,
    },
    /// A key that makes no signature of a note.
    #[error("the key is none that can sign here: Ed25519, or ECDSA on P-256 or P-384")]
    Curve,
    /// The file with the PIN.
    #[error("cannot use the PIN in {}: {source}", path.display())]
    PinFile {
        /// `pin-source`.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A wrong PIN.
    #[error(
        "the token refuses the PIN ({0}). It is not tried again before the next start: a token locks itself after a few tries"
    )]
    Pin(String),
    /// A wrong PIN would lock the token.
    #[error(
        "the token has one try of its PIN left before it locks itself: log in by hand with the right PIN first"
    )]
    LastTry,
    /// Somebody replaced it.
    #[error(
        "the token has another key than at the start; a log keeps its key, or is told of the next one as `audit.next_key`"
    )]
    OtherKey,
    /// The signature is not the public key's.
    #[error("what the token signs does not verify under the public key in it")]
    Signature,
    /// Any other answer.
    #[error("the token answers {0}")]
    Answer(String),
}

impl From<Error> for TokenFault {
    fn from(error: Error) -> Self {
        Self::Answer(short(&error))
    }
}

/// The name of an answer; the crate has pages of the standard for each.
fn short(error: &Error) -> String {
    match error {
        Error::Pkcs11(answer, function) => format!("{function}: {answer:?}"),
        other => other.to_string(),
    }
}

/// An open session.
pub struct Open {
    module: Pkcs11,
    session: Session,
    key: ObjectHandle,
    public: PublicKey,
}

impl Open {
    /// Loads the library, finds token and key, and lets the token sign once.
    pub fn begin(uri: &Pkcs11Uri) -> Result<Self, TokenFault> {
        let module = Pkcs11::new(&uri.module).map_err(|error| TokenFault::Module {
            path: uri.module.clone(),
            why: short(&error),
        })?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // By another key of the same library.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(error.into()),
        }
        Self::with(module, uri)
    }

    /// A new session in place of one that failed. The library begins anew only where that does not help: another key
    /// may be in use through it.
    pub fn again(self, uri: &Pkcs11Uri) -> Result<Self, TokenFault> {
        let Self { module, session, .. } = self;
        drop(session);
        match Self::with(module.clone(), uri) {
            Err(fault) if !fault.is_final() => {}
            done => return done,
        }
        Self::reset(module);
        Self::begin(uri)
    }

    /// Ends the library's work in this process, so that it looks for its tokens anew.
    fn reset(module: Pkcs11) {
        if let Err(error) = module.finalize() {
            tracing::debug!(error = short(&error), "the PKCS #11 library could not be ended");
        }
    }

    fn with(module: Pkcs11, uri: &Pkcs11Uri) -> Result<Self, TokenFault> {
        let found = slot(&module, uri).and_then(|slot| Ok((module.open_ro_session(slot)?, slot)));
        let (session, slot) = match found {
            Ok(found) => found,
            Err(fault) => {
                // With nothing open, the next attempt sees what has come since.
                Self::reset(module);
                return Err(fault);
            }
        };
        log_in(&module, &session, slot, uri)?;
        let key = private(&session, uri)?;
        let public = public(&session, uri, key)?;
        let open = Self {
            module,
            session,
            key,
            public,
        };
        open.sign(CHECK)?;
        Ok(open)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a text; the signature verifies.
    pub fn sign(&self, text: &str) -> Result<Vec<u8>, TokenFault> {
        let signature = match &self.public {
            PublicKey::Ed25519(_) => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                self.session.sign(&pure, self.key, text.as_bytes())?
            }
            PublicKey::P256(_) | PublicKey::P384(_) => {
                let digest = Sha256::digest(text);
                let raw = self.session.sign(&Mechanism::Ecdsa, self.key, &digest)?;
                in_der(&raw)
            }
        };
        if self.public.verifies(text.as_bytes(), &signature) {
            Ok(signature)
        } else {
            Err(TokenFault::Signature)
        }
    }
}

impl TokenFault {
    /// Trying again would do harm.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Pin(_) | Self::LastTry)
    }

    /// The same once more, of a fault that is final.
    pub fn again(&self) -> Self {
        match self {
            Self::LastTry => Self::LastTry,
            other => Self::Pin(match other {
                Self::Pin(answer) => answer.clone(),
                _ => other.to_string(),
            }),
        }
    }
}

fn slot(module: &Pkcs11, uri: &Pkcs11Uri) -> Result<Slot, TokenFault> {
    let mut there = Vec::new();
    for slot in module.get_slots_with_token()? {
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        let fits = |wanted: &Option<String>, has: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == has.trim_end())
        };
        if fits(&uri.token, info.label())
            && fits(&uri.serial, info.serial_number())
            && fits(&uri.manufacturer, info.manufacturer_id())
            && fits(&uri.model, info.model())
        {
            return Ok(slot);
        }
        if info.token_initialized() {
            there.push(format!("`{}`", info.label().trim_end()));
        }
    }
    Err(TokenFault::Away {
        there: match there.len() {
            0 => "the library knows no other either".to_owned(),
            _ => format!("there is {}", there.join(", ")),
        },
    })
}

fn log_in(module: &Pkcs11, session: &Session, slot: Slot, uri: &Pkcs11Uri) -> Result<(), TokenFault> {
    let info = module.get_token_info(slot)?;
    if !info.login_required() {
        return Ok(());
    }
    if info.user_pin_final_try() {
        return Err(TokenFault::LastTry);
    }
    let pin = match &uri.pin {
        Some(path) => Some(read_pin(path).map_err(|source| TokenFault::PinFile {
            path: path.clone(),
            source,
        })?),
        None if info.protected_authentication_path() => None,
        None => {
            return Err(TokenFault::Pin(
                "it wants one, and the URI has no `pin-source`".to_owned(),
            ));
        }
    };
    match session.login(UserType::User, pin.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(
            error @ Error::Pkcs11(
                RvError::PinIncorrect
                | RvError::PinInvalid
                | RvError::PinLenRange
                | RvError::PinExpired
                | RvError::PinLocked,
                _,
            ),
        ) => Err(TokenFault::Pin(short(&error))),
        Err(error) => Err(error.into()),
    }
}

fn read_pin(path: &std::path::Path) -> io::Result<AuthPin> {
    if fs::metadata(path)?.permissions().mode() & 0o007 != 0 {
        return Err(io::Error::other(
            "everybody can read or write it: chmod 600 it, and change the PIN if others had access",
        ));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_PIN).read_to_string(&mut text)?;
    Ok(AuthPin::from(text.trim_end_matches(['\r', '\n'])))
}

fn named(class: ObjectClass, uri: &Pkcs11Uri) -> Vec<Attribute> {
    let label = uri
        .object
        .as_ref()
        .map(|label| Attribute::Label(label.as_bytes().to_vec()));
    let id = uri.id.clone().map(Attribute::Id);
    [Some(Attribute::Class(class)), label, id]
        .into_iter()
        .flatten()
        .collect()
}

fn only(found: &[ObjectHandle], what: &'static str) -> Result<ObjectHandle, TokenFault> {
    match found {
        [one] => Ok(*one),
        _ => Err(TokenFault::Objects {
            found: found.len(),
            what,
        }),
    }
}

fn private(session: &Session, uri: &Pkcs11Uri) -> Result<ObjectHandle, TokenFault> {
    only(
        &session.find_objects(&named(ObjectClass::PRIVATE_KEY, uri))?,
        "private keys",
    )
}

/// The public key beside the private one: with the same id, which is what ids are for, or else of the same name.
fn public(session: &Session, uri: &Pkcs11Uri, private: ObjectHandle) -> Result<PublicKey, TokenFault> {
    let id = session
        .get_attributes(private, &[AttributeType::Id])?
        .into_iter()
        .find_map(|attribute| match attribute {
            Attribute::Id(id) if !id.is_empty() => Some(id),
            _ => None,
        });
    let wanted = match id {
        Some(id) => vec![Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Id(id)],
        None => named(ObjectClass::PUBLIC_KEY, uri),
    };
    let object = only(
        &session.find_objects(&wanted)?,
        "public keys beside the private one",
    )?;
    let (mut curve, mut point) = (Vec::new(), Vec::new());
    for attribute in session.get_attributes(object, &[AttributeType::EcParams, AttributeType::EcPoint])? {
        match attribute {
            Attribute::EcParams(value) => curve = value,
            Attribute::EcPoint(value) => point = value,
            _ => {}
        }
    }
    let key = match curve.as_slice() {
        P256 => PublicKey::of_point(bare(&point, 65)),
        P384 => PublicKey::of_point(bare(&point, 97)),
        ED25519 | ED25519_NAME => bare(&point, 32).try_into().map(PublicKey::Ed25519).ok(),
        _ => None,
    };
    key.ok_or(TokenFault::Curve)
}

/// CKA_EC_POINT is an OCTET STRING in DER; some tokens give its content alone.
fn bare(point: &[u8], length: u8) -> &[u8] {
    point
        .strip_prefix(&[0x04, length])
        .filter(|rest| rest.len() == usize::from(length))
        .unwrap_or(point)
}

/// PKCS #11 gives the two numbers of an ECDSA signature side by side; others take them in DER (RFC 3279).
fn in_der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let content = [number(r), number(s)].concat();
    // At most 2 * (2 + 1 + 48) bytes: a length of one byte, all of whose values below 128 are short.
    [&[0x30, content.len() as u8], content.as_slice()].concat()
}

fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = &bytes[zeros.min(bytes.len().saturating_sub(1))..];
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) {
        &[0]
    } else {
        &[]
    };
    [&[0x02, (sign.len() + digits.len()) as u8], sign, digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_der_wants_them_and_never_negative() {
        assert_eq!(in_der(&[0, 1, 0x80, 2]), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 2]);
        assert_eq!(in_der(&[0, 0, 0, 5]), [0x30, 6, 2, 1, 0, 2, 1, 5]);
        let most = in_der(&[0xff; 96]);
        assert_eq!((most.len(), most[1]), (104, 102));
    }

    #[test]
    fn a_point_is_taken_with_and_without_its_wrapping() {
        let mut wrapped = vec![0x04, 32];
        wrapped.extend([0x04; 32]);
        assert_eq!(bare(&wrapped, 32), [0x04; 32]);
        assert_eq!(bare(&[0x04; 32], 32), [0x04; 32]);
        assert_eq!(bare(&[0x04; 34], 32).len(), 34, "neither one nor the other");
    }
}
