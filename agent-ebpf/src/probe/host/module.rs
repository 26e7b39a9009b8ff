//! Kernel modules.

use crate::act::{self, Act};
use crate::kernel::offset;
use crate::kernel::task::Task;
use crate::probe::syscall::{Return, returns};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
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
        act.text(module.wrapping_add(offset!(module_name)))
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

returns! {
    init_module_failed => exit exit_init_module_failed, native native_init_module_failed,
        compat compat_init_module_failed;
    finit_module_failed => exit exit_finit_module_failed, native native_finit_module_failed,
        compat compat_finit_module_failed;
    delete_module_failed => exit exit_delete_module_failed, native native_delete_module_failed,
        compat compat_delete_module_failed;
}

/// `init_module`
#[inline(always)]
fn init_module_failed(call: &impl Return) {
    failed(OP_MODULE_LOAD, call, |_| Some(()));
}

/// `finit_module`: `int fd, ...`
#[inline(always)]
fn finit_module_failed(call: &impl Return) {
    failed(OP_MODULE_LOAD, call, |act| {
        match Task::current().file(call.arg0() as u32) {
            Some(file) => act.walk_file(file),
            None => Some(()),
        }
    });
}

/// `delete_module`: `const char *name_user, ...`
#[inline(always)]
fn delete_module_failed(call: &impl Return) {
    failed(OP_MODULE_UNLOAD, call, |act| act.user_text(call.arg0()));
}

#[inline(always)]
fn failed(op: u32, call: &impl Return, fill: impl FnOnce(&mut Act) -> Option<()>) {
    let result = call.result();
    if result < 0 {
        act::report(KIND_HOST, |act| {
            act.op(op, 0);
            act.result(result);
            fill(act)
        });
    }
}
