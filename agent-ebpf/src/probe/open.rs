//! Opening of files.

use crate::emit;
use crate::kernel::file::{FMODE_PATH, File, FileLook, InodeLook};
use crate::kernel::task::Task;
use crate::known::{self, Recognised, Words};
use crate::path::typed::{self, Tops};
use crate::path::{self, Walk, Walked};
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use crate::rules::{self, Opens};
use crate::slot::{self, Hold, Slot};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{Header, KIND_OPEN, OpenBody, PATH_MAX};

/// Tasks of one processor that may be in the middle of an open at once.
const SLOTS: u32 = 4;

#[repr(C)]
struct Scratch {
    hold: Hold,
    walk: Walk,
    tops: Tops,
    words: Words,
    header: Header,
    body: OpenBody,
    path: [u8; PATH_MAX],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

#[map]
static OPEN_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

/// `syscalls/sys_exit_{open,openat,openat2,creat,open_by_handle_at}`: `long ret` is the new descriptor or
/// a negative error.
#[tracepoint]
pub fn open_exit(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 || result > i64::from(i32::MAX) {
        return 0;
    }
    let cgroup = emit::current_cgroup_typed();
    let opens = rules::opens(cgroup);
    if opens == Opens::Muted {
        return 0;
    }
    let slot = slot::claim(SLOTS, |number| OPEN_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_OPEN, |scratch| {
        let file = Task::current().file(result as u32)?;
        let look = file.look(&mut scratch.walk.view)?;
        if look.mode & FMODE_PATH != 0 {
            return Some(());
        }
        // Before the name is walked: what changes in between makes this identity one that never comes again.
        let mut identity = 0;
        if opens == Opens::Recognised {
            let (words, tops) = (&raw mut scratch.words, &raw mut scratch.tops);
            match known::open(words, tops, cgroup, &look, scratch.hold.is_first()) {
                Recognised::Yes(_) => return Some(()),
                Recognised::No(unknown) => identity = unknown,
            }
        }
        let inode = look.inode.look(&mut scratch.walk.view);
        let out = (&raw mut scratch.path).cast();
        let path = path::walk_from(&raw mut scratch.walk, out, look.dentry, look.mount)?;
        record(scratch, cgroup, &look, &inode, &path, identity);
        Some(())
    });
    0
}

checks! {
    lsm_file_open, fexit_file_open => file_open;
}

/// `int file_open(struct file *file)`: all opens but those with O_PATH, by whatever way they come
#[inline(always)]
fn file_open(check: &impl Check) {
    if check.verdict(1).is_some_and(|verdict| verdict < 0) {
        return;
    }
    let (look, inode) = File(check.arg(0)).look_typed();
    if !look.is_for_program() {
        return;
    }
    let cgroup = emit::current_cgroup_typed();
    let opens = rules::opens(cgroup);
    if opens == Opens::Muted {
        return;
    }
    let slot = slot::claim(SLOTS, |number| OPEN_SCRATCH.get_ptr_mut(number));
    emit::within(slot, cgroup, KIND_OPEN, |scratch| {
        let (walk, tops) = (&raw mut scratch.walk, &raw mut scratch.tops);
        let mut identity = 0;
        // As above.
        if opens == Opens::Recognised {
            let first = scratch.hold.is_first();
            match known::open_typed(&raw mut scratch.words, tops, cgroup, &look, &inode, first) {
                Recognised::Yes(_) => return Some(()),
                Recognised::No(unknown) => identity = unknown,
            }
        }
        let out = (&raw mut scratch.path).cast();
        let path = typed::walk_from(walk, tops, out, look.dentry, look.mount)?;
        record(scratch, cgroup, &look, &inode, &path, identity);
        Some(())
    });
}

#[inline(always)]
fn record(
    scratch: &mut Scratch,
    cgroup: u64,
    look: &FileLook,
    inode: &InodeLook,
    path: &Walked,
    identity: u64,
) {
    scratch.body = OpenBody {
        inode: inode.number,
        dev: inode.device,
        mode: inode.mode,
        open_flags: look.flags,
        file_mode: look.mode,
        path_len: path.len as u32,
        reserved: 0,
        identity,
    };
    emit::describe(&mut scratch.header, cgroup, path.flags);
    let fixed = (size_of::<Header>() + size_of::<OpenBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_OPEN, fixed + path.len);
}
