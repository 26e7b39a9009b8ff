//! A key in a token that wraps other keys (CKM_AES_KEY_WRAP, RFC 3394), and never leaves it.
//!
//! What is wrapped goes through the token as an object of the session, and is gone with the answer. The result is byte for
//! byte what the same key would give in a file.

use super::session::{TokenFault, Use, named, only, short};
use super::uri::Pkcs11Uri;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use sha2::{Digest as _, Sha256};

/// Length of what is wrapped.
const KEY_BYTES: usize = 32;
/// Wrapped once a session: the answer tells the key from others, since the key itself cannot be looked at. It is no key.
const CHECK: [u8; KEY_BYTES] = *b"norma.dev/wrapping-key-check/v1\n";

/// What a wrapping key is asked.
pub enum Ask {
    /// To wrap a key.
    Wrap([u8; KEY_BYTES]),
    /// To unwrap one.
    Unwrap(Vec<u8>),
}

/// The key.
pub struct Wrapping {
    key: ObjectHandle,
    identity: [u8; 32],
}

impl Use for Wrapping {
    type Ask = Ask;
    /// `None` for what the key does not unwrap: it was changed, or wrapped under another one.
    type Answer = Option<Vec<u8>>;
    type Identity = [u8; 32];
    const OTHER: &str = "keys that it wrapped cannot be unwrapped by another one: put it back, or wrap them anew first \
                         (`norma-collector audit archive rewrap`)";

    fn find(session: &Session, uri: &Pkcs11Uri) -> Result<Self, TokenFault> {
        let found = session.find_objects(&named(ObjectClass::SECRET_KEY, uri))?;
        let key = only(&found, "secret keys")?;
        let wrapped = wrap(session, key, &CHECK).map_err(|error| why(&error))?;
        match unwrap(session, key, &wrapped) {
            Ok(unwrapped) if unwrapped == CHECK => Ok(Self {
                key,
                identity: Sha256::digest(wrapped).into(),
            }),
            Ok(_) => Err(TokenFault::Wrap(
                "what it unwraps is not what it wrapped".to_owned(),
            )),
            Err(error) => Err(why(&error)),
        }
    }

    fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    fn answer(&self, session: &Session, ask: &Ask) -> Result<Option<Vec<u8>>, TokenFault> {
        match ask {
            Ask::Wrap(bytes) => Ok(wrap(session, self.key, bytes).map(Some)?),
            Ask::Unwrap(wrapped) => match unwrap(session, self.key, wrapped) {
                Ok(bytes) => Ok(Some(bytes)),
                // Tokens have no one answer for what does not unwrap; one that still wraps is well.
                Err(error) => match wrap(session, self.key, &CHECK) {
                    Ok(_) => Ok(None),
                    Err(_) => Err(error.into()),
                },
            },
        }
    }
}

/// A token's answer that came with the key itself.
fn why(error: &cryptoki::error::Error) -> TokenFault {
    TokenFault::Wrap(short(error))
}

/// Of an object that lives as long as the session at most, and whose value may be had.
fn open_key() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

fn wrap(
    session: &Session,
    key: ObjectHandle,
    bytes: &[u8; KEY_BYTES],
) -> Result<Vec<u8>, cryptoki::error::Error> {
    let mut template = open_key();
    template.push(Attribute::Value(bytes.to_vec()));
    let inner = session.create_object(&template)?;
    let wrapped = session.wrap_key(&Mechanism::AesKeyWrap, key, inner);
    session.destroy_object(inner)?;
    wrapped
}

fn unwrap(session: &Session, key: ObjectHandle, wrapped: &[u8]) -> Result<Vec<u8>, cryptoki::error::Error> {
    let inner = session.unwrap_key(&Mechanism::AesKeyWrap, key, wrapped, &open_key())?;
    let value = session.get_attributes(inner, &[AttributeType::Value]);
    session.destroy_object(inner)?;
    let found = value?.into_iter().find_map(|attribute| match attribute {
        Attribute::Value(value) => Some(value),
        _ => None,
    });
    Ok(found.unwrap_or_default())
}
