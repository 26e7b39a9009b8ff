//! The life of sockets beyond the states of TCP.

mod accept;
mod address;
mod bind;
mod datagram;
mod failed;
mod made;
mod raw;
mod started;
mod unix;
mod vsock;

use crate::emit;
use crate::kernel::file::{Dentry, Mount};
use crate::path::{self, Walk};
use crate::rules;
use crate::slot::{self, Hold, Slot};
use crate::verifier::load;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use core::mem::MaybeUninit;
use norma_abi::{
    ACT_RESULT, Header, KIND_SOCKET, PATH_MAX, SCOPE_MUTE_SOCKET, SOCKET_ABSTRACT, SOCKET_PATH_CLAIMED,
    SOCKET_PERMITTED, SOCKET_RESULT, SocketBody,
};

/// Longest name of a Unix socket (`sizeof sun_path`).
const SUN_PATH_MAX: u32 = 108;
/// Where the name begins in a `struct sockaddr_un`.
const SUN_PATH: u32 = 2;
/// A program that the kernel preempts in the middle of its record leaves the next one another slot.
const SLOTS: u32 = 2;

/// A record without a name, which lies on the stack.
#[repr(C)]
struct Plain {
    header: Header,
    body: SocketBody,
}

/// A record with a name.
#[repr(C)]
struct Named {
    hold: Hold,
    walk: Walk,
    header: Header,
    body: SocketBody,
    path: [u8; PATH_MAX],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Named {}

#[map]
static NAMED_SCRATCH: PerCpuArray<Named> = PerCpuArray::with_max_entries(SLOTS, 0);

const EMPTY: SocketBody = SocketBody {
    op: 0,
    result: 0,
    flags: 0,
    family: 0,
    socket_type: 0,
    remote_addr: [0; 16],
    local_addr: [0; 16],
    remote_port: 0,
    local_port: 0,
    protocol: 0,
    path_len: 0,
    cookie: 0,
    sent: 0,
    received: 0,
    identity: 0,
};

/// What system calls return, as a record has it: 0, or a negative errno.
#[inline(always)]
fn result(returned: i64) -> i32 {
    if returned < 0 { returned as i32 } else { 0 }
}

/// `SOCKET_*` flags and result of an act that came to a security check (`Check::outcome`).
#[inline(always)]
fn outcome((flags, result): (u32, i64)) -> (u32, i32) {
    if flags & ACT_RESULT == 0 {
        (SOCKET_PERMITTED, 0)
    } else {
        (SOCKET_RESULT, result as i32)
    }
}

/// Whether nobody wants to know what the current thread does with sockets, for programs that may have their
/// task by type.
#[inline(always)]
fn is_muted() -> bool {
    rules::is_muted(emit::current_cgroup_typed(), SCOPE_MUTE_SOCKET)
}

/// Sends a record of the current thread. `TYPED` tells whether the program may have its task by type.
#[inline(always)]
fn report<const TYPED: bool>(body: &SocketBody) {
    let mut record = MaybeUninit::<Plain>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    record.body = *body;
    if TYPED {
        emit::describe(&mut record.header, emit::current_cgroup_typed(), 0);
    } else {
        emit::describe_untyped(&mut record.header, emit::current_cgroup(), 0);
    }
    emit::submit(&raw mut record.header, KIND_SOCKET, size_of::<Plain>() as u64);
}

/// Has `fill` describe what the current thread does with a socket that has a name, and sends it. Where it
/// gives `None`, the act is counted as failed; where it sets no operation, it is no event.
#[inline(always)]
fn report_named(fill: impl FnOnce(&mut Named) -> Option<()>) {
    let cgroup = emit::current_cgroup_typed();
    let slot = slot::claim(SLOTS, |number| NAMED_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_SOCKET, |named| {
        named.body = EMPTY;
        named.header.flags = 0;
        fill(named)?;
        if named.body.op != 0 {
            let flags = named.header.flags;
            emit::describe(&mut named.header, cgroup, flags);
            let len = u64::from(load(&named.body.path_len));
            if len <= PATH_MAX as u64 {
                let fixed = (size_of::<Header>() + size_of::<SocketBody>()) as u64;
                emit::submit(&raw mut named.header, KIND_SOCKET, fixed + len);
            }
        }
        Some(())
    });
}

impl Named {
    /// The name, from kernel objects.
    #[inline(always)]
    fn walk(&mut self, (dentry, mount): (Dentry, Mount)) -> Option<()> {
        let walked = path::walk_from(&raw mut self.walk, (&raw mut self.path).cast(), dentry, mount)?;
        self.body.path_len = walked.len as u32;
        self.header.flags |= walked.flags;
        Some(())
    }

    /// The name in a `struct sockaddr_un` of `len` bytes that lies in the kernel. Where it is a path, it is as
    /// the program gave it; an abstract one is all that there is to know.
    #[inline(always)]
    fn name(&mut self, address: u64, len: u32) -> Option<()> {
        self.take_name(len, |to, len| {
            // SAFETY: the helper writes no more than it is told, for which there is room.
            unsafe { bpf_probe_read_kernel(to, len, address.wrapping_add(u64::from(SUN_PATH)) as *const _) }
        })
    }

    /// The same for one in the memory of the program.
    #[inline(always)]
    fn user_name(&mut self, address: u64, len: u32) -> Option<()> {
        self.take_name(len, |to, len| {
            // SAFETY: as above.
            unsafe { bpf_probe_read_user(to, len, address.wrapping_add(u64::from(SUN_PATH)) as *const _) }
        })
    }

    #[inline(always)]
    fn take_name(&mut self, len: u32, take: impl Fn(*mut core::ffi::c_void, u32) -> i64) -> Option<()> {
        let path = (&raw mut self.path).cast::<u8>();
        // An address without a name gets a name from the kernel, or has none.
        let mut len = len.wrapping_sub(SUN_PATH);
        if len == 0 || len > i32::MAX as u32 {
            return Some(());
        }
        if len > SUN_PATH_MAX {
            len = SUN_PATH_MAX;
        }
        if take(path.cast(), len) < 0 {
            return None;
        }
        self.body.path_len = len;
        self.body.flags |= SOCKET_PATH_CLAIMED;
        if load(path) == 0 {
            self.body.flags |= SOCKET_ABSTRACT;
        }
        Some(())
    }
}
