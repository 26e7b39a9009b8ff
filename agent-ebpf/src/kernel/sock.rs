//! `struct sock` and what it is part of.

use super::cgroup::{Cgroup, ROOT};
use super::file::{Dentry, File, Mount};
use super::view::View;
use super::{field, offset, read};
use crate::kernel::ABSENT;
use crate::settings;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};

/// AF_UNIX.
pub const AF_UNIX: u16 = 1;
/// AF_INET.
pub const AF_INET: u16 = 2;
/// AF_INET6.
pub const AF_INET6: u16 = 10;
/// AF_VSOCK.
pub const AF_VSOCK: u16 = 40;
/// IPPROTO_TCP.
pub const IPPROTO_TCP: u16 = 6;
/// Bit of `enum sock_flags`: the peer has ended its side. The end of the stream counts as a byte received.
const SOCK_DONE: u64 = 1 << 1;

/// A socket of the network layer; typed where the verifier knows it as `struct sock`.
#[derive(Clone, Copy)]
pub struct Sock<const TYPED: bool>(pub u64);

impl<const TYPED: bool> Sock<TYPED> {
    /// AF_*.
    #[inline(always)]
    pub fn family(self) -> u16 {
        field::<TYPED, _>(self.0, offset!(sock_family))
    }

    /// SOCK_*, 0 where this kernel does not tell.
    #[inline(always)]
    pub fn kind(self) -> u16 {
        field::<TYPED, _>(self.0, offset!(sock_type))
    }

    /// IPPROTO_*, 0 where this kernel does not tell.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        field::<TYPED, _>(self.0, offset!(sock_protocol))
    }

    /// Local port in host byte order; 0 where none is chosen yet, and once it is given back.
    #[inline(always)]
    pub fn local_port(self) -> u16 {
        field::<TYPED, _>(self.0, offset!(sock_local_port))
    }

    /// Remote port in host byte order.
    #[inline(always)]
    pub fn remote_port(self) -> u16 {
        u16::from_be(field::<TYPED, _>(self.0, offset!(sock_remote_port)))
    }

    /// Remote address, IPv4 in its mapped form.
    #[inline(always)]
    pub fn remote(self) -> [u8; 16] {
        if self.family() == AF_INET6 {
            self.v6(offset!(sock_remote_v6))
        } else {
            self.v4(offset!(sock_remote_v4))
        }
    }

    /// Local address, IPv4 in its mapped form.
    ///
    /// An IPv6 socket on its way to a mapped address has only its IPv4 field filled in at that moment.
    #[inline(always)]
    pub fn local(self, remote_is_mapped: bool) -> [u8; 16] {
        if self.family() == AF_INET6 && !remote_is_mapped {
            self.v6(offset!(sock_local_v6))
        } else {
            self.v4(offset!(sock_local_v4))
        }
    }

    /// The error that ended it, 0 where there is none.
    #[inline(always)]
    pub fn error(self) -> i32 {
        field::<TYPED, _>(self.0, offset!(sock_error))
    }

    /// Inode number of its network namespace.
    #[inline(always)]
    pub fn net_ns(self) -> u32 {
        let net: u64 = field::<TYPED, _>(self.0, offset!(sock_net));
        field::<TYPED, _>(net, offset!(net_inum))
    }

    /// Id of the control group of who made it; one that came out of accept has that of its listener.
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        if offset!(sock_cgroup) != ABSENT {
            return Cgroup::<TYPED>(field::<TYPED, _>(self.0, offset!(sock_cgroup))).id();
        }
        // The lowest bits say whether it is a pointer, or what network classifiers of v1 keep here.
        let value: u64 = read(self.0, offset!(sock_cgroup_value));
        if value == 0 || value & 3 != 0 {
            ROOT
        } else {
            Cgroup::<false>(value).id()
        }
    }

    #[inline(always)]
    fn v4(self, at: u64) -> [u8; 16] {
        let address: u32 = field::<TYPED, _>(self.0, at);
        mapped(address.to_ne_bytes())
    }

    #[inline(always)]
    fn v6(self, at: u64) -> [u8; 16] {
        let low: u64 = field::<TYPED, _>(self.0, at);
        let high: u64 = field::<TYPED, _>(self.0, at.wrapping_add(8));
        // SAFETY: two integers are as many bytes.
        unsafe { core::mem::transmute([low, high]) }
    }
}

/// What a TCP connection came to.
pub struct Stream {
    /// Local port in host byte order, also after the connection.
    pub local_port: u16,
    /// Payload bytes sent, without what was sent again.
    pub sent: u64,
    /// Payload bytes received.
    pub received: u64,
}

impl Sock<true> {
    /// The number by which the kernel knows the socket.
    #[inline(always)]
    pub fn cookie(self) -> u64 {
        if settings::socket_cookies() {
            // SAFETY: the verifier knows the socket by its type.
            unsafe { bpf_get_socket_cookie(self.0 as *mut _) }
        } else {
            self.0
        }
    }

    /// What its connection came to; zeros where it is none of TCP.
    #[inline(always)]
    pub fn stream(self) -> Stream {
        if self.protocol() != IPPROTO_TCP {
            return Stream {
                local_port: u16::from_be(read(self.0, offset!(inet_source_port))),
                sent: 0,
                received: 0,
            };
        }
        if settings::typed_loads() {
            // SAFETY: the verifier knows the socket by its type.
            let tcp = unsafe { bpf_skc_to_tcp_sock(self.0 as *mut _) };
            if !tcp.is_null() {
                return self.stream_at::<true>(tcp as u64);
            }
        }
        // A socket of TCP begins with the socket that it is.
        self.stream_at::<false>(self.0)
    }

    #[inline(always)]
    fn stream_at<const TYPED: bool>(self, tcp: u64) -> Stream {
        let sent: u64 = field::<TYPED, _>(tcp, offset!(tcp_sent));
        let again: u64 = field::<TYPED, _>(tcp, offset!(tcp_sent_again));
        let received: u64 = field::<TYPED, _>(tcp, offset!(tcp_received));
        let flags: u64 = field::<true, _>(self.0, offset!(sock_flags));
        Stream {
            local_port: u16::from_be(field::<TYPED, _>(tcp, offset!(tcp_source_port))),
            sent: sent.wrapping_sub(again),
            received: received.saturating_sub(u64::from(flags & SOCK_DONE != 0)),
        }
    }
}

/// What a record needs of an internet socket, from one look at it.
pub struct Ends {
    /// As [`Sock::family`].
    pub family: u16,
    /// As [`Sock::local`].
    pub local: [u8; 16],
    /// As [`Sock::remote`].
    pub remote: [u8; 16],
    /// As [`Sock::local_port`].
    pub local_port: u16,
    /// As [`Sock::remote_port`].
    pub remote_port: u16,
    /// The number by which the kernel knows the socket, where it has been asked for before.
    pub cookie: u64,
}

impl Sock<false> {
    /// Looks at it; `None` where it cannot be read.
    #[inline(always)]
    pub fn look(self, view: &mut View) -> Option<Ends> {
        view.fill(self.0)?;
        let short = |at: u64| view.short(self.0, at);
        let v4 = |at: u64| mapped(view.half(self.0, at).to_ne_bytes());
        let v6 = |at: u64| {
            let words = [view.word(self.0, at), view.word(self.0, at.wrapping_add(8))];
            // SAFETY: two integers are as many bytes.
            unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(words) }
        };
        let family = short(offset!(sock_family));
        let (local, remote) = if family == AF_INET6 {
            (v6(offset!(sock_local_v6)), v6(offset!(sock_remote_v6)))
        } else {
            (v4(offset!(sock_local_v4)), v4(offset!(sock_remote_v4)))
        };
        let cookie = view.word(self.0, offset!(sock_cookie));
        Some(Ends {
            family,
            local,
            remote,
            local_port: short(offset!(sock_local_port)),
            remote_port: u16::from_be(short(offset!(sock_remote_port))),
            cookie: if settings::socket_cookies() {
                cookie
            } else {
                self.0
            },
        })
    }
}

/// `struct socket`: what a descriptor refers to.
#[derive(Clone, Copy)]
pub struct Socket<const TYPED: bool>(pub u64);

impl Socket<false> {
    /// The socket behind a file; something else where the file is none, which [`Self::belongs_to`] tells.
    #[inline(always)]
    pub fn of(file: File) -> Self {
        Self(read(file.0, offset!(file_private)))
    }

    /// Whether it is indeed the socket of this file.
    #[inline(always)]
    pub fn belongs_to(self, file: File) -> bool {
        read::<u64>(self.0, offset!(socket_file)) == file.0
    }
}

impl<const TYPED: bool> Socket<TYPED> {
    /// Its part in the network layer.
    #[inline(always)]
    pub fn sock(self) -> Sock<TYPED> {
        Sock(field::<TYPED, _>(self.0, offset!(socket_sock)))
    }

    /// SOCK_*.
    #[inline(always)]
    pub fn kind(self) -> u16 {
        field::<TYPED, _>(self.0, offset!(socket_type))
    }
}

/// `struct unix_sock`, which begins with its `struct sock`.
#[derive(Clone, Copy)]
pub struct Unix(pub u64);

impl Unix {
    /// The socket that it is connected to; `None` where there is none.
    #[inline(always)]
    pub fn peer(self) -> Option<Self> {
        let peer: u64 = read(self.0, offset!(unix_peer));
        (peer != 0).then_some(Self(peer))
    }

    /// Where in the file tree it is bound; `None` where it is not.
    #[inline(always)]
    pub fn place(self) -> Option<(Dentry, Mount)> {
        let dentry: u64 = read(self.0, offset!(unix_dentry));
        (dentry != 0).then(|| {
            let mount = Mount::of_vfsmount(read(self.0, offset!(unix_mount)));
            (Dentry(dentry), mount)
        })
    }

    /// Address of its `struct sockaddr_un`, and how long that is; `None` where it is not bound.
    #[inline(always)]
    pub fn address(self) -> Option<(u64, u32)> {
        let address: u64 = read(self.0, offset!(unix_address));
        (address != 0).then(|| {
            let len: u32 = read(address, offset!(unix_address_len));
            (address.wrapping_add(offset!(unix_address_name)), len)
        })
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
