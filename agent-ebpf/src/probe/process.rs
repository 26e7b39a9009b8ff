//! Creation and end of processes.

use crate::act;
use crate::emit;
use crate::kernel::task::{CLONE_NEWUSER, Task};
use crate::settings;
use crate::turn::turns;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use core::mem::MaybeUninit;
use norma_abi::{ExitBody, ForkBody, Header, KIND_EXIT, KIND_FORK, KIND_PRIVILEGE, OP_CLONE_NS};

const BPF_NOEXIST: u64 = 1;

#[repr(C)]
struct Fork {
    header: Header,
    body: ForkBody,
}

#[repr(C)]
struct Exit {
    header: Header,
    body: ExitBody,
}

/// Processes whose end was reported, by start time and pid; only where the kernel does not say which
/// thread is the last.
#[map]
static ENDED: LruHashMap<[u64; 2], u8> = LruHashMap::with_max_entries(1024, 0);

turns! {
    3 for norma_abi::TURN_FORK, "sched_process_fork" => forked: 0 process_fork, 1 process_fork_second, 2 process_fork_third
}

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`
#[inline(always)]
fn forked(ctx: &BtfTracePointContext) {
    let child = Task::<true>(ctx.arg::<*const u8>(1) as u64);
    let pid = child.tgid();
    if child.pid() != pid {
        return;
    }
    let mut record = MaybeUninit::<Fork>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    emit::describe(&mut record.header, emit::current_cgroup_typed(), 0);
    record.body = ForkBody {
        child_start_ns: child.start(),
        child_pid: pid,
        reserved: 0,
    };
    emit::submit(&raw mut record.header, KIND_FORK, size_of::<Fork>() as u64);
}

/// The same tracepoint: a child that was made in other namespaces than its parent's.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn process_fork_ns(ctx: BtfTracePointContext) -> i32 {
    let parent = Task::<true>(ctx.arg::<*const u8>(0) as u64);
    let child = Task::<true>(ctx.arg::<*const u8>(1) as u64);
    let mut flags = 0;
    let (old, new) = (parent.namespaces(), child.namespaces());
    if !new.is(old) {
        flags |= new.differing(old);
    }
    if child.cred().user_namespace() != parent.cred().user_namespace() {
        flags |= CLONE_NEWUSER;
    }
    if flags != 0 {
        act::report(KIND_PRIVILEGE, |act| {
            act.op(OP_CLONE_NS, 0);
            act.result(0);
            act.args([flags, 0, 0, 0]);
            act.target(child);
            Some(())
        });
    }
    0
}

turns! {
    3 for norma_abi::TURN_EXIT, "sched_process_exit" => ended: 0 process_exit, 1 process_exit_second, 2 process_exit_third
}

/// `TP_PROTO(struct task_struct *p)`; from 6.16 `TP_PROTO(struct task_struct *p, bool group_dead)`
#[inline(always)]
fn ended(ctx: &BtfTracePointContext) {
    let task = Task::current();
    if settings::exit_tells_group_dead() {
        if ctx.arg::<u64>(1) & 1 == 0 {
            return;
        }
    } else if task.live_threads() != 0 || reported(task) {
        return;
    }
    let mut record = MaybeUninit::<Exit>::zeroed();
    // SAFETY: integers only, for which zeros are values.
    let record = unsafe { record.assume_init_mut() };
    emit::describe(&mut record.header, emit::current_cgroup_typed(), 0);
    let usage = task.usage();
    record.body = ExitBody {
        status: task.exit_status(),
        reserved: 0,
        runtime_ns: usage.runtime,
        user_ns: usage.user,
        system_ns: usage.system,
        max_rss_pages: usage.max_rss,
    };
    emit::submit(&raw mut record.header, KIND_EXIT, size_of::<Exit>() as u64);
}

/// Whether another thread has reported this end: two threads that exit together both find none alive.
#[inline(always)]
fn reported(task: Task<true>) -> bool {
    ENDED
        .insert([task.leader().start(), u64::from(task.tgid())], 1, BPF_NOEXIST)
        .is_err()
}
