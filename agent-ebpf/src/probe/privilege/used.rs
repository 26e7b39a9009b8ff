//! Capabilities that processes use, and those that they lack.
//!
//! The kernel asks for capabilities all the time: a workload of root's that serves the files of others does so at each
//! open. So a use is reported once in a while and not each time, by control group, executable, user namespace,
//! capability and outcome; what was reported is remembered in a table of fixed size, as one keyed word each. What finds
//! no room there takes the place of another, which is then reported again: a flood costs reports, never silence. What was
//! lost on the way was not reported, and is not remembered: a program may use a capability once in its life, and what
//! is used again has to be told then.
//!
//! Two kinds of asking are no use. The kernel asks without wanting an answer on record where it only chooses between two
//! ways that are both permitted (memory accounting, which attributes to list). And it acts with other credentials than
//! those of the process: an overlay filesystem with those of whoever mounted it.

use crate::act;
use crate::emit;
use crate::kernel::file::File;
use crate::kernel::task::{Cred, Namespace, Task};
use crate::settings;
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::{btf_tracepoint, fexit, map};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use norma_abi::{CAPABILITY_USES, CAPABILITY_WAYS, KIND_PRIVILEGE, OP_CAPABILITY_USE};

/// Remembered uses: the keyed hash of each but for its low bits, which are the period in which it was reported.
#[map]
static CAPABILITIES_USED: Array<[u64; CAPABILITY_WAYS]> = Array::with_max_entries(CAPABILITY_USES, 0);

/// A use is reported again in the next period of so many ticks, as a power of two: 2 to 22 minutes, by the kernel's
/// clock rate. What is learned counts in which hours something is seen.
const PERIOD_TICKS: u32 = 17;
/// Bits of a remembered word that tell its period.
const PERIOD_MASK: u64 = 0xff;
/// Nobody wants to have it on record that it was asked.
const CAP_OPT_NOAUDIT: u64 = 1 << 1;
const CAP_SYS_PTRACE: u64 = 19;
const CAP_SYS_ADMIN: u64 = 21;
const CAP_SYS_RESOURCE: u64 = 24;
const CAP_SYSLOG: u64 = 34;
const CAP_PERFMON: u64 = 38;
/// Capabilities that the kernel also asks for without wanting it on record. The tracepoint does not tell which it is.
const ASKED_IN_PASSING: u64 =
    1 << CAP_SYS_PTRACE | 1 << CAP_SYS_ADMIN | 1 << CAP_SYS_RESOURCE | 1 << CAP_SYSLOG | 1 << CAP_PERFMON;

/// `int security_capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)`: what all
/// security modules together say.
#[fexit]
pub fn fexit_security_capable(ctx: FExitContext) -> i32 {
    returned(&ctx);
    0
}

/// The same form, where there are no other security modules.
#[fexit]
pub fn fexit_cap_capable(ctx: FExitContext) -> i32 {
    returned(&ctx);
    0
}

#[inline(always)]
fn returned(ctx: &FExitContext) {
    if ctx.arg::<u64>(3) & CAP_OPT_NOAUDIT == 0 {
        let (cred, namespace) = (ctx.arg::<*const u8>(0) as u64, ctx.arg::<*const u8>(1) as u64);
        asked(
            Cred(cred),
            Namespace(namespace),
            ctx.arg::<u64>(2),
            ctx.arg::<u64>(4),
        );
    }
}

/// `TP_PROTO(const struct cred *cred, struct user_namespace *target_ns, const struct user_namespace *capable_ns,
/// int cap, int ret)` (6.14)
#[btf_tracepoint(function = "cap_capable")]
pub fn cap_capable(ctx: BtfTracePointContext) -> i32 {
    let capability = ctx.arg::<u64>(3) & 63;
    if ASKED_IN_PASSING >> capability & 1 == 0 {
        let (cred, namespace) = (ctx.arg::<*const u8>(0) as u64, ctx.arg::<*const u8>(1) as u64);
        asked(Cred(cred), Namespace(namespace), capability, ctx.arg::<u64>(4));
    }
    0
}

#[inline(always)]
fn asked(cred: Cred<true>, namespace: Namespace<true>, capability: u64, result: u64) {
    let task = Task::<true>::current();
    if cred.0 != task.own_cred().0 || task.is_kernel_thread() {
        return;
    }
    let program = File(task.executable());
    if program.0 == 0 {
        return;
    }
    let (capability, result) = (capability & 63, i64::from(result as i32));
    let (_, _, inode) = program.named_typed();
    let number = u64::from(namespace.number());
    let what = number << 32 | capability << 1 | u64::from(result != 0);
    let words = [
        emit::current_cgroup_typed(),
        inode.number_typed(),
        inode.changed_typed(),
        what,
    ];
    let Some((place, entry)) = unreported(words) else {
        return;
    };
    let delivered = act::deliver(KIND_PRIVILEGE, |act| {
        act.op(OP_CAPABILITY_USE, 0);
        act.result(result);
        act.args([1 << capability, number, 0, 0]);
        Some(())
    });
    if delivered {
        // SAFETY: a word of a value of the table, as `unreported` gave it.
        store(unsafe { &mut *place }, entry);
    }
}

/// Where a use is to be remembered once it was reported, and as what; `None` where it was in this period.
#[inline(always)]
fn unreported(words: [u64; 4]) -> Option<(*mut u64, u64)> {
    let [start, _, factor] = settings::secret();
    let mut hash = start;
    for word in words {
        hash = hash.wrapping_add(word).wrapping_mul(factor);
        hash ^= hash >> 32;
    }
    let index = (hash.wrapping_mul(factor) >> (64 - CAPABILITY_USES.ilog2())) as u32;
    let ways = CAPABILITIES_USED.get_ptr_mut(index)?;
    // SAFETY: the helper takes nothing.
    let period = unsafe { bpf_jiffies64() } >> PERIOD_TICKS & PERIOD_MASK;
    let entry = hash & !PERIOD_MASK | period;
    let ways = ways.cast::<u64>();
    // What nobody used in this period makes room first.
    let mut free = hash as usize & (CAPABILITY_WAYS - 1);
    for way in 0..CAPABILITY_WAYS {
        // SAFETY: the verifier has seen the null check, and the way is within the value.
        let known = load(unsafe { ways.add(way) });
        if known == entry {
            return None;
        }
        if known & PERIOD_MASK != period {
            free = way;
        }
    }
    // SAFETY: as above; the mask keeps it there.
    Some((unsafe { ways.add(free & (CAPABILITY_WAYS - 1)) }, entry))
}
