//! A key in a token that signs the notes of a log.

use super::session::{TokenFault, Use, named, only};
use super::uri::Pkcs11Uri;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use norma_tlog::PublicKey;
use sha2::{Digest as _, Sha256};

/// Signed once a session, to see that the key's two halves belong together. It is the beginning of no note that is
/// signed otherwise.
const CHECK: &str = "norma.dev/key-check/v1\n";

/// CKA_EC_PARAMS: the object identifiers of curves in DER, and for Ed25519 also its name, as PKCS #11 allows.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";

/// The two halves.
pub struct Signing {
    private: ObjectHandle,
    public: PublicKey,
}

impl Use for Signing {
    type Ask = String;
    type Answer = Vec<u8>;
    type Identity = PublicKey;
    const OTHER: &str = "a log keeps its key, or is told of the next one as `audit.next_key`";

    fn find(session: &Session, uri: &Pkcs11Uri) -> Result<Self, TokenFault> {
        let private = private(session, uri)?;
        let public = public(session, uri, private)?;
        let key = Self { private, public };
        key.answer(session, &CHECK.to_owned())?;
        Ok(key)
    }

    fn identity(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a text; the signature verifies.
    fn answer(&self, session: &Session, text: &String) -> Result<Vec<u8>, TokenFault> {
        let signature = match &self.public {
            PublicKey::Ed25519(_) => {
                let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                session.sign(&pure, self.private, text.as_bytes())?
            }
            PublicKey::P256(_) | PublicKey::P384(_) => {
                let digest = Sha256::digest(text);
                let raw = session.sign(&Mechanism::Ecdsa, self.private, &digest)?;
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
