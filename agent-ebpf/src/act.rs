//! Records of operations: files, privileges, the host. They share one form, [`ActBody`].
//!
//! A probe fills an [`Act`] in from kernel objects and submits it:
//!
//! ```ignore
//! act::report(KIND_FILE, |act| {
//!     act.op(OP_UNLINK, ACT_PERMITTED);
//!     act.walk(dentry, mount)?;
//!     Some(())
//! });
//! ```

mod names;

pub use names::Text;

use crate::emit;
use crate::kernel::file::{Dentry, File, Inode, Mount, Place};
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::path::{self, Walk};
use crate::rules;
use crate::slot::{self, Hold, Slot};
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use norma_abi::{
    ACT_ARGS, ACT_IO_URING, ACT_OTHER_CLAIMED, ACT_OTHER_WALKED, ACT_PATH_CLAIMED, ACT_PATH_WALKED,
    ACT_RESULT, ACT_TEXT_MAX, ACT_TEXT_TRUNCATED, ActBody, Header, KIND_FILE, PATH_MAX, SCOPE_MUTE_FILE,
};

/// Tasks of one processor that may be in the middle of an act at once.
const SLOTS: u32 = 4;
const TAILS: usize = 2 * PATH_MAX + ACT_TEXT_MAX;

/// A record in the making.
#[repr(C)]
pub struct Act {
    hold: Hold,
    /// Bytes of tails so far.
    len: u64,
    walk: Walk,
    header: Header,
    body: ActBody,
    tails: [u8; TAILS],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Act {}

#[map]
static ACT_SCRATCH: PerCpuArray<Act> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Has `fill` describe an act of the current thread, and sends it. Where `fill` gives `None`, because an
/// object cannot be read, the act is counted as failed; one without operation is no event.
#[inline(always)]
pub fn report(kind: u16, fill: impl FnOnce(&mut Act) -> Option<()>) {
    record::<true>(kind, fill);
}

/// The same; tells whether the record was delivered.
#[inline(always)]
pub fn deliver(kind: u16, fill: impl FnOnce(&mut Act) -> Option<()>) -> bool {
    record::<true>(kind, fill)
}

/// The same for programs that may ask for neither the current task by its type nor its ids.
#[inline(always)]
pub fn report_untyped(kind: u16, fill: impl FnOnce(&mut Act) -> Option<()>) {
    record::<false>(kind, fill);
}

#[inline(always)]
fn record<const TYPED: bool>(kind: u16, fill: impl FnOnce(&mut Act) -> Option<()>) -> bool {
    let cgroup = if TYPED {
        emit::current_cgroup_typed()
    } else {
        emit::current_cgroup()
    };
    if kind == KIND_FILE && rules::is_muted(cgroup, SCOPE_MUTE_FILE) {
        return false;
    }
    // Not by `emit::within`: the kernel refuses the BTF of a closure that takes `fill` along and sets `delivered`.
    let Some(slot) = slot::claim(SLOTS, |number| ACT_SCRATCH.get_ptr_mut(number)) else {
        emit::lose(cgroup, kind);
        return false;
    };
    // SAFETY: a live map value, which only this program uses until it gives it back.
    let act = unsafe { &mut *slot };
    act.begin();
    let mut delivered = false;
    if fill(act).is_none() {
        emit::failed(kind);
    } else if act.body.op != 0 {
        let flags = act.header.flags;
        if TYPED {
            emit::describe(&mut act.header, cgroup, flags);
        } else {
            emit::describe_by_reading(&mut act.header, Task::untyped(), cgroup);
            act.header.flags = flags;
        }
        let fixed = (size_of::<Header>() + size_of::<ActBody>()) as u64;
        let len = load(&act.len);
        if len <= TAILS as u64 {
            delivered = emit::deliver(&raw mut act.header, kind, fixed + len);
        }
    }
    slot::release(slot);
    delivered
}

impl Act {
    #[inline(always)]
    fn begin(&mut self) {
        store(&mut self.len, 0);
        self.header.flags = 0;
        self.body = ActBody {
            op: 0,
            result: 0,
            flags: 0,
            mode: 0,
            inode: 0,
            args: [0; ACT_ARGS],
            target_start_ns: 0,
            target_cgroup: 0,
            target_pid: 0,
            dev: 0,
            path_len: 0,
            other_len: 0,
            other_flags: 0,
            text_len: 0,
        };
    }

    /// Says what was done, with `ACT_*` flags.
    #[inline(always)]
    pub fn op(&mut self, op: u32, flags: u32) {
        self.body.op = op;
        self.body.flags |= flags;
    }

    /// Says what was done, with the outcome of a security check (`Check::outcome`).
    #[inline(always)]
    pub fn op_checked(&mut self, op: u32, (flags, result): (u32, i64)) {
        self.op(op, flags);
        if flags & ACT_RESULT != 0 {
            self.result(result);
        }
        if Regs::current().in_io_uring(Task::current()) {
            self.body.flags |= ACT_IO_URING;
        }
    }

    /// Says what came of it, as system calls return it.
    #[inline(always)]
    pub fn result(&mut self, result: i64) {
        self.body.flags |= ACT_RESULT;
        self.body.result = if result < 0 { result as i32 } else { 0 };
    }

    /// Sets the arguments of the operation.
    #[inline(always)]
    pub fn args(&mut self, args: [u64; ACT_ARGS]) {
        self.body.args = args;
    }

    /// The process acted on.
    #[inline(always)]
    pub fn target<const TYPED: bool>(&mut self, task: Task<TYPED>) {
        self.body.target_pid = task.tgid();
        self.body.target_start_ns = task.leader().start();
        self.body.target_cgroup = task.cgroup();
    }

    /// The process acted on, where no more is known of it than its number in the initial pid namespace.
    #[inline(always)]
    pub fn target_pid(&mut self, pid: u32) {
        self.body.target_pid = pid;
    }

    /// The process acted on, as [`Self::target`] found it earlier.
    #[inline(always)]
    pub fn target_known(&mut self, pid: u32, start: u64, cgroup: u64) {
        self.body.target_pid = pid;
        self.body.target_start_ns = start;
        self.body.target_cgroup = cgroup;
    }

    /// The file acted on.
    #[inline(always)]
    pub fn inode(&mut self, inode: Inode) {
        if inode.0 != 0 {
            self.body.inode = inode.number();
            self.body.mode = inode.mode();
            self.body.dev = inode.device();
        }
    }

    /// The path, from kernel objects. Paths come first: path, other path, text.
    #[inline(always)]
    pub fn walk(&mut self, dentry: Dentry, mount: Mount) -> Option<()> {
        let walked = path::walk_from(&raw mut self.walk, (&raw mut self.tails).cast(), dentry, mount)?;
        self.body.path_len = walked.len as u32;
        self.body.flags |= ACT_PATH_WALKED;
        self.header.flags |= walked.flags;
        store(&mut self.len, walked.len);
        Some(())
    }

    /// Path and inode of a `struct path`.
    #[inline(always)]
    pub fn walk_place(&mut self, place: Place) -> Option<()> {
        let dentry = place.dentry();
        self.inode(dentry.inode());
        self.walk(dentry, place.mount())
    }

    /// Path and inode of an open file.
    #[inline(always)]
    pub fn walk_file(&mut self, file: File) -> Option<()> {
        self.inode(file.inode());
        self.walk(file.dentry(), file.mount())
    }

    /// The other path, from kernel objects.
    #[inline(always)]
    pub fn walk_other(&mut self, dentry: Dentry, mount: Mount) -> Option<()> {
        let at = self.end(PATH_MAX)?;
        let walked = path::walk_from(&raw mut self.walk, at, dentry, mount)?;
        self.body.other_len = walked.len as u32;
        self.body.other_flags = walked.flags;
        self.body.flags |= ACT_OTHER_WALKED;
        self.grow(walked.len);
        Some(())
    }

    /// The path as the program gave it; an address that cannot be read gives none.
    #[inline(always)]
    pub fn claim(&mut self, user: u64) -> Option<()> {
        let len = self.user_path(user)?;
        self.body.path_len = len as u32;
        self.body.flags |= ACT_PATH_CLAIMED;
        Some(())
    }

    /// The other path as the program gave it.
    #[inline(always)]
    pub fn claim_other(&mut self, user: u64) -> Option<()> {
        let len = self.user_path(user)?;
        self.body.other_len = len as u32;
        self.body.flags |= ACT_OTHER_CLAIMED;
        Some(())
    }

    /// The text, from the kernel.
    #[inline(always)]
    pub fn text(&mut self, kernel: u64) -> Option<()> {
        let at = self.end(ACT_TEXT_MAX)?;
        // SAFETY: `end` leaves room for the text; the helper checks the address.
        let taken = unsafe { bpf_probe_read_kernel_str(at.cast(), ACT_TEXT_MAX as u32, kernel as *const _) };
        self.take_text(taken)
    }

    /// The text as the program gave it.
    #[inline(always)]
    pub fn user_text(&mut self, user: u64) -> Option<()> {
        let at = self.end(ACT_TEXT_MAX)?;
        // SAFETY: as above.
        let taken = unsafe { bpf_probe_read_user_str(at.cast(), ACT_TEXT_MAX as u32, user as *const _) };
        self.take_text(taken)
    }

    #[inline(always)]
    fn take_text(&mut self, taken: i64) -> Option<()> {
        let len = if taken <= 0 || taken > ACT_TEXT_MAX as i64 {
            0
        } else {
            taken as u64 - 1
        };
        if len == ACT_TEXT_MAX as u64 - 1 {
            self.body.flags |= ACT_TEXT_TRUNCATED;
        }
        self.body.text_len = len as u32;
        self.grow(len);
        Some(())
    }

    #[inline(always)]
    fn user_path(&mut self, user: u64) -> Option<u64> {
        let at = self.end(PATH_MAX)?;
        // SAFETY: `end` leaves room for a path; the helper checks the address.
        let taken = unsafe { bpf_probe_read_user_str(at.cast(), PATH_MAX as u32, user as *const _) };
        let len = if taken <= 0 || taken > PATH_MAX as i64 {
            0
        } else {
            taken as u64 - 1
        };
        self.grow(len);
        Some(len)
    }

    /// Where the next tail goes, with room for `max` bytes.
    #[inline(always)]
    fn end(&mut self, max: usize) -> Option<*mut u8> {
        let len = load(&self.len);
        if len > (TAILS - max) as u64 {
            return None;
        }
        // SAFETY: checked above.
        Some(unsafe { (&raw mut self.tails).cast::<u8>().add(len as usize) })
    }

    #[inline(always)]
    fn grow(&mut self, by: u64) {
        let len = load(&self.len);
        store(&mut self.len, len + by);
    }
}
