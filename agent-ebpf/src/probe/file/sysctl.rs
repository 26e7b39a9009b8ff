//! Settings of the kernel below /proc/sys.

use crate::act;
use aya_ebpf::bindings::bpf_sysctl;
use aya_ebpf::helpers::generated::bpf_sysctl_get_name;
use aya_ebpf::macros::cgroup_sysctl;
use aya_ebpf::programs::SysctlContext;
use norma_abi::{ACT_PERMITTED, KIND_FILE, OP_SYSCTL_WRITE};

const ALLOW: i32 = 1;

/// Any access to a setting by a process below the root of the v2 hierarchy, before it takes effect.
#[cgroup_sysctl]
pub fn sysctl(ctx: SysctlContext) -> i32 {
    // SAFETY: the verifier checks accesses to the context.
    if unsafe { (*ctx.sysctl).write } == 0 {
        return ALLOW;
    }
    act::report_untyped(KIND_FILE, |act| {
        act.op(OP_SYSCTL_WRITE, ACT_PERMITTED);
        act.text_by(|to, max| {
            // SAFETY: there is room for `max` bytes, as `text_by` says.
            unsafe { bpf_sysctl_get_name(ctx.sysctl.cast::<bpf_sysctl>(), to.cast(), max as u64, 0) }
        })
    });
    ALLOW
}
