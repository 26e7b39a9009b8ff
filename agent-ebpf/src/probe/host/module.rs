//! Kernel modules.

use crate::act;
use crate::kernel::offset;
use crate::kernel::regs::Regs;
use crate::kernel::task::Task;
use crate::probe::syscall;
use aya_ebpf::macros::{btf_tracepoint, tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, TracePointContext};
use norma_abi::{KIND_HOST, OP_MODULE_LOAD, OP_MODULE_REQUEST, OP_MODULE_UNLOAD};

/// `TP_PROTO(struct module *mod)`: checked and in place, before its first function runs
#[btf_tracepoint(function = "module_load")]
pub fn module_load(ctx: BtfTracePointContext) -> i32 {
    named(OP_MODULE_LOAD, ctx.arg::<*const u8>(0) as u64)
}

/// `TP_PROTO(struct module *mod)`
#[btf_tracepoint(function = "module_free")]
pub fn module_free(ctx: BtfTracePointContext) -> i32 {
    named(OP_MODULE_UNLOAD, ctx.arg::<*const u8>(0) as u64)
}

#[inline(always)]
fn named(op: u32, module: u64) -> i32 {
    act::report(KIND_HOST, |act| {
        act.op(op, 0);
        act.result(0);
        act.text(module.wrapping_add(u64::from(offset!(module_name))))
    });
    0
}

/// `TP_PROTO(char *name, bool wait, unsigned long ip)`: in the process whose act needs the module
#[btf_tracepoint(function = "module_request")]
pub fn module_request(ctx: BtfTracePointContext) -> i32 {
    let name = ctx.arg::<*const u8>(0) as u64;
    act::report(KIND_HOST, |act| {
        act.op(OP_MODULE_REQUEST, 0);
        act.text(name)
    });
    0
}

/// `syscalls/sys_exit_init_module`
#[tracepoint]
pub fn exit_init_module_failed(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 {
        act::report(KIND_HOST, |act| {
            act.op(OP_MODULE_LOAD, 0);
            act.result(result);
            Some(())
        });
    }
    0
}

/// `syscalls/sys_exit_finit_module`: `int fd, ...`
#[tracepoint]
pub fn exit_finit_module_failed(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 {
        act::report(KIND_HOST, |act| {
            act.op(OP_MODULE_LOAD, 0);
            act.result(result);
            match Task::current().file(Regs::current().arg0() as u32) {
                Some(file) => act.walk_file(file),
                None => Some(()),
            }
        });
    }
    0
}

/// `syscalls/sys_exit_delete_module`: `const char *name_user, ...`
#[tracepoint]
pub fn exit_delete_module_failed(ctx: TracePointContext) -> u32 {
    let result = syscall::result(&ctx);
    if result < 0 {
        act::report(KIND_HOST, |act| {
            act.op(OP_MODULE_UNLOAD, 0);
            act.result(result);
            act.user_text(Regs::current().arg0())
        });
    }
    0
}
