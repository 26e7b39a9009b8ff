//! Execution of a program.

use crate::act;
use crate::emit;
use crate::kernel::exec::{Exec, Origin};
use crate::kernel::task::Task;
use crate::path::{self, NAME_SLOT, Walk};
use crate::probe::syscall::{Return, returns};
use crate::rules;
use crate::settings;
use crate::slot::{self, Hold, Slot};
use crate::turn::turns;
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::{
    bpf_get_smp_processor_id, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_send_signal,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, lpm_trie::Key};
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{
    ACT_AT_DESCRIPTOR, ACTION_KILLED, ACTION_NONE, ARGV_MAX, ENVIRONMENT_MAX, EXEC_SLOTS, ExecBody,
    FILENAME_MAX, FLAG_ARGV_TRUNCATED, FLAG_ARGV_UNREADABLE, FLAG_ENVIRONMENT_TRUNCATED,
    FLAG_FILENAME_TRUNCATED, FLAG_PATH_DISCONNECTED, FLAG_PATH_TRUNCATED, FileFacts, Header, KIND_EXEC,
    KIND_PRIVILEGE, OP_EXEC_FAILED, PATH_MAX, PathRuleKey, RULE_PATH_MAX, SCOPE_ANY, Scope, WANT_ENVIRONMENT,
};

const SIGKILL: u32 = 9;
const AT_FDCWD: i32 = -100;
const TAILS: usize = PATH_MAX + FILENAME_MAX + ARGV_MAX + ENVIRONMENT_MAX + PATH_MAX;
const NO_FILE: FileFacts = FileFacts {
    inode: 0,
    mtime_ns: 0,
    ctime_ns: 0,
    dev: 0,
    mode: 0,
    magic: 0,
    nlink: 0,
    origin: 0,
    reserved: 0,
};

#[repr(C)]
struct Scratch {
    hold: Hold,
    walk: Walk,
    header: Header,
    body: ExecBody,
    tails: [u8; TAILS],
    key: Key<PathRuleKey>,
    /// The last name of a path may run over the end of the key.
    spare: [u8; NAME_SLOT + 8],
}

// SAFETY: it begins with its hold.
unsafe impl Slot for Scratch {}

/// [`EXEC_SLOTS`] for each processor, which is the size that the agent gives it. The values of a per-processor
/// map would be limited to 32 KiB.
#[map]
static EXEC_SCRATCH: Array<Scratch> = Array::with_max_entries(EXEC_SLOTS, 0);

turns!(2 for norma_abi::TURN_EXEC, "sched_process_exec" => executed: 0 process_exec, 1 process_exec_second);

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: the new program is in
/// place, and the thread has not yet returned to user space.
#[inline(always)]
fn executed(ctx: &BtfTracePointContext) {
    let exec = Exec(ctx.arg::<*const u8>(2) as u64);
    // SAFETY: the helper takes nothing.
    let first = EXEC_SLOTS * unsafe { bpf_get_smp_processor_id() };
    let slot = slot::claim(EXEC_SLOTS, |number| EXEC_SCRATCH.get_ptr_mut(first + number));
    emit::within(slot, emit::current_cgroup_typed(), KIND_EXEC, |scratch| {
        record(scratch, exec)
    });
}

/// What the verifier should not follow through every walk (which rule, which flags) lies in the scratch memory.
#[inline(always)]
fn record(scratch: &mut Scratch, exec: Exec) -> Option<()> {
    let tails = (&raw mut scratch.tails).cast::<u8>();
    let cgroup = emit::current_cgroup_typed();
    let task = Task::current();
    let root = task.root_mount();
    let scope = rules::scope(cgroup);

    let file = Origin::of(exec.file(), root, &mut scratch.walk.view)?;
    scratch.body.file = file.facts;
    let path = path::walk_from(&raw mut scratch.walk, tails, file.dentry, file.mount)?;
    store(&mut scratch.header.flags, path.flags);
    store(&mut scratch.body.path_len, path.len as u32);
    store(&mut scratch.body.rule, judge(scratch, tails, scope, path.flags));

    // A bound that was checked before the rules were looked up is forgotten by the verifier of 6.1 ("math between
    // map_value pointer and register with unbounded min value"), so the length comes from memory and is checked here.
    let path_len = load(&scratch.body.path_len);
    if path_len > PATH_MAX as u32 {
        return None;
    }
    // SAFETY: checked above; the walk leaves the other tails their room.
    let at = unsafe { tails.add(path_len as usize) };
    scratch.body.script = NO_FILE;
    store(&mut scratch.body.script_len, 0);
    store(&mut scratch.body.script_flags, 0);
    let is_script = exec.is_script();
    scratch.body.is_script = u32::from(is_script);
    if is_script && let Some(script) = exec.script(task, &mut scratch.walk.view) {
        let script = Origin::of(script, root, &mut scratch.walk.view)?;
        scratch.body.script = script.facts;
        let walked = path::walk_from(&raw mut scratch.walk, at, script.dentry, script.mount)?;
        store(&mut scratch.body.script_len, walked.len as u32);
        store(&mut scratch.body.script_flags, walked.flags);
        if load(&scratch.body.rule) == 0 {
            store(&mut scratch.body.rule, judge(scratch, at, scope, walked.flags));
        }
    }
    // SAFETY: the helper takes a number; the signal acts before the thread returns to user space.
    let killed = load(&scratch.body.rule) != 0 && unsafe { bpf_send_signal(SIGKILL) } == 0;
    scratch.body.action = if killed { ACTION_KILLED } else { ACTION_NONE };

    let script_len = load(&scratch.body.script_len);
    if script_len > PATH_MAX as u32 {
        return None;
    }
    let flags = &raw mut scratch.header.flags;
    // SAFETY: path and script are no longer than their parts of the tails.
    let at = unsafe { at.add(script_len as usize) };
    let filename_len = copy_filename(at, exec.filename(), flags);
    // SAFETY: as above.
    let at = unsafe { at.add(filename_len as usize) };
    let (argv_len, argv_total) = copy_arguments(at, task, flags);
    // SAFETY: as above.
    let at = unsafe { at.add(argv_len as usize) };
    let environment_len = copy_environment(at, task, flags);

    scratch.body.filename_len = filename_len as u32;
    scratch.body.argv_len = argv_len as u32;
    scratch.body.environment_len = environment_len as u32;
    scratch.body.argv_total = argv_total as u32;
    let flags = load(flags);
    emit::describe(&mut scratch.header, cgroup, flags);
    // One check of the sum, right before its use, for the same reason.
    let tails_len = u64::from(load(&scratch.body.path_len))
        + u64::from(load(&scratch.body.script_len))
        + u64::from(load(&scratch.body.filename_len))
        + u64::from(load(&scratch.body.argv_len))
        + u64::from(load(&scratch.body.environment_len));
    if tails_len > TAILS as u64 {
        return None;
    }
    let fixed = (size_of::<Header>() + size_of::<ExecBody>()) as u64;
    emit::submit(&raw mut scratch.header, KIND_EXEC, fixed + tails_len);
    Some(())
}

#[inline(always)]
fn copy_filename(to: *mut u8, filename: u64, flags: *mut u32) -> u64 {
    // SAFETY: the caller leaves room; the helper writes no more than it is told.
    let taken = unsafe { bpf_probe_read_kernel_str(to.cast(), FILENAME_MAX as u32, filename as *const _) };
    if taken <= 0 || taken > FILENAME_MAX as i64 {
        return 0;
    }
    let len = taken as u64 - 1;
    if len == FILENAME_MAX as u64 - 1 {
        set(flags, FLAG_FILENAME_TRUNCATED);
    }
    len
}

/// Bytes copied, and bytes that there are.
#[inline(always)]
fn copy_arguments(to: *mut u8, task: Task<true>, flags: *mut u32) -> (u64, u64) {
    let (start, end) = task.arguments();
    let total = end.wrapping_sub(start);
    let mut len = total;
    let limit = u64::from(settings::argv_max());
    if len > limit {
        set(flags, FLAG_ARGV_TRUNCATED);
        len = limit;
    }
    if len > ARGV_MAX as u64 {
        len = ARGV_MAX as u64;
    }
    // SAFETY: the caller leaves room; the helper checks the address.
    let result = unsafe { bpf_probe_read_user(to.cast(), len as u32, start as *const _) };
    if result < 0 {
        set(flags, FLAG_ARGV_UNREADABLE);
        len = 0;
    }
    (len, total)
}

#[inline(always)]
fn copy_environment(to: *mut u8, task: Task<true>, flags: *mut u32) -> u64 {
    if !settings::wants(WANT_ENVIRONMENT) {
        return 0;
    }
    let (start, end) = task.environment();
    let mut len = end.wrapping_sub(start);
    if len > ENVIRONMENT_MAX as u64 {
        set(flags, FLAG_ENVIRONMENT_TRUNCATED);
        len = ENVIRONMENT_MAX as u64;
    }
    // SAFETY: the caller leaves room; the helper checks the address.
    let result = unsafe { bpf_probe_read_user(to.cast(), len as u32, start as *const _) };
    if result < 0 {
        set(flags, FLAG_ENVIRONMENT_TRUNCATED);
        len = 0;
    }
    len
}

#[inline(always)]
fn set(flags: *mut u32, flag: u32) {
    store(flags, load(flags) | flag);
}

/// The number of the rule that forbids the path that was walked last to `names`, 0 for none. A path whose head
/// is unknown matches no rule.
#[inline(always)]
fn judge(scratch: &mut Scratch, names: *const u8, scope: Scope, flags: u32) -> u32 {
    if !rules::any_path(scope) || flags & (FLAG_PATH_TRUNCATED | FLAG_PATH_DISCONNECTED) != 0 {
        return 0;
    }
    let text = (&raw mut scratch.key.data.path).cast::<u8>();
    path::absolute(&raw mut scratch.walk, names, text, RULE_PATH_MAX as u64);
    scratch.key.prefix_len = 8 * size_of::<PathRuleKey>() as u32;
    rules::path(&mut scratch.key, scope.id)
        .or_else(|| rules::path(&mut scratch.key, SCOPE_ANY))
        .map_or(0, |rule| rule.rule)
}

returns! {
    execve => exit exit_execve, native native_execve, compat compat_execve;
    execveat => exit exit_execveat, native native_execveat, compat compat_execveat;
}

/// `execve`: `const char *filename, ...`
#[inline(always)]
fn execve(call: &impl Return) {
    // An exec that succeeds has no arguments left in its registers, and was reported by its tracepoint.
    if call.result() < 0 {
        failed(call, call.arg0(), AT_FDCWD);
    }
}

/// `execveat`: `int fd, const char *filename, ...`
#[inline(always)]
fn execveat(call: &impl Return) {
    if call.result() < 0 {
        failed(call, call.arg1(), call.arg0() as i32);
    }
}

#[inline(always)]
fn failed(call: &impl Return, path: u64, directory: i32) {
    let result = call.result();
    act::report(KIND_PRIVILEGE, |act| {
        let relative = if directory == AT_FDCWD {
            0
        } else {
            ACT_AT_DESCRIPTOR
        };
        act.op(OP_EXEC_FAILED, relative);
        act.result(result);
        act.claim(path)
    });
}
