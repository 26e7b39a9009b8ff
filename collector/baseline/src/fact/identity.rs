//! Facts as numbers under a secret key, for maps in which there is no room for texts.

use super::Fact;
use sha2::{Digest as _, Sha256};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::fmt;
use std::hash::Hasher as _;

/// Secret of one boot of one node. Who does not know it cannot choose names whose identities collide.
#[derive(Clone, Copy)]
pub struct Key([u8; 16]);

impl Key {
    /// These random bytes.
    #[must_use]
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(…)")
    }
}

/// SipHash-2-4 with 128 bits of a fact's canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(u128);

impl Identity {
    /// All of it.
    #[must_use]
    pub const fn wide(self) -> u128 {
        self.0
    }

    /// The lower half, for the kernel's maps: two of 3,000 facts share it once in 4 · 10¹² workloads.
    #[must_use]
    pub const fn narrow(self) -> u64 {
        self.0 as u64
    }
}

/// Names a behaviour to people: the same on all nodes and in all revisions, short enough to be typed. What is
/// decided on is the fact itself; the code only finds it among those of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code([u8; 8]);

/// 16 hexadecimal digits.
impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl<S: AsRef<str>> Fact<S> {
    /// The first bytes of the SHA-256 of its canonical form.
    pub fn code(&self) -> Code {
        let mut hasher = Sha256::new();
        self.write_canonical(|bytes| hasher.update(bytes));
        let digest: [u8; 32] = hasher.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Code([a, b, c, d, e, f, g, h])
    }

    /// Its identity under a key.
    pub fn identity(&self, key: &Key) -> Identity {
        let mut hasher = SipHasher24::new_with_key(&key.0);
        self.write_canonical(|bytes| hasher.write(bytes));
        Identity(hasher.finish128().into())
    }

    /// The canonical bytes, piece by piece: variant, detail, port (little-endian), and then for each of the
    /// four texts its length (u32, little-endian; all ones where there is none) and its bytes.
    pub(crate) fn write_canonical(&self, mut write: impl FnMut(&[u8])) {
        let view = self.view();
        let flat = view.flatten();
        let [low, high] = flat.port.to_le_bytes();
        write(&[flat.variant, flat.detail, low, high]);
        for text in &flat.texts {
            match text {
                Some(text) => {
                    write(&(text.len() as u32).to_le_bytes());
                    write(text.as_bytes());
                }
                None => write(&u32::MAX.to_le_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Access;

    #[test]
    fn a_code_is_the_same_everywhere_and_one_behaviours_own() {
        let fact = |path: &'static str| Fact::File {
            exe: "/bin/a",
            path,
            access: Access::Read,
        };
        assert_eq!(
            fact("/etc/b").code().to_string(),
            fact("/etc/b").owned().code().to_string()
        );
        assert_ne!(fact("/etc/b").code(), fact("/etc/c").code());
        assert_eq!(fact("/etc/b").code().to_string().len(), 16);
    }

    #[test]
    fn it_depends_on_the_key_and_on_where_a_text_ends() {
        let file = |exe: &'static str, path: &'static str| Fact::File {
            exe,
            path,
            access: Access::Read,
        };
        let key = Key::new([7; 16]);
        let fact = file("/bin/a", "/etc/b");
        assert_eq!(fact.identity(&key), fact.owned().identity(&key));
        assert_ne!(fact.identity(&key), fact.identity(&Key::new([8; 16])));
        assert_ne!(fact.identity(&key), file("/bin/a/", "etc/b").identity(&key));
    }
}
