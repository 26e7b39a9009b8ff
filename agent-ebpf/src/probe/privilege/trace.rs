//! Acts on the memory and registers of other processes.

use crate::act::{self, Act};
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::security::{Check, checks};
use crate::probe::syscall::{self, Return, returns};
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::{map, tracepoint};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::TracePointContext;
use norma_abi::{KIND_PRIVILEGE, OP_PTRACE, OP_VM_READ, OP_VM_WRITE};

const PTRACE_TRACEME: u64 = 0;
const PTRACE_ATTACH: u64 = 16;
const PTRACE_SEIZE: u64 = 0x4206;
/// Of the mode of a check: the right to change, not only to look.
const MODE_ATTACH: u64 = 2;
/// Stands for a request that is not known.
const UNKNOWN: u64 = u64::MAX;
/// How long a check may lie behind the end of the system call that it belongs to.
const CHECK_NS: u64 = 1_000_000_000;

checks! {
    lsm_ptrace_access_check, fexit_ptrace_access_check => access_check;
    lsm_ptrace_traceme, fexit_ptrace_traceme => traceme;
}

/// The process for which a thread was last checked.
#[derive(Clone, Copy)]
#[repr(C)]
struct Checked {
    at: u64,
    start: u64,
    cgroup: u64,
    pid: u32,
    reserved: u32,
}

/// By thread id; where the checks are seen, process_vm_readv and the like learn from it whom they reached.
#[map]
static CHECKED: LruHashMap<u32, Checked> = LruHashMap::with_max_entries(1024, 0);

/// `int ptrace_access_check(struct task_struct *child, unsigned int mode)`: also for /proc/PID/mem and
/// process_vm_writev. The right to look is asked for all the time, and is left out.
#[inline(always)]
fn access_check(check: &impl Check) {
    let mode = check.arg(1) & u64::from(u32::MAX);
    if mode & MODE_ATTACH == 0 {
        return;
    }
    let target = Task::<true>(check.arg(0));
    let checked = Checked {
        // SAFETY: the helper takes nothing.
        at: unsafe { bpf_ktime_get_boot_ns() },
        start: target.leader().start(),
        cgroup: target.cgroup(),
        pid: target.tgid(),
        reserved: 0,
    };
    // SAFETY: the helper takes nothing.
    let thread = unsafe { bpf_get_current_pid_tgid() } as u32;
    // A full map drops its oldest entry.
    let _ = CHECKED.insert(thread, checked, 0);
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_PTRACE, check.outcome(2));
        act.args([UNKNOWN, mode, 0, 0]);
        act.target(target);
        Some(())
    });
}

/// `int ptrace_traceme(struct task_struct *parent)`
#[inline(always)]
fn traceme(check: &impl Check) {
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_PTRACE, check.outcome(1));
        act.args([PTRACE_TRACEME, 0, 0, 0]);
        act.target(Task::<true>(check.arg(0)));
        Some(())
    });
}

/// `syscalls/sys_exit_ptrace`: `long request, long pid, ...`: the beginnings of tracing that succeed
#[tracepoint]
pub fn exit_ptrace(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    let request = Regs::current().arg0();
    if result < 0 || !begins(request) {
        return 0;
    }
    let task = Task::current();
    act::report(KIND_PRIVILEGE, |act| {
        act.op(OP_PTRACE, 0);
        act.result(result);
        act.args([request, 0, 0, 0]);
        if request == PTRACE_TRACEME {
            act.target(task.parent());
        } else if let Some(traced) = task.last_traced() {
            act.target(traced);
        }
        Some(())
    });
    0
}

/// `ptrace`: the beginnings of tracing that fail
#[inline(always)]
fn ptrace_failed(call: &impl Return) {
    let (result, request) = (call.result(), call.arg0());
    if result < 0 && begins(request) {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_PTRACE, 0);
            act.result(result);
            act.args([request, 0, 0, 0]);
            Some(())
        });
    }
}

#[inline(always)]
fn begins(request: u64) -> bool {
    matches!(request, PTRACE_TRACEME | PTRACE_ATTACH | PTRACE_SEIZE)
}

returns! {
    ptrace_failed => exit exit_ptrace_failed, native native_ptrace_failed, compat compat_ptrace_failed;
    vm_read => exit exit_process_vm_readv, native native_process_vm_readv, compat compat_process_vm_readv;
    vm_write => exit exit_process_vm_writev, native native_process_vm_writev, compat compat_process_vm_writev;
}

/// `process_vm_readv`: `pid_t pid, ...`
#[inline(always)]
fn vm_read(call: &impl Return) {
    accessed(call, OP_VM_READ);
}

/// `process_vm_writev`: `pid_t pid, ...`
#[inline(always)]
fn vm_write(call: &impl Return) {
    accessed(call, OP_VM_WRITE);
}

#[inline(always)]
fn accessed(call: &impl Return, op: u32) {
    let pid = call.arg0() as u32;
    let task = Task::current();
    let (own, level) = task.leader().number();
    // Its own memory a process may read and write as it likes.
    if pid == own {
        return;
    }
    let result = call.result();
    act::report(KIND_PRIVILEGE, |act| {
        act.op(op, 0);
        act.result(result);
        act.args([if result > 0 { result as u64 } else { 0 }, pid.into(), 0, 0]);
        if !take_checked(act, task.pid()) && level == 0 {
            act.target_pid(pid);
        }
        Some(())
    });
}

#[inline(always)]
fn take_checked(act: &mut Act, thread: u32) -> bool {
    // SAFETY: only the thread itself writes its entry, and it is here.
    let Some(checked) = (unsafe { CHECKED.get(&thread) }).copied() else {
        return false;
    };
    let _ = CHECKED.remove(&thread);
    // SAFETY: the helper takes nothing.
    if unsafe { bpf_ktime_get_boot_ns() }.wrapping_sub(checked.at) > CHECK_NS {
        return false;
    }
    act.target_known(checked.pid, checked.start, checked.cgroup);
    true
}
