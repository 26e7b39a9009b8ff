//! Changes of the file tree, and mappings of files.

mod attribute;
mod create;
mod map;
mod mount;
mod numbers;
mod open;
mod owner;
mod receive;
mod rename;
mod root;
mod sysctl;
mod truncate;
mod unlink;

use crate::act::{self, Act};
use crate::kernel::task::Task;
use crate::probe::syscall::{self, Return};
use aya_ebpf::programs::TracePointContext;
use norma_abi::{ACT_AT_DESCRIPTOR, KIND_FILE};

/// Stands for the working directory.
const AT_FDCWD: i32 = -100;

/// `ACT_*` flags for names that a system call takes from these directories.
#[inline(always)]
fn from_directories(one: u64, other: u64) -> u32 {
    if one as i32 == AT_FDCWD && other as i32 == AT_FDCWD {
        0
    } else {
        ACT_AT_DESCRIPTOR
    }
}

/// Reports what a system call did to a name that it took from a directory.
#[inline(always)]
fn by_name(
    call: &impl Return,
    op: u32,
    directory: u64,
    name: u64,
    more: impl FnOnce(&mut Act) -> Option<()>,
) -> u32 {
    let result = call.result();
    act::report(KIND_FILE, |act| {
        act.op(op, from_directories(directory, AT_FDCWD as u64));
        act.result(result);
        act.claim(name)?;
        more(act)
    });
    0
}

/// Reports what a system call did to two names.
#[inline(always)]
fn by_names(ctx: &TracePointContext, op: u32, from: (u64, u64), to: (u64, u64), args: [u64; 4]) -> u32 {
    let result = syscall::result(ctx);
    act::report(KIND_FILE, |act| {
        act.op(op, from_directories(from.0, to.0));
        act.result(result);
        act.args(args);
        act.claim(from.1)?;
        act.claim_other(to.1)
    });
    0
}

/// Reports what a system call did to an open file. A descriptor that is none did nothing.
#[inline(always)]
fn by_descriptor(
    ctx: &TracePointContext,
    op: u32,
    descriptor: u64,
    more: impl FnOnce(&mut Act) -> Option<()>,
) -> u32 {
    let result = syscall::result(ctx);
    let Some(file) = Task::current().file(descriptor as u32) else {
        return 0;
    };
    act::report(KIND_FILE, |act| {
        act.op(op, 0);
        act.result(result);
        act.walk_file(file)?;
        more(act)
    });
    0
}

/// Nothing more to say.
#[inline(always)]
fn no_more(_: &mut Act) -> Option<()> {
    Some(())
}

/// Arguments of an operation that has these.
#[inline(always)]
fn args(first: u64, second: u64) -> [u64; 4] {
    [first, second, 0, 0]
}

/// The working directory, for system calls that take none.
const HERE: u64 = AT_FDCWD as u64;
