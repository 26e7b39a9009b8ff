//! The return from a system call, by either of the interfaces that x86-64 has.

use crate::kernel::regs::Regs;
use crate::kernel::{offset, read};
use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::{FExitContext, TracePointContext};

/// Offset of `ret` in the record of a `syscalls/sys_exit_*` tracepoint: common fields, number, result.
const RESULT: usize = 16;

/// What the system call returns: a value, or a negative errno.
#[inline(always)]
pub fn result(ctx: &TracePointContext) -> i64 {
    // SAFETY: the record of this tracepoint is longer than that, which the verifier checks.
    unsafe { core::ptr::read_volatile(ctx.as_ptr().cast::<u8>().add(RESULT).cast::<i64>()) }
}

/// A system call that returns.
///
/// Calls by the 32-bit interface have no tracepoints of their own. There it is the return of the function to
/// which the kernel hands the registers, `long __ia32_sys_*(const struct pt_regs *regs)`.
pub trait Return {
    /// What it returns: a value, or a negative errno.
    fn result(&self) -> i64;
    /// Its first argument.
    fn arg0(&self) -> u64;
    /// Its second argument.
    fn arg1(&self) -> u64;
    /// Its third argument.
    fn arg2(&self) -> u64;
}

impl Return for TracePointContext {
    #[inline(always)]
    fn result(&self) -> i64 {
        result(self)
    }

    #[inline(always)]
    fn arg0(&self) -> u64 {
        Regs::current().arg0()
    }

    #[inline(always)]
    fn arg1(&self) -> u64 {
        Regs::current().arg1()
    }

    #[inline(always)]
    fn arg2(&self) -> u64 {
        Regs::current().arg2()
    }
}

impl Return for FExitContext {
    #[inline(always)]
    fn result(&self) -> i64 {
        FExitContext::arg::<u64>(self, 1) as i64
    }

    #[inline(always)]
    fn arg0(&self) -> u64 {
        compat(self, offset!(regs_compat_arg0))
    }

    #[inline(always)]
    fn arg1(&self) -> u64 {
        compat(self, offset!(regs_compat_arg1))
    }

    #[inline(always)]
    fn arg2(&self) -> u64 {
        compat(self, offset!(regs_compat_arg2))
    }
}

/// The kernel takes the lower half of a register alone. Through memory, for some kernels do not describe the
/// registers where such a function is defined, and the verifier then admits no load of the argument (5.10).
#[inline(always)]
fn compat(ctx: &FExitContext, at: u32) -> u64 {
    let registers: u64 = read(ctx.as_ptr() as u64, 0);
    let register: u64 = read(registers, at);
    register & u64::from(u32::MAX)
}

/// Makes two programs of a function over a [`Return`]: one for each interface.
macro_rules! returns {
    ($($tracepoint:ident, $compat:ident => $body:ident;)*) => {$(
        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::tracepoint]
        pub fn $tracepoint(ctx: aya_ebpf::programs::TracePointContext) -> u32 {
            $body(&ctx);
            0
        }

        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::fexit]
        pub fn $compat(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            $body(&ctx);
            0
        }
    )*};
}
pub(crate) use returns;
