//! TCP connections that are known.
//!
//! One that begins is put into words: who acts, in which direction, and the peer. Whom others accept is told by address
//! where that is a private one, and otherwise only as somebody from outside: it is the class of the peer that is normal or
//! not. What becomes of a connection is known in the context of nobody in particular, so it is remembered by its socket
//! as what it was recognised, and its bytes are added up under that.

use super::{Recognised, Words, word};
use crate::emit;
use crate::kernel::sock::{IPPROTO_TCP, Stream, is_mapped};
use crate::rules;
use crate::settings;
use crate::verifier::{add, load, store};
use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};
use norma_abi::{
    KIND_CONNECT, KIND_SOCKET, KNOWN_CONNECTIONS, KNOWN_TRAFFICS, Traffic, WANT_KNOWN_CONNECTIONS,
};

const BPF_ANY: u64 = 0;
/// Who asks there learns names, which the agent wants to put down to somebody.
const DNS_PORT: u16 = 53;
/// In the words where an open has the address of a directory entry, which is none of these.
const CONNECTS: u64 = 1;
const ACCEPTS: u64 = 2;

/// Sockets whose connections were recognised, and their identities.
#[map]
static KNOWN_SOCKETS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(KNOWN_CONNECTIONS, 0);
/// What became of them, by identity. The agent makes the entries.
#[map]
static KNOWN_TRAFFIC: HashMap<u64, Traffic> = HashMap::with_max_entries(KNOWN_TRAFFICS, BPF_F_NO_PREALLOC);

/// A connection that begins.
pub struct Connection {
    /// Remote address, IPv4 in its mapped form.
    pub remote: [u8; 16],
    /// The port that somebody listens on, in host byte order.
    pub port: u16,
    /// IPPROTO_*; only TCP has connections whose end can be told.
    pub protocol: u16,
    /// The number by which the kernel knows the socket.
    pub cookie: u64,
    /// Control group of the socket. It says later on whether there is anything to find.
    pub socket_cgroup: u64,
}

impl Connection {
    /// Whether it is known that the current thread, which is of this control group, asks for it. As for opens, the words
    /// live in scratch memory, and who is not `alone` there leaves what is remembered to who came first.
    #[inline(always)]
    pub fn connects(&self, words: &mut Words, cgroup: u64, alone: bool) -> Recognised {
        self.recognise(words, cgroup, alone, CONNECTS, self.remote)
    }

    /// The same for one that it accepts.
    #[inline(always)]
    pub fn is_accepted(&self, words: &mut Words, cgroup: u64, alone: bool) -> Recognised {
        let peer = if is_public(&self.remote) {
            [0; 16]
        } else {
            self.remote
        };
        self.recognise(words, cgroup, alone, ACCEPTS, peer)
    }

    #[inline(always)]
    fn recognise(&self, words: &mut Words, cgroup: u64, alone: bool, way: u64, peer: [u8; 16]) -> Recognised {
        if !settings::wants(WANT_KNOWN_CONNECTIONS)
            || settings::known_mask() == 0
            || self.cookie == 0
            || !rules::recognises(self.socket_cgroup)
        {
            return Recognised::No(0);
        }
        // The kernel may have passed over the end of what the socket was before, or of another socket that had its number.
        if KNOWN_SOCKETS.get_ptr(&self.cookie).is_some() {
            let _ = KNOWN_SOCKETS.remove(&self.cookie);
        }
        if self.socket_cgroup != cgroup
            || self.protocol != IPPROTO_TCP
            || self.port == DNS_PORT
            || !words.actor(cgroup)
        {
            return Recognised::No(0);
        }
        words.peer(way, peer, self.port);
        let kind = if way == CONNECTS {
            KIND_CONNECT
        } else {
            KIND_SOCKET
        };
        let recognised = words.recognise(alone, kind);
        if let Recognised::Yes(identity) = recognised {
            // Where that fails, its end is reported.
            let _ = KNOWN_SOCKETS.insert(&self.cookie, &identity, BPF_ANY);
        }
        recognised
    }
}

impl Words {
    #[inline(always)]
    fn peer(&mut self, way: u64, peer: [u8; 16], port: u16) {
        // SAFETY: two integers are as many bytes.
        let [high, low] = unsafe { core::mem::transmute::<[u8; 16], [u64; 2]>(peer) };
        self.set(word::FILE, (low >> 32) << 8 | way);
        self.set(word::FILE + 1, high);
        self.set(word::FILE + 2, low);
        self.set(word::FILE + 3, 0);
        self.set(word::FILE_MOUNT, 0);
        self.set(word::DEVICE, u64::from(port));
        self.set(word::LAYER, 0);
        store(&mut self.names, 0);
    }
}

/// Whether a connection that was recognised is established now; it is counted as that.
#[inline(always)]
pub fn is_established(cgroup: u64, cookie: u64) -> bool {
    let Some(traffic) = traffic(cgroup, cookie) else {
        return false;
    };
    // SAFETY: the verifier has seen the null check of the value.
    unsafe { add(&raw mut (*traffic).established, 1) };
    emit::recognised(KIND_SOCKET);
    true
}

/// Whether a connection that was recognised is over; it is counted, with what was sent by it.
#[inline(always)]
pub fn is_over(cgroup: u64, cookie: u64, was_established: bool, stream: &Stream) -> bool {
    let Some(traffic) = traffic(cgroup, cookie) else {
        return false;
    };
    // SAFETY: as above.
    unsafe {
        if was_established {
            add(&raw mut (*traffic).ended, 1);
        } else {
            add(&raw mut (*traffic).failed, 1);
        }
        add(&raw mut (*traffic).sent, stream.sent);
        add(&raw mut (*traffic).received, stream.received);
    }
    // What stays would make room by itself.
    let _ = KNOWN_SOCKETS.remove(&cookie);
    emit::recognised(KIND_SOCKET);
    true
}

/// Where what becomes of this socket's connection is added up; `None` where it was not recognised, or is not known any
/// more.
#[inline(always)]
fn traffic(cgroup: u64, cookie: u64) -> Option<*mut Traffic> {
    if !settings::wants(WANT_KNOWN_CONNECTIONS) || !rules::recognises(cgroup) {
        return None;
    }
    let identity = load(KNOWN_SOCKETS.get_ptr(&cookie)?);
    KNOWN_TRAFFIC.get_ptr_mut(&identity)
}

/// Whether an address is none of those that are only good within a network: what `PeerClass::of` of the baselines tells
/// apart.
#[inline(always)]
fn is_public(address: &[u8; 16]) -> bool {
    if is_mapped(address) {
        let (first, second) = (address[12], address[13]);
        return !(matches!(first, 10 | 127)
            || (first == 172 && second & 0xf0 == 16)
            || (first == 192 && second == 168)
            || (first == 169 && second == 254)
            || (first == 100 && second & 0xc0 == 64));
    }
    let (first, second) = (address[0], address[1]);
    let is_loopback = first == 0;
    !(is_loopback || first & 0xfe == 0xfc || (first == 0xfe && second & 0xc0 == 0x80))
}
