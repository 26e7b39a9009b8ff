//! Acts on the kernel that are one system call each.

use crate::act::{self, Act};
use crate::kernel::task::{Task, current_process};
use crate::kernel::{offset, read};
use crate::probe::syscall::{Return, returns};
use crate::settings;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use norma_abi::{KEY_ADD, KEY_REQUEST, KIND_HOST, OP_KEXEC, OP_KEYCTL, OP_PERF_EVENT, OP_USERFAULTFD};

/// Stands for no key.
const NO_KEY: u64 = 0;

returns! {
    keyctl => exit exit_keyctl, native native_keyctl, compat compat_keyctl;
    add_key => exit exit_add_key, native native_add_key, compat compat_add_key;
    request_key => exit exit_request_key, native native_request_key, compat compat_request_key;
    perf_event_open => exit exit_perf_event_open, native native_perf_event_open, compat compat_perf_event_open;
    userfaultfd => exit exit_userfaultfd, native native_userfaultfd, compat compat_userfaultfd;
    kexec_load => exit exit_kexec_load, native native_kexec_load, compat compat_kexec_load;
    kexec_file_load => exit exit_kexec_file_load, native native_kexec_file_load;
}

/// `keyctl`: `int cmd, unsigned long arg2, ...`, where the second is a key for most commands
#[inline(always)]
fn keyctl(call: &impl Return) {
    let key = i64::from(call.arg1() as i32) as u64;
    report(OP_KEYCTL, call, |act| {
        act.args([call.arg0() & u64::from(u32::MAX), key, 0, 0]);
        Some(())
    });
}

/// `add_key`: `const char *_type, const char *_description, ...`
#[inline(always)]
fn add_key(call: &impl Return) {
    key(call, KEY_ADD);
}

/// `request_key`: `const char *_type, const char *_description, ...`
#[inline(always)]
fn request_key(call: &impl Return) {
    key(call, KEY_REQUEST);
}

#[inline(always)]
fn key(call: &impl Return, operation: u64) {
    let made = call.result();
    report(OP_KEYCTL, call, |act| {
        act.args([operation, if made > 0 { made as u64 } else { NO_KEY }, 0, 0]);
        act.user_text(call.arg1())
    });
}

/// `perf_event_open`: `struct perf_event_attr *attr, pid_t pid, int cpu, ...`: looked at by
/// the new descriptor where there is one
#[inline(always)]
fn perf_event_open(call: &impl Return) {
    if current_process() == settings::agent_pid() {
        return;
    }
    let result = call.result();
    report(OP_PERF_EVENT, call, |act| {
        let (kind, config) = if result < 0 {
            claimed(call.arg0())
        } else {
            let event = Task::current().file(result as u32)?.private();
            (
                read(event, offset!(perf_event_type)),
                read(event, offset!(perf_event_config)),
            )
        };
        let signed = |value: u64| i64::from(value as i32) as u64;
        act.args([u64::from(kind), config, signed(call.arg1()), signed(call.arg2())]);
        Some(())
    });
}

/// Type and configuration of a `struct perf_event_attr` as the program gives it.
#[inline(always)]
fn claimed(attributes: u64) -> (u32, u64) {
    let mut words = [0u64; 2];
    // SAFETY: the helper checks the address and fills the values with zeros where it cannot be read.
    unsafe {
        bpf_probe_read_user(
            (&raw mut words).cast(),
            size_of::<[u64; 2]>() as u32,
            attributes as *const _,
        )
    };
    (words[0] as u32, words[1])
}

/// `userfaultfd`: `int flags`
#[inline(always)]
fn userfaultfd(call: &impl Return) {
    report(OP_USERFAULTFD, call, |act| {
        act.args([call.arg0() & u64::from(u32::MAX), 0, 0, 0]);
        Some(())
    });
}

/// `kexec_load`: `unsigned long entry, unsigned long nr_segments, ..., unsigned long flags`
#[inline(always)]
fn kexec_load(call: &impl Return) {
    report(OP_KEXEC, call, |act| {
        act.args([call.arg3(), 0, 0, 0]);
        Some(())
    });
}

/// `kexec_file_load`: `int kernel_fd, int initrd_fd, unsigned long cmdline_len, const char *cmdline,
/// unsigned long flags`
#[inline(always)]
fn kexec_file_load(call: &impl Return) {
    report(OP_KEXEC, call, |act| {
        act.args([call.arg4(), 0, 0, 0]);
        match Task::current().file(call.arg0() as u32) {
            Some(kernel) => act.walk_file(kernel),
            None => Some(()),
        }
    });
}

#[inline(always)]
fn report(op: u32, call: &impl Return, fill: impl FnOnce(&mut Act) -> Option<()>) {
    let result = call.result();
    act::report(KIND_HOST, |act| {
        act.op(op, 0);
        act.result(result);
        fill(act)
    });
}
