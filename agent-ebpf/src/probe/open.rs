//! Opening of files.

use crate::emit;
use crate::kernel::{file::File, task::Task};
use crate::path::{self, Walk};
use crate::rules;
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{Header, KIND_OPEN, OpenBody, PATH_MAX, SCOPE_MUTE_OPEN};

/// Offset of `ret` in the record of a `syscalls/sys_exit_*` tracepoint: common fields, number, result.
const RESULT: usize = 16;

#[repr(C)]
struct Scratch {
    busy: u64,
    walk: Walk,
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
    let cgroup = emit::current_cgroup();
    if rules::scope(cgroup).flags & SCOPE_MUTE_OPEN != 0 {
        return 0;
    }
    // SAFETY: the record of this tracepoint is longer than that.
    let Ok(result) = (unsafe { ctx.read_at::<i64>(RESULT) }) else {
        return 0;
    };
    if result < 0 || result > i64::from(i32::MAX) {
        return 0;
    }
    let Some(scratch) = OPEN_SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the verifier has seen the null check.
    let busy = unsafe { &raw mut (*scratch).busy };
    emit::exclusively(busy, KIND_OPEN, || {
        record(scratch, cgroup, Task::current().file(result as u32)?)
    });
    0
}

#[inline(always)]
fn record(scratch: *mut Scratch, cgroup: u64, file: File) -> Option<()> {
    // SAFETY: the scratch is a live map value, and only this program uses it.
    let scratch = unsafe { &mut *scratch };
    let path = path::walk(&raw mut scratch.walk, (&raw mut scratch.path).cast(), file)?;
    let inode = file.inode();
    scratch.body = OpenBody {
        inode: inode.number(),
        dev: inode.device(),
        mode: inode.mode(),
        open_flags: file.flags(),
        file_mode: file.mode(),
        path_len: path.len as u32,
        reserved: 0,
    };
    emit::describe(&mut scratch.header, cgroup, path.flags);
    let fixed = (size_of::<Header>() + size_of::<OpenBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_OPEN, fixed + path.len);
    Some(())
}
