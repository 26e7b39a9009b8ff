//! Opens that fail, and those without access to the content (O_PATH).

use super::{HERE, args, from_directories};
use crate::act::{self, Act};
use crate::kernel::file::{FMODE_PATH, File};
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::kernel::{field, offset, read};
use crate::probe::security::Check as _;
use crate::probe::syscall;
use crate::settings;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use norma_abi::{
    ARG_UNKNOWN, KIND_FILE, OP_OPEN_FAILED, OP_OPEN_PATH, WANT_FAILED_OPENS, WANT_PATH_OPENS,
    WANT_REFUSED_OPENS,
};

const EPERM: i64 = -1;
const EACCES: i64 = -13;
const EROFS: i64 = -30;
/// Errors that stand for an address.
const MAX_ERRNO: u64 = 4095;
const O_PATH: u64 = 0o10_000_000;
/// Flag of an open by the kernel for an exec.
const FMODE_EXEC: u32 = 0x20;

/// `struct file *do_filp_open(int dfd, struct filename *pathname, const struct open_flags *op)`, before 7.0
#[fexit]
pub fn fexit_do_filp_open(ctx: FExitContext) -> i32 {
    opened(&ctx);
    0
}

/// The same by the name that it has since 7.0.
#[fexit]
pub fn fexit_do_file_open(ctx: FExitContext) -> i32 {
    opened(&ctx);
    0
}

#[inline(always)]
fn opened(ctx: &FExitContext) {
    let file: u64 = ctx.arg::<*const u8>(3) as u64;
    if file >= MAX_ERRNO.wrapping_neg() {
        let op: u64 = ctx.arg::<*const u8>(2) as u64;
        let flags: u32 = read(op, offset!(open_flags_flag));
        // As a plain number, for the verifier lets nobody calculate with what it takes for a pointer.
        let error = i64::from(ctx.raw(3) as i32);
        // A failed exec tells of itself.
        if flags & FMODE_EXEC == 0 && is_wanted(error) {
            let directory = ctx.arg::<i32>(0);
            let name: u64 = ctx.arg::<*const u8>(1) as u64;
            act::report(KIND_FILE, |act| {
                begin_failed(act, error, directory as u64, u64::from(flags));
                act.claim_copied(read(name, offset!(filename_name)))
            });
        }
    } else if field::<true, u32>(file, offset!(file_mode)) & FMODE_PATH != 0
        && settings::wants(WANT_PATH_OPENS)
    {
        opened_path(File(file));
    }
}

/// `long do_handle_open(int mountdirfd, struct file_handle *ufh, int open_flag)`; gives a descriptor
#[fexit]
pub fn fexit_do_handle_open(ctx: FExitContext) -> i32 {
    by_handle(ctx.arg::<i64>(3), ctx.arg::<i32>(2) as u64);
    0
}

#[inline(always)]
fn is_wanted(error: i64) -> bool {
    if matches!(error, EPERM | EACCES | EROFS) {
        settings::wants(WANT_REFUSED_OPENS)
    } else {
        settings::wants(WANT_REFUSED_OPENS) && settings::wants(WANT_FAILED_OPENS)
    }
}

#[inline(always)]
fn begin_failed(act: &mut Act, error: i64, directory: u64, flags: u64) {
    act.op(OP_OPEN_FAILED, from_directories(directory, HERE));
    act.result(error);
    act.args(args(flags, 0));
}

#[inline(always)]
fn opened_path(file: File) {
    act::report(KIND_FILE, |act| {
        act.op(OP_OPEN_PATH, 0);
        act.result(0);
        act.args(args(u64::from(file.flags()), 0));
        act.walk_file(file)
    });
}

/// What is named by a handle has no name to tell.
#[inline(always)]
fn by_handle(result: i64, flags: u64) {
    if result < 0 {
        if is_wanted(result) {
            act::report(KIND_FILE, |act| {
                begin_failed(act, result, HERE, flags & 0xffff_ffff);
                Some(())
            });
        }
    } else {
        by_path_flag(result, flags);
    }
}

#[inline(always)]
fn by_path_flag(result: i64, flags: u64) {
    if flags & O_PATH != 0
        && settings::wants(WANT_PATH_OPENS)
        && let Some(file) = Task::current().file(result as u32)
        && file.mode() & FMODE_PATH != 0
    {
        opened_path(file);
    }
}

/// `syscalls/sys_exit_openat`: `int dfd, const char *filename, int flags, umode_t mode`; gives a descriptor
#[tracepoint]
pub fn exit_openat_rest(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    returned(syscall::result(&ctx), regs.arg0(), regs.arg1(), regs.arg2())
}

/// `syscalls/sys_exit_openat2`: `int dfd, const char *filename, struct open_how *how, size_t usize`; gives a
/// descriptor
#[tracepoint]
pub fn exit_openat2_rest(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let result = syscall::result(&ctx);
    // Whether it has the flag is told by the file, and if there is none it does not matter.
    let flags = if result < 0 { ARG_UNKNOWN } else { O_PATH };
    returned(result, regs.arg0(), regs.arg1(), flags)
}

/// `syscalls/sys_exit_open`: `const char *filename, int flags, umode_t mode`; gives a descriptor
#[tracepoint]
pub fn exit_open_rest(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    returned(syscall::result(&ctx), HERE, regs.arg0(), regs.arg1())
}

/// `syscalls/sys_exit_creat`: `const char *pathname, umode_t mode`; gives a descriptor
#[tracepoint]
pub fn exit_creat_rest(ctx: TracePointContext) -> u32 {
    /// O_CREAT, O_WRONLY, O_TRUNC.
    const CREAT: u64 = 0o1101;
    returned(syscall::result(&ctx), HERE, Regs::current().arg0(), CREAT)
}

/// `syscalls/sys_exit_open_by_handle_at`: `int mountdirfd, struct file_handle *handle, int flags`; gives a
/// descriptor
#[tracepoint]
pub fn exit_open_by_handle_rest(ctx: TracePointContext) -> u32 {
    by_handle(syscall::result(&ctx), Regs::current().arg2());
    0
}

#[inline(always)]
fn returned(result: i64, directory: u64, name: u64, flags: u64) -> u32 {
    if result >= 0 {
        by_path_flag(result, flags);
    } else if is_wanted(result) {
        let flags = if flags == ARG_UNKNOWN {
            flags
        } else {
            flags & 0xffff_ffff
        };
        act::report(KIND_FILE, |act| {
            begin_failed(act, result, directory, flags);
            act.claim(name)
        });
    }
    0
}
