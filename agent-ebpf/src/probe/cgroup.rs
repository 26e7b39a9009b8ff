//! Control groups that come and go, so that a container's is known before anything runs in it.

use crate::emit;
use crate::kernel::cgroup::Cgroup;
use crate::slot::{self, Hold, Slot};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{
    CGROUP_MADE, CGROUP_PATH_MAX, CGROUP_REMOVED, CgroupBody, FLAG_PATH_TRUNCATED, Header, KIND_CGROUP,
};

/// Control groups come and go too seldom for memory for two at once; the second is lost, and counted as that.
const SLOTS: u32 = 1;

#[repr(C)]
struct Scratch {
    hold: Hold,
    header: Header,
    body: CgroupBody,
    path: [u8; CGROUP_PATH_MAX],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

#[map]
static CGROUP_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SLOTS, 0);

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_made(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, CGROUP_MADE)
}

/// `TP_PROTO(struct cgroup *cgrp, const char *path)`
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_removed(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, CGROUP_REMOVED)
}

#[inline(always)]
fn changed(ctx: &BtfTracePointContext, operation: u32) -> i32 {
    let cgroup = Cgroup::<false>(ctx.arg::<*const u8>(0) as u64);
    if !cgroup.is_v2() {
        return 0;
    }
    let path = ctx.arg::<*const u8>(1);
    let slot = slot::claim(SLOTS, |number| CGROUP_SCRATCH.get_ptr_mut(number));
    emit::within(slot, emit::current_cgroup(), KIND_CGROUP, |scratch| {
        record(scratch, cgroup, path, operation)
    });
    0
}

#[inline(always)]
fn record(scratch: &mut Scratch, cgroup: Cgroup<false>, path: *const u8, operation: u32) -> Option<()> {
    // SAFETY: the helper writes no more than it is told.
    let taken = unsafe {
        bpf_probe_read_kernel_str(
            (&raw mut scratch.path).cast(),
            CGROUP_PATH_MAX as u32,
            path.cast(),
        )
    };
    if taken <= 0 || taken > CGROUP_PATH_MAX as i64 {
        return None;
    }
    let path_len = taken as u64 - 1;
    let flags = if path_len == CGROUP_PATH_MAX as u64 - 1 {
        FLAG_PATH_TRUNCATED
    } else {
        0
    };
    scratch.body = CgroupBody {
        id: cgroup.id(),
        operation,
        path_len: path_len as u32,
    };
    emit::describe(&mut scratch.header, emit::current_cgroup_typed(), flags);
    let fixed = (size_of::<Header>() + size_of::<CgroupBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_CGROUP, fixed + path_len);
    Some(())
}
