//! Facts as numbers under a secret key, for maps in which there is no room for texts.

use super::Fact;
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

impl<S: AsRef<str>> Fact<S> {
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
