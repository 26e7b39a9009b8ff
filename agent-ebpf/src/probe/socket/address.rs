//! Addresses as programs hand them to the kernel.

use crate::kernel::Integer;
use crate::kernel::sock::{AF_INET, AF_INET6, mapped};

/// As much of a `struct sockaddr` as the longest address of a family other than AF_UNIX takes, in words.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Address {
    words: [u32; 7],
}

impl Integer for Address {
    const IS_WORD: bool = false;
}

impl Address {
    /// AF_*, as it is written in the address.
    #[inline(always)]
    pub fn family(self) -> u16 {
        self.words[0] as u16
    }

    /// Address and port of a family: an IPv4 address in its mapped form, and of vsock the context id in the first
    /// four bytes.
    #[inline(always)]
    pub fn end(self, family: u16) -> ([u8; 16], u32) {
        let words = self.words;
        let mut bytes = [0; 16];
        let mut port = u32::from(u16::from_be((words[0] >> 16) as u16));
        match family {
            AF_INET => bytes = mapped(words[1].to_ne_bytes()),
            AF_INET6 => {
                for word in 0..4 {
                    bytes[4 * word..4 * word + 4].copy_from_slice(&words[2 + word].to_ne_bytes());
                }
            }
            _ => {
                port = words[1];
                bytes[..4].copy_from_slice(&words[2].to_ne_bytes());
            }
        }
        (bytes, port)
    }

    /// Length of an internet address of a family.
    #[inline(always)]
    pub fn len(family: u16) -> u64 {
        if family == AF_INET6 { 28 } else { 16 }
    }
}
