//! Mappings of files for execution or writing, and memory that becomes executable.

use super::numbers;
use crate::act;
use crate::kernel::file::File;
use crate::kernel::memory::{EXEC, Mapping, WRITE};
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::security::{Check, checks};
use crate::probe::syscall;
use aya_ebpf::macros::{fexit, lsm, tracepoint};
use aya_ebpf::programs::{FExitContext, LsmContext, TracePointContext};
use norma_abi::{
    ACT_RESULT, ARG_UNKNOWN, KIND_FILE, KIND_PRIVILEGE, OP_EXEC_MEMORY, OP_MAP_EXEC, OP_MAP_WRITE,
};

const MAP_TYPE: u64 = 0xf;
const MAP_SHARED: u64 = 1;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_ANONYMOUS: u64 = 0x20;
/// Errors of system calls that give addresses.
const MAX_ERRNO: i64 = 4095;

checks! {
    lsm_file_mprotect, fexit_file_mprotect => file_mprotect;
}

/// `int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)`; `file` can
/// be null
#[lsm]
pub fn lsm_mmap_file(ctx: LsmContext) -> i32 {
    let (prot, flags) = (ctx.arg(2), ctx.arg(3));
    if is_of_interest(prot, flags) {
        mapped(File(ctx.raw(0)), prot, flags, ctx.outcome(4));
    }
    0
}

/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`; `file` can be null
#[fexit]
pub fn fexit_mmap_file(ctx: FExitContext) -> i32 {
    let (prot, flags) = (Check::arg(&ctx, 1), Check::arg(&ctx, 2));
    if is_of_interest(prot, flags) {
        mapped(File(ctx.raw(0)), prot, flags, ctx.outcome(3));
    }
    0
}

#[inline(always)]
fn is_of_interest(prot: u64, flags: u64) -> bool {
    let shared = matches!(flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
    prot & EXEC != 0 || (prot & WRITE != 0 && shared)
}

#[inline(always)]
fn mapped(file: File, prot: u64, flags: u64, outcome: (u32, i64)) {
    if file.0 != 0 {
        map_file(file, prot, flags, outcome);
    } else if prot & EXEC != 0 {
        let length = numbers::mapped_length().unwrap_or(ARG_UNKNOWN);
        exec_memory([ARG_UNKNOWN, length, prot, 0], None, outcome);
    }
}

/// The program that an exec starts, and its loader, are mapped by the kernel: the exec tells of them.
#[inline(always)]
fn map_file(file: File, prot: u64, flags: u64, outcome: (u32, i64)) {
    if file.is_for_exec() {
        return;
    }
    let op = if prot & EXEC != 0 {
        OP_MAP_EXEC
    } else {
        OP_MAP_WRITE
    };
    act::report(KIND_FILE, |act| {
        act.op_checked(op, outcome);
        act.args([prot, flags, 0, 0]);
        act.walk_file(file)
    });
}

#[inline(always)]
fn exec_memory(args: [u64; 4], file: Option<File>, outcome: (u32, i64)) {
    act::report(KIND_PRIVILEGE, |act| {
        act.op_checked(OP_EXEC_MEMORY, outcome);
        act.args(args);
        match file {
            Some(file) => act.walk_file(file),
            None => Some(()),
        }
    });
}

/// `int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)`
#[inline(always)]
fn file_mprotect(check: &impl Check) {
    let prot = check.arg(2);
    if prot & (EXEC | WRITE) == 0 {
        return;
    }
    let mapping = Mapping(check.arg(0));
    let (before, shared) = mapping.protection();
    let gained = prot & !before;
    let outcome = check.outcome(3);
    if prot & EXEC != 0 && gained & (EXEC | WRITE) != 0 {
        match mapping.file() {
            Some(file) if gained & WRITE == 0 && !mapping.was_written() => {
                map_file(file, prot, ARG_UNKNOWN, outcome);
            }
            file => {
                let (start, length) = mapping.range();
                exec_memory([start, length, prot, before], file, outcome);
            }
        }
    } else if gained & WRITE != 0
        && shared
        && let Some(file) = mapping.file()
    {
        map_file(file, prot, ARG_UNKNOWN, outcome);
    }
}

/// `syscalls/sys_exit_mmap`: `unsigned long addr, unsigned long len, unsigned long prot, unsigned long flags,
/// unsigned long fd, unsigned long off`; gives an address
#[tracepoint]
pub fn exit_mmap(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let (prot, flags) = (regs.arg2(), regs.arg3());
    if !is_of_interest(prot, flags) {
        return 0;
    }
    let address = syscall::result(&ctx);
    let outcome = (ACT_RESULT, address);
    let is_error = (-MAX_ERRNO..0).contains(&address);
    if flags & MAP_ANONYMOUS != 0 {
        if prot & EXEC != 0 {
            let start = if is_error { ARG_UNKNOWN } else { address as u64 };
            exec_memory([start, regs.arg1(), prot, 0], None, outcome);
        }
    } else if let Some(file) = Task::current().file(regs.arg4() as u32) {
        map_file(file, prot, flags, outcome);
    }
    0
}

/// `syscalls/sys_exit_mprotect` and `_pkey_mprotect`: `unsigned long start, size_t len, unsigned long prot`
#[tracepoint]
pub fn exit_mprotect(ctx: TracePointContext) -> u32 {
    let regs = Regs::current();
    let prot = regs.arg2();
    if prot & EXEC != 0 {
        let outcome = (ACT_RESULT, syscall::result(&ctx));
        exec_memory([regs.arg0(), regs.arg1(), prot, ARG_UNKNOWN], None, outcome);
    }
    0
}
