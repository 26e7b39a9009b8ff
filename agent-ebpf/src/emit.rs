//! Records on their way out: the header, the rings, the counters.
//!
//! Processors share their rings in groups. What explains everything else (processes, privileges, control
//! groups, the host) has a ring of its own, so that no flood of opens or connections crowds it out.

use crate::kernel::task::Task;
use crate::settings;
use crate::slot::{self, Slot};
use crate::verifier::{add, load, store};
use aya_ebpf::bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
    bpf_ringbuf_output, bpf_ringbuf_query,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap, RingBuf};
use norma_abi::{
    ABI_VERSION, Counters, Header, KIND_CONNECT, KIND_DNS, KIND_FILE, KIND_LISTEN, KIND_OPEN, KIND_SOCKET,
    KINDS, LossKey,
};

/// A look at how full a ring is, and perhaps a wake-up of its reader, happens once in so many records.
const LOOK_EVERY: u64 = 64;
/// The size of a ring is set when it is made; this one stands for "not set".
const PAGE: u32 = 4096;

macro_rules! rings {
    ($($number:literal $name:ident)*) => {
        $(#[map] static $name: RingBuf = RingBuf::with_byte_size(PAGE, 0);)*

        /// Calls `$use` with the ring of this processor. Each arm is a call of its own, because the verifier
        /// wants to know the map.
        macro_rules! with_ring {
            ($index:expr, $call:ident($arguments:expr)) => {
                match $index {
                    $($number => $call((&raw const $name).cast_mut().cast(), $arguments),)*
                    _ => $call((&raw const RING_RESERVED).cast_mut().cast(), $arguments),
                }
            };
        }
    };
}

#[map]
static RING_RESERVED: RingBuf = RingBuf::with_byte_size(PAGE, 0);
rings! {
    0 RING_0 1 RING_1 2 RING_2 3 RING_3 4 RING_4 5 RING_5 6 RING_6 7 RING_7
    8 RING_8 9 RING_9 10 RING_10 11 RING_11 12 RING_12 13 RING_13 14 RING_14 15 RING_15
}
/// Stands for the reserved ring.
const RESERVED: u32 = norma_abi::RINGS_MAX as u32;

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LOSSES: PerCpuHashMap<LossKey, u64> = PerCpuHashMap::with_max_entries(8192, 0);

/// Id of the control group of the thread that runs this program.
#[inline(always)]
pub fn current_cgroup() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_cgroup_id() }
}

/// The same for programs that may have the current task by its type, at a fraction of the helper's cost.
#[inline(always)]
pub fn current_cgroup_typed() -> u64 {
    if settings::typed_loads() {
        Task::current().cgroup()
    } else {
        current_cgroup()
    }
}

/// The counters of this processor. Interrupts, and programs that preempt this one, count there too, so they are only ever
/// added to.
#[inline(always)]
fn counters() -> Option<*mut Counters> {
    COUNTERS.get_ptr_mut(0)
}

macro_rules! count {
    ($counters:expr, $field:ident, $kind:expr) => {
        // SAFETY: the verifier has seen the null check of the value, and that the index is within the array.
        unsafe { add(&raw mut (*$counters).$field[$kind as usize % KINDS], 1) }
    };
}

/// Counts an act that could not be described.
#[inline(always)]
pub fn failed(kind: u16) {
    if let Some(counters) = counters() {
        count!(counters, failed, kind);
    }
}

/// Counts an act that was recognised.
#[inline(always)]
pub fn recognised(kind: u16) {
    if let Some(counters) = counters() {
        count!(counters, recognised, kind);
    }
}

/// Counts an act of a control group that finds no memory to be described in as lost.
#[inline(always)]
pub fn lose(cgroup: u64, kind: u16) {
    if let Some(counters) = counters() {
        count!(counters, seen, kind);
        lost(counters, cgroup, kind);
    }
}

#[inline(always)]
fn lost(counters: *mut Counters, cgroup: u64, kind: u16) {
    count!(counters, lost, kind);
    count_loss(cgroup, kind);
}

/// Has `work` describe an act of a control group in a slot of its own; `None` counts as failed.
#[inline(always)]
pub fn within<T: Slot>(
    slot: Option<*mut T>,
    cgroup: u64,
    kind: u16,
    work: impl FnOnce(&mut T) -> Option<()>,
) {
    let Some(slot) = slot else {
        lose(cgroup, kind);
        return;
    };
    // SAFETY: a live map value, which only this program uses until it gives it back.
    if work(unsafe { &mut *slot }).is_none() {
        failed(kind);
    }
    slot::release(slot);
}

/// Fills in that the current thread acted, now. `cgroup` is [`current_cgroup_typed`].
#[inline(always)]
pub fn describe(header: &mut Header, cgroup: u64, flags: u32) {
    let task = Task::current();
    describe_task(header, task, ids_of(task), cgroup, flags);
}

/// The same for programs that cannot have the current task by its type.
#[inline(always)]
pub fn describe_untyped(header: &mut Header, cgroup: u64, flags: u32) {
    describe_task(header, Task::untyped(), current_ids(), cgroup, flags);
}

/// The same for programs that cannot ask for the current thread's ids either.
#[inline(always)]
pub fn describe_by_reading(header: &mut Header, task: Task<false>, cgroup: u64) {
    describe_task(header, task, ids_of(task), cgroup, 0);
}

#[inline(always)]
fn ids_of<const TYPED: bool>(task: Task<TYPED>) -> u64 {
    u64::from(task.tgid()) << 32 | u64::from(task.pid())
}

#[inline(always)]
fn current_ids() -> u64 {
    // SAFETY: the helper takes nothing.
    unsafe { bpf_get_current_pid_tgid() }
}

#[inline(always)]
fn describe_task<const TYPED: bool>(
    header: &mut Header,
    task: Task<TYPED>,
    ids: u64,
    cgroup: u64,
    flags: u32,
) {
    let leader = task.leader();
    let parent = task.real_parent().leader();
    let cred = task.cred();
    let namespaces = task.namespaces();
    stamp(header, cgroup, flags);
    header.start_ns = leader.start();
    header.parent_start_ns = parent.start();
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

/// The same as [`stamp`] for a header that lies in scratch memory and may hold somebody from before.
#[inline(always)]
pub fn stamp_nobody(header: &mut Header, cgroup: u64) {
    // SAFETY: integers only, for which zeros are values.
    *header = unsafe { core::mem::zeroed() };
    stamp(header, cgroup, 0);
}

/// Fills in when and where, and nobody: for what happens outside the context of whoever caused it.
#[inline(always)]
pub fn stamp(header: &mut Header, cgroup: u64, flags: u32) {
    header.abi = ABI_VERSION;
    // SAFETY: the helpers take nothing.
    unsafe {
        header.cpu = bpf_get_smp_processor_id();
        header.boot_ns = bpf_ktime_get_boot_ns();
    }
    header.flags = flags;
    header.cgroup_id = cgroup;
}

/// Whether records of this kind come in numbers that a workload chooses.
#[inline(always)]
fn is_bulk(kind: u16) -> bool {
    matches!(
        kind,
        KIND_OPEN | KIND_CONNECT | KIND_LISTEN | KIND_FILE | KIND_SOCKET | KIND_DNS
    )
}

/// Sends the `len` bytes that start with `header` and counts them as delivered or lost.
///
/// The reader comes by itself every few milliseconds; waking it for a record would cost the watched
/// program several microseconds each time, so that is done only when the ring fills up.
#[inline(always)]
pub fn submit(header: *mut Header, kind: u16, len: u64) {
    deliver(header, kind, len);
}

/// The same; tells whether it was delivered.
#[inline(always)]
pub fn deliver(header: *mut Header, kind: u16, len: u64) -> bool {
    let Some(counters) = counters() else {
        return false;
    };
    count!(counters, seen, kind);
    // SAFETY: a live map value; the header is one or lies on the stack.
    let (seq, cpu, cgroup) = unsafe {
        // Nothing is counted by it, so that two records may happen to share a number.
        let seq = load(&raw const (*counters).seq) + 1;
        store(&raw mut (*counters).seq, seq);
        (*header).kind = kind;
        (*header).len = len as u32;
        (*header).seq = seq;
        (seq, (*header).cpu, (*header).cgroup_id)
    };
    let ring = if is_bulk(kind) {
        cpu & settings::ring_mask() & (RESERVED - 1)
    } else {
        RESERVED
    };
    let mut flags = BPF_RB_NO_WAKEUP;
    if seq % LOOK_EVERY == 0 && with_ring!(ring, fill(())) > settings::wakeup_bytes() {
        flags = BPF_RB_FORCE_WAKEUP;
    }
    let output = Output { header, len, flags };
    if with_ring!(ring, send(&output)) >= 0 {
        return true;
    }
    lost(counters, cgroup, kind);
    false
}

struct Output {
    header: *mut Header,
    len: u64,
    flags: u32,
}

#[inline(always)]
fn fill(ring: *mut core::ffi::c_void, (): ()) -> u64 {
    // SAFETY: `ring` is one of the maps above.
    unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) }
}

#[inline(always)]
fn send(ring: *mut core::ffi::c_void, output: &Output) -> i64 {
    // SAFETY: `ring` is one of the maps above; the verifier checks that `len` bytes can be read.
    unsafe { bpf_ringbuf_output(ring, output.header.cast(), output.len, u64::from(output.flags)) }
}

/// Whose record was lost. Where there are more control groups than room, the rest are counted together.
#[inline(always)]
fn count_loss(cgroup_id: u64, kind: u16) {
    let mut key = LossKey {
        cgroup_id,
        kind: u32::from(kind),
        reserved: 0,
    };
    if add_loss(&key) {
        return;
    }
    // Another processor may have made the entry meanwhile, so only the addition decides.
    let _ = LOSSES.insert(key, 0, u64::from(BPF_NOEXIST));
    if !add_loss(&key) {
        key.cgroup_id = 0;
        let _ = LOSSES.insert(key, 0, u64::from(BPF_NOEXIST));
        add_loss(&key);
    }
}

#[inline(always)]
fn add_loss(key: &LossKey) -> bool {
    let Some(count) = LOSSES.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the verifier has seen the null check.
    unsafe { add(count, 1) };
    true
}
