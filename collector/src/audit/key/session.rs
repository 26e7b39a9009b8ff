//! A session with a token, and the one key in it that is used.

use super::uri::Pkcs11Uri;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A PIN is far shorter.
const MAX_PIN: u64 = 1024;

/// A key in a token that a session uses, and what it is asked for.
pub trait Use: Sized + Send + 'static {
    /// What it is asked.
    type Ask: Send + 'static;
    /// What it answers.
    type Answer: Send + 'static;
    /// What tells it from another key, whatever its label.
    type Identity: Clone + PartialEq + Send + 'static;
    /// What is to be done where there is another key than at the start.
    const OTHER: &str;

    /// Finds the key, and has it do its work once.
    fn find(session: &Session, uri: &Pkcs11Uri) -> Result<Self, TokenFault>;

    /// Tells it from others.
    fn identity(&self) -> &Self::Identity;

    /// Does its work.
    fn answer(&self, session: &Session, ask: &Self::Ask) -> Result<Self::Answer, TokenFault>;
}

/// Why a token does not do its work.
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
        /// Which kind.
        what: &'static str,
    },
    /// A key that makes no signature of a note.
    #[error("the key is none that can sign here: Ed25519, or ECDSA on P-256 or P-384")]
    Curve,
    /// A key that does not wrap others.
    #[error(
        "the key is none that can wrap here: AES with 256 bits, with CKA_WRAP and CKA_UNWRAP, and a token that has \
         CKM_AES_KEY_WRAP: {0}"
    )]
    Wrap(String),
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
    #[error("the token has another key than at the start; {0}")]
    OtherKey(&'static str),
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
pub fn short(error: &Error) -> String {
    match error {
        Error::Pkcs11(answer, function) => format!("{function}: {answer:?}"),
        other => other.to_string(),
    }
}

/// An open session.
pub struct Open<K> {
    module: Pkcs11,
    session: Session,
    key: K,
}

impl<K: Use> Open<K> {
    /// Loads the library, finds token and key, and lets the token do its work once.
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
        let key = K::find(&session, uri)?;
        Ok(Self { module, session, key })
    }

    /// Tells the key from others.
    pub fn identity(&self) -> &K::Identity {
        self.key.identity()
    }

    /// Has the key do its work.
    pub fn answer(&self, ask: &K::Ask) -> Result<K::Answer, TokenFault> {
        self.key.answer(&self.session, ask)
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

/// What an object has that a URI names.
pub fn named(class: ObjectClass, uri: &Pkcs11Uri) -> Vec<Attribute> {
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

/// The one that was found.
pub fn only(found: &[ObjectHandle], what: &'static str) -> Result<ObjectHandle, TokenFault> {
    match found {
        [one] => Ok(*one),
        _ => Err(TokenFault::Objects {
            found: found.len(),
            what,
        }),
    }
}
