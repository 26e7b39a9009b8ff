//! Where a key lies in a token: a PKCS #11 URI (RFC 7512).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What such a URI begins with.
pub const SCHEME: &str = "pkcs11:";

/// A key in a token, the module that speaks to it, and where its PIN is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// Label of the token.
    pub token: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its manufacturer.
    pub manufacturer: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Label of the key.
    pub object: Option<String>,
    /// Id of the key.
    pub id: Option<Vec<u8>>,
    /// Its kind, where that is said.
    pub class: Option<Class>,
    /// The PKCS #11 library.
    pub module: PathBuf,
    /// File with the PIN; `None` for a token that asks for it by itself.
    pub pin: Option<PathBuf>,
}

/// What kind of key an URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One half of a pair: it signs.
    Private,
    /// One that wraps others.
    Secret,
}

/// A text that does not name a key in a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not of the form.
    #[error(
        "not a PKCS #11 URI (RFC 7512) such as \
         `pkcs11:token=norma;object=audit?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/norma/pin`"
    )]
    Form,
    /// An attribute that is not known, or not here.
    #[error(
        "`{0}` is not known here: a key is named by `token`, `serial`, `manufacturer`, `model`, `object`, `id` and \
         `type`, and after `?` by `module-path` and `pin-source`"
    )]
    Unknown(String),
    /// An attribute twice.
    #[error("`{0}` is there twice")]
    Twice(String),
    /// An attribute whose value cannot be used.
    #[error("`{attribute}`: {what}")]
    Value {
        /// Which.
        attribute: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Something that must be there.
    #[error("it has no {0}")]
    Missing(&'static str),
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Form)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pieces = path.split(';').chain(query.split('&'));
        let mut uri = Self::default();
        let mut seen = Vec::new();
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=').ok_or(UriError::Form)?;
            if seen.contains(&name) {
                return Err(UriError::Twice(name.to_owned()));
            }
            seen.push(name);
            uri.set(name, value)?;
        }
        if uri.module.as_os_str().is_empty() {
            return Err(UriError::Missing(
                "`module-path`: the absolute path of the token's PKCS #11 library",
            ));
        }
        if uri.token.is_none() && uri.serial.is_none() {
            return Err(UriError::Missing("`token` (its label) or `serial`"));
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err(UriError::Missing("`object` (the key's label) or `id`"));
        }
        Ok(uri)
    }
}

impl Pkcs11Uri {
    /// Reads one that is to name a key of this kind.
    ///
    /// # Errors
    /// It is none, or says that the key is of another kind.
    pub fn of(text: &str, class: Class) -> Result<Self, UriError> {
        let uri: Self = text.parse()?;
        if uri.class.is_some_and(|said| said != class) {
            return Err(UriError::Value {
                attribute: "type".to_owned(),
                what: match class {
                    Class::Private => "must be `private`: it is what signs",
                    Class::Secret => "must be `secret-key`: it is what wraps",
                },
            });
        }
        Ok(uri)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), UriError> {
        let wrong = |what| UriError::Value {
            attribute: name.to_owned(),
            what,
        };
        let bytes = decoded(value).ok_or_else(|| wrong("`%` must be followed by two hexadecimal digits"))?;
        if name == "id" {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8"))?;
        let absolute = |text: &str| {
            let path = PathBuf::from(text);
            path.is_absolute()
                .then_some(path)
                .ok_or_else(|| wrong("must be an absolute path"))
        };
        match name {
            "token" => self.token = Some(text),
            "serial" => self.serial = Some(text),
            "manufacturer" => self.manufacturer = Some(text),
            "model" => self.model = Some(text),
            "object" => self.object = Some(text),
            "type" if text == "private" => self.class = Some(Class::Private),
            "type" if text == "secret-key" => self.class = Some(Class::Secret),
            "type" => {
                return Err(wrong(
                    "must be `private` for what signs, or `secret-key` for what wraps",
                ));
            }
            "module-path" => self.module = absolute(&text)?,
            "pin-source" => self.pin = Some(absolute(text.strip_prefix("file:").unwrap_or(&text))?),
            "pin-value" => {
                return Err(wrong(
                    "a configuration is read by too many; put the PIN into a file, and say `pin-source=file:/PATH`",
                ));
            }
            other => return Err(UriError::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    Some(decoded)
}

/// Without module and PIN, as people name a key.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.as_ref().map(|id| norma_wire::text::Hex(id).to_string());
        let parts = [
            ("token", &self.token),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("object", &self.object),
            ("id", &id),
        ];
        let named: Vec<String> = parts
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
            .collect();
        write!(f, "{SCHEME}{}", named.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_and_what_is_wrong_is_told() {
        let uri: Pkcs11Uri = "pkcs11:token=My%20token;object=audit;id=%01%aF;type=private\
             ?module-path=/lib/p11.so&pin-source=file:/run/pin"
            .parse()
            .unwrap();
        assert_eq!(uri.token.as_deref(), Some("My token"));
        assert_eq!(uri.id, Some(vec![1, 0xaf]));
        assert_eq!(uri.pin, Some(PathBuf::from("/run/pin")));
        assert_eq!(uri.to_string(), "pkcs11:token=My token;object=audit;id=01af");
        for (wrong, told) in [
            ("token=a;object=b", "such as"),
            ("pkcs11:token=a;object=b", "module-path"),
            ("pkcs11:object=b?module-path=/m", "`token`"),
            ("pkcs11:token=a?module-path=/m", "`object`"),
            ("pkcs11:token=a;token=b;object=c?module-path=/m", "twice"),
            ("pkcs11:token=%4;object=c?module-path=/m", "hexadecimal"),
            ("pkcs11:token=a;object=c?module-path=m", "absolute"),
            (
                "pkcs11:token=a;object=c?module-path=/m&pin-value=1234",
                "pin-source=file:",
            ),
            ("pkcs11:token=a;object=c;colour=red?module-path=/m", "`colour`"),
            ("pkcs11:token=a;object=c;type=cert?module-path=/m", "private"),
        ] {
            let error = wrong.parse::<Pkcs11Uri>().unwrap_err().to_string();
            assert!(error.contains(told), "{wrong}: {error}");
        }
        let secret = "pkcs11:token=a;object=c;type=secret-key?module-path=/m";
        assert!(Pkcs11Uri::of(secret, Class::Secret).is_ok());
        let error = Pkcs11Uri::of(secret, Class::Private).unwrap_err().to_string();
        assert!(error.contains("must be `private`"), "{error}");
    }
}
