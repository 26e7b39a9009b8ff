//! Records on their way out: the header, the ring, the counters.

use crate::kernel::task::Task;
use crate::verifier::{load, store};
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
    bpf_ringbuf_output,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use norma_abi::{ABI_VERSION, Counters, Header, KINDS, Settings};

/// While the ring is fuller than the mark, one record in so many wakes the reader.
const WAKEUP_EVERY: u64 = 64;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Handed in at load time.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    wakeup_bytes: 0,
    exit_tells_group_dead: 0,
    host_pid_ns: 0,
};

/// Inode number of the host's pid namespace, 0 where unknown.
#[inline(always)]
pub fn host_pid_ns() -> u32 {
    load(&raw const SETTINGS.host_pid_ns)
}

/// Whether `sched_process_exit` has its second argument on this kernel.
#[inline(always)]
pub fn exit_tells_group_dead() -> bool {
    load(&raw const SETTINGS.exit_tells_group_dead) != 0
}

/// Id of the control group of the thread that runs this program.
#[inline(always)]
pub fn current_cgroup() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Counts an act that could not be described.
#[inline(always)]
pub fn failed(kind: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the verifier has seen the null check; this processor's value is only written here.
        unsafe { (*counters).failed[kind as usize % KINDS] += 1 };
    }
}

/// Fills in who acted when. `cgroup` is [`current_cgroup`].
#[inline(always)]
pub fn describe(header: &mut Header, cgroup: u64, flags: u32) {
    let task = Task::current();
    let leader = task.leader();
    let parent = task.real_parent().leader();
    let cred = task.cred();
    let namespaces = task.namespaces();
    header.abi = ABI_VERSION;
    // SAFETY: the helpers take nothing.
    unsafe {
        header.cpu = bpf_get_smp_processor_id();
        header.boot_ns = bpf_ktime_get_boot_ns();
    }
    header.flags = flags;
    header.cgroup_id = cgroup;
    header.start_ns = leader.start();
    header.parent_start_ns = parent.start();
    // SAFETY: the helper takes nothing.
    let ids = unsafe { bpf_get_current_pid_tgid() };
    header.pid = (ids >> 32) as u32;
    header.tid = ids as u32;
    header.ppid = parent.tgid();
    header.uid = cred.uid();
    header.gid = cred.gid();
    header.euid = cred.euid();
    header.mnt_ns = namespaces.mnt();
    header.pid_ns = namespaces.pid();
    header.net_ns = namespaces.net();
    header.user_ns = cred.user_ns();
    header.comm = task.comm();
}

/// Sends the `len` bytes that start with `header` and counts them as delivered or lost.
///
/// The reader comes by itself every few milliseconds; waking it for a record would cost the watched
/// program several microseconds each time, so that is done only when the ring fills up.
#[inline(always)]
pub fn submit(header: *mut Header, kind: u16, len: u64) {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the verifier has seen the null check; this processor's value is only written here.
    let counters = unsafe { &mut *counters };
    let kind_index = kind as usize % KINDS;
    counters.seq += 1;
    counters.seen[kind_index] += 1;
    // SAFETY: the header is a live map value or lies on the stack.
    unsafe {
        (*header).kind = kind;
        (*header).len = len as u32;
        (*header).seq = counters.seq;
    }
    let fill = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let wake = fill > u64::from(load(&raw const SETTINGS.wakeup_bytes)) && counters.seq % WAKEUP_EVERY == 0;
    let flags = if wake {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    };
    // SAFETY: the verifier checks that `len` bytes can be read.
    let result = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            header.cast(),
            len,
            u64::from(flags),
        )
    };
    if result < 0 {
        counters.lost[kind_index] += 1;
    }
}

/// Runs `work` unless this processor is already inside the same scratch memory.
///
/// Programs of one hook can interrupt each other where the kernel may preempt them; the second one is
/// counted as failed instead of writing over the first one's record.
#[inline(always)]
pub fn exclusively(busy: *mut u64, kind: u16, work: impl FnOnce() -> Option<()>) {
    if load(busy) != 0 {
        failed(kind);
        return;
    }
    store(busy, 1);
    if work().is_none() {
        failed(kind);
    }
    store(busy, 0);
}
