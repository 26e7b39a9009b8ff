//! Opening of files.

use crate::emit;
use crate::kernel::file::{FMODE_PATH, File, FileLook, InodeLook};
use crate::kernel::task::Task;
use crate::path::typed::{self, Tops};
use crate::path::{self, Walk, Walked};
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use crate::rules;
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{Header, KIND_OPEN, OpenBody, PATH_MAX, SCOPE_MUTE_OPEN};

#[repr(C)]
struct Scratch {
    busy: u64,
    walk: Walk,
    tops: Tops,
    header: Header,
    body: OpenBody,
    path: [u8; PATH_MAX],
}

#[map]
static OPEN_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `syscalls/sys_exit_{open,openat,openat2,creat,open_by_handle_at}`: `long ret` is the new descriptor or
/// a negative error.
#[tracepoint]
pub fn open_exit(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 || result > i64::from(i32::MAX) {
        return 0;
    }
    let cgroup = emit::current_cgroup_typed();
    if rules::is_muted(cgroup, SCOPE_MUTE_OPEN) {
        return 0;
    }
    let Some(scratch) = OPEN_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the verifier has seen the null check.
    let busy = unsafe { &raw mut (*scratch).busy };
    emit::exclusively(busy, KIND_OPEN, || {
        // SAFETY: the scratch is a live map value, and only this program uses it.
        let scratch = unsafe { &mut *scratch };
        let file = Task::current().file(result as u32)?;
        let look = file.look(&mut scratch.walk.view)?;
        if look.mode & FMODE_PATH != 0 {
            return Some(());
        }
        let inode = look.inode.look(&mut scratch.walk.view);
        let out = (&raw mut scratch.path).cast();
        let path = path::walk_from(&raw mut scratch.walk, out, look.dentry, look.mount)?;
        record(scratch, cgroup, &look, &inode, &path);
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
    if rules::is_muted(cgroup, SCOPE_MUTE_OPEN) {
        return;
    }
    let Some(scratch) = OPEN_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the verifier has seen the null check.
    let busy = unsafe { &raw mut (*scratch).busy };
    emit::exclusively(busy, KIND_OPEN, || {
        // SAFETY: the scratch is a live map value, and only this program uses it.
        let scratch = unsafe { &mut *scratch };
        let (walk, tops) = (&raw mut scratch.walk, &raw mut scratch.tops);
        let out = (&raw mut scratch.path).cast();
        let path = typed::walk_from(walk, tops, out, look.dentry, look.mount)?;
        record(scratch, cgroup, &look, &inode, &path);
        Some(())
    });
}

#[inline(always)]
fn record(scratch: &mut Scratch, cgroup: u64, look: &FileLook, inode: &InodeLook, path: &Walked) {
    scratch.body = OpenBody {
        inode: inode.number,
        dev: inode.device,
        mode: inode.mode,
        open_flags: look.flags,
        file_mode: look.mode,
        path_len: path.len as u32,
        reserved: 0,
    };
    emit::describe(&mut scratch.header, cgroup, path.flags);
    let fixed = (size_of::<Header>() + size_of::<OpenBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_OPEN, fixed + path.len);
}
