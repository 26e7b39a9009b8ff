//! Execution of a program.

use crate::emit;
use crate::kernel::{file::File, offset, read, task::Task};
use crate::path::{self, NAME_SLOT, Walk};
use crate::rules;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_send_signal};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{PerCpuArray, lpm_trie::Key};
use aya_ebpf::programs::BtfTracePointContext;
use norma_abi::{
    ACTION_KILLED, ACTION_NONE, ARGV_MAX, ExecBody, FILENAME_MAX, FLAG_ARGV_TRUNCATED, FLAG_ARGV_UNREADABLE,
    FLAG_FILENAME_TRUNCATED, FLAG_PATH_DISCONNECTED, FLAG_PATH_TRUNCATED, Header, KIND_EXEC, PATH_MAX,
    PathRuleKey, RULE_PATH_MAX, Rule, SCOPE_ANY, Scope,
};

const SIGKILL: u32 = 9;
const TAILS: usize = PATH_MAX + FILENAME_MAX + ARGV_MAX;

#[repr(C)]
struct Scratch {
    busy: u64,
    walk: Walk,
    header: Header,
    body: ExecBody,
    tails: [u8; TAILS],
    key: Key<PathRuleKey>,
    /// The last name of a path may run over the end of the key.
    spare: [u8; NAME_SLOT + 8],
}

#[map]
static EXEC_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`: the new program is in
/// place, and the thread has not yet returned to user space.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn process_exec(ctx: BtfTracePointContext) -> i32 {
    if let Some(scratch) = EXEC_SCRATCH.get_ptr_mut(0) {
        let bprm = ctx.arg::<*const u8>(2) as u64;
        // SAFETY: the verifier has seen the null check.
        let busy = unsafe { &raw mut (*scratch).busy };
        emit::exclusively(busy, KIND_EXEC, || record(scratch, bprm));
    }
    0
}

#[inline(always)]
fn record(scratch: *mut Scratch, bprm: u64) -> Option<()> {
    // SAFETY: the scratch is a live map value, and only this program uses it.
    let scratch = unsafe { &mut *scratch };
    let tails = (&raw mut scratch.tails).cast::<u8>();
    let cgroup = emit::current_cgroup();
    let file = File(read(bprm, offset!(bprm_file)));
    let path = path::walk(&raw mut scratch.walk, tails, file)?;
    let mut flags = path.flags;

    let rule = judge(scratch, rules::scope(cgroup), path.flags);
    // SAFETY: the helper takes a number; the signal acts before the thread returns to user space.
    let killed = rule.is_some() && unsafe { bpf_send_signal(SIGKILL) } == 0;

    let filename: u64 = read(bprm, offset!(bprm_filename));
    // SAFETY: `walk` has checked that the path leaves the other tails their room.
    let at = unsafe { tails.add(path.len as usize) };
    // SAFETY: as above; the helper writes no more than it is told.
    let taken = unsafe { bpf_probe_read_kernel_str(at.cast(), FILENAME_MAX as u32, filename as *const _) };
    let filename_len = if taken <= 0 || taken > FILENAME_MAX as i64 {
        0
    } else {
        taken as u64 - 1
    };
    if filename_len == FILENAME_MAX as u64 - 1 {
        flags |= FLAG_FILENAME_TRUNCATED;
    }

    let (start, end) = Task::current().arguments();
    let total = end.wrapping_sub(start);
    let mut argv_len = total;
    if total > ARGV_MAX as u64 {
        flags |= FLAG_ARGV_TRUNCATED;
        argv_len = ARGV_MAX as u64;
    }
    // SAFETY: path and filename are no longer than their parts of the tails, so argv has its own.
    let result = unsafe {
        bpf_probe_read_user(
            at.add(filename_len as usize).cast(),
            argv_len as u32,
            start as *const _,
        )
    };
    if result < 0 {
        flags |= FLAG_ARGV_UNREADABLE;
        argv_len = 0;
    }

    let inode = file.inode();
    scratch.body = ExecBody {
        inode: inode.number(),
        dev: inode.device(),
        mode: inode.mode(),
        action: if killed { ACTION_KILLED } else { ACTION_NONE },
        rule: rule.map_or(0, |rule| rule.rule),
        path_len: path.len as u32,
        filename_len: filename_len as u32,
        argv_len: argv_len as u32,
        argv_total: total as u32,
    };
    emit::describe(&mut scratch.header, cgroup, flags);
    let fixed = (size_of::<Header>() + size_of::<ExecBody>()) as u64;
    emit::submit(
        &raw mut scratch.header,
        KIND_EXEC,
        fixed + path.len + filename_len + argv_len,
    );
    Some(())
}

/// The rule that forbids the walked path, if there is one. A path whose head is unknown matches no rule.
#[inline(always)]
fn judge(scratch: &mut Scratch, scope: Scope, flags: u32) -> Option<Rule> {
    if !rules::any_path(scope) || flags & (FLAG_PATH_TRUNCATED | FLAG_PATH_DISCONNECTED) != 0 {
        return None;
    }
    let names = (&raw const scratch.tails).cast::<u8>();
    let text = (&raw mut scratch.key.data.path).cast::<u8>();
    path::absolute(&raw mut scratch.walk, names, text, RULE_PATH_MAX as u64);
    scratch.key.prefix_len = 8 * size_of::<PathRuleKey>() as u32;
    rules::path(&mut scratch.key, scope.id).or_else(|| rules::path(&mut scratch.key, SCOPE_ANY))
}
