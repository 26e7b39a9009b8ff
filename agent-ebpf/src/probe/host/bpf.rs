//! BPF programs that others load and attach.

use crate::act::{self, Act};
use crate::kernel::task::{Task, current_process};
use crate::kernel::{offset, read};
use crate::probe::security::{Check, checks};
use crate::probe::syscall::{Return, returns};
use crate::settings;
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use norma_abi::{ACT_PERMITTED, ACT_RESULT, ARG_UNKNOWN, KIND_HOST, OP_BPF_ATTACH, OP_BPF_LOAD};

const PROG_LOAD: u64 = 5;
const PROG_ATTACH: u64 = 8;
const RAW_TRACEPOINT_OPEN: u64 = 17;
const LINK_CREATE: u64 = 28;

// Members of `union bpf_attr`, which is part of the interface to user space.
const LOAD_TYPE: u64 = 0;
const LOAD_NAME: u64 = 48;
const ATTACH_PROGRAM: u64 = 4;
const RAW_PROGRAM: u64 = 8;
const LINK_PROGRAM: u64 = 0;
const ATTACH_TYPE: u64 = 8;
// Options of a socket.
const SO_ATTACH_BPF: u64 = 50;
const SO_ATTACH_REUSEPORT_EBPF: u64 = 52;

checks! {
    lsm_bpf, fexit_bpf => bpf;
}

returns! {
    bpf_done => exit exit_bpf;
    bpf_failed => exit exit_bpf_failed, native native_bpf_failed, compat compat_bpf_failed;
}

/// `int bpf(int cmd, union bpf_attr *attr, unsigned int size)`, with `bool kernel` from 6.15: the attributes
/// are the kernel's copy. What is refused here fails, and is told as that.
#[inline(always)]
fn bpf(check: &impl Check) {
    let command = check.raw(0) & u64::from(u32::MAX);
    let attributes = check.raw(1);
    if !is_of_interest(command) || check.outcome(3).0 != ACT_PERMITTED {
        return;
    }
    let word = |at: u64| read::<u32>(attributes.wrapping_add(at), 0);
    act::report(KIND_HOST, |act| {
        if command == PROG_LOAD {
            act.op(OP_BPF_LOAD, ACT_PERMITTED);
            act.args([word(LOAD_TYPE).into(), 0, 0, 0]);
            act.text(attributes.wrapping_add(LOAD_NAME))
        } else {
            act.op(OP_BPF_ATTACH, ACT_PERMITTED);
            attached(act, command, word)
        }
    });
}

/// `bpf`: `int cmd, union bpf_attr *uattr, ...`: what succeeds; a program that was loaded is looked at by its
/// new descriptor
#[inline(always)]
fn bpf_done(call: &impl Return) {
    if call.result() >= 0 {
        done(call);
    }
}

/// `bpf`: what fails
#[inline(always)]
fn bpf_failed(call: &impl Return) {
    if call.result() < 0 {
        done(call);
    }
}

#[inline(always)]
fn done(call: &impl Return) {
    let result = call.result();
    let command = call.arg0() & u64::from(u32::MAX);
    if !is_of_interest(command) {
        return;
    }
    let attributes = call.arg1();
    act::report(KIND_HOST, |act| {
        act.op(
            if command == PROG_LOAD {
                OP_BPF_LOAD
            } else {
                OP_BPF_ATTACH
            },
            0,
        );
        act.result(result);
        if command != PROG_LOAD {
            return attached(act, command, |at| user_word(attributes, at));
        }
        if result < 0 {
            act.args([user_word(attributes, LOAD_TYPE).into(), 0, 0, 0]);
            return act.user_text(attributes.wrapping_add(LOAD_NAME));
        }
        let program = Task::current().file(result as u32)?.private();
        act.args([read::<u32>(program, offset!(bpf_prog_type)).into(), 0, 0, 0]);
        name(act, program)
    });
}

/// `int sk_attach_bpf(u32 ufd, struct sock *sk)`: a filter of what a socket receives
#[fexit]
pub fn fexit_socket_filter(ctx: FExitContext) -> i32 {
    attached_to_socket(&ctx, SO_ATTACH_BPF);
    0
}

/// `int sk_reuseport_attach_bpf(u32 ufd, struct sock *sk)`: what chooses among sockets of one port
#[fexit]
pub fn fexit_socket_choice(ctx: FExitContext) -> i32 {
    attached_to_socket(&ctx, SO_ATTACH_REUSEPORT_EBPF);
    0
}

/// Neither comes to the security check of bpf(2).
#[inline(always)]
fn attached_to_socket(ctx: &FExitContext, option: u64) {
    let (descriptor, result) = (ctx.arg::<u64>(0) as u32, ctx.arg::<u64>(2) as i32);
    if current_process() == settings::agent_pid() {
        return;
    }
    act::report(KIND_HOST, |act| {
        act.op_checked(OP_BPF_ATTACH, (ACT_RESULT, i64::from(result)));
        act.args([ARG_UNKNOWN, ARG_UNKNOWN, option, 0]);
        named(act, descriptor)
    });
}

/// Programs are loaded and attached rarely, maps are read all the time; the agent's own do not count.
#[inline(always)]
fn is_of_interest(command: u64) -> bool {
    matches!(
        command,
        PROG_LOAD | PROG_ATTACH | RAW_TRACEPOINT_OPEN | LINK_CREATE
    ) && current_process() != settings::agent_pid()
}

#[inline(always)]
fn attached(act: &mut Act, command: u64, word: impl Fn(u64) -> u32) -> Option<()> {
    let (program, kind) = match command {
        RAW_TRACEPOINT_OPEN => (word(RAW_PROGRAM), ARG_UNKNOWN),
        LINK_CREATE => (word(LINK_PROGRAM), word(ATTACH_TYPE).into()),
        _ => (word(ATTACH_PROGRAM), word(ATTACH_TYPE).into()),
    };
    act.args([command, kind, ARG_UNKNOWN, 0]);
    named(act, program)
}

/// The name of the program behind a descriptor, where there is one.
#[inline(always)]
fn named(act: &mut Act, descriptor: u32) -> Option<()> {
    match Task::current().file(descriptor) {
        Some(file) => name(act, file.private()),
        None => Some(()),
    }
}

#[inline(always)]
fn name(act: &mut Act, program: u64) -> Option<()> {
    let aux: u64 = read(program, offset!(bpf_prog_aux));
    act.text(aux.wrapping_add(offset!(bpf_prog_aux_name)))
}

#[inline(always)]
fn user_word(base: u64, at: u64) -> u32 {
    let mut word = 0u32;
    // SAFETY: the helper checks the address and fills the value with zeros where it cannot be read.
    unsafe {
        bpf_probe_read_user(
            (&raw mut word).cast(),
            size_of::<u32>() as u32,
            base.wrapping_add(at) as *const _,
        )
    };
    word
}
