//! `struct sock`.

use super::{offset, read};

/// AF_INET6.
pub const AF_INET6: u16 = 10;
/// AF_INET.
pub const AF_INET: u16 = 2;

/// An internet socket.
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

impl Sock {
    /// AF_*.
    #[inline(always)]
    pub fn family(self) -> u16 {
        read(self.0, offset!(sock_family))
    }

    /// IPPROTO_*, 0 where this kernel does not tell.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        read(self.0, offset!(sock_protocol))
    }

    /// Local port in host byte order.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        read(self.0, offset!(sock_local_port))
    }

    /// Remote port in host byte order.
    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(read(self.0, offset!(sock_remote_port)))
    }

    /// Remote address, IPv4 in its mapped form.
    #[inline(always)]
    pub fn remote(self) -> [u8; 16] {
        if self.family() == AF_INET6 {
            read(self.0, offset!(sock_remote_v6))
        } else {
            mapped(read(self.0, offset!(sock_remote_v4)))
        }
    }

    /// Local address, IPv4 in its mapped form.
    ///
    /// An IPv6 socket on its way to a mapped address has only its IPv4 field filled in at that moment.
    #[inline(always)]
    pub fn local(self, remote_is_mapped: bool) -> [u8; 16] {
        if self.family() == AF_INET6 && !remote_is_mapped {
            read(self.0, offset!(sock_local_v6))
        } else {
            mapped(read(self.0, offset!(sock_local_v4)))
        }
    }
}

/// The IPv4-mapped IPv6 address `::ffff:a.b.c.d`.
#[inline(always)]
pub fn mapped(v4: [u8; 4]) -> [u8; 16] {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}

/// Whether an IPv6 address is an IPv4-mapped one.
#[inline(always)]
pub fn is_mapped(addr: &[u8; 16]) -> bool {
    u64::from_ne_bytes([
        addr[0], addr[1], addr[2], addr[3], addr[4], addr[5], addr[6], addr[7],
    ]) == 0
        && u32::from_ne_bytes([addr[8], addr[9], addr[10], addr[11]])
            == u32::from_ne_bytes([0, 0, 0xff, 0xff])
}
