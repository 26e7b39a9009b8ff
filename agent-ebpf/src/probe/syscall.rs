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

/// A system call that returns, wherever that is noticed.
pub trait Return {
    /// What it returns: a value, or a negative errno.
    fn result(&self) -> i64;
    /// Its first argument.
    fn arg0(&self) -> u64;
    /// Its second argument.
    fn arg1(&self) -> u64;
    /// Its third argument.
    fn arg2(&self) -> u64;
    /// Its fourth argument.
    fn arg3(&self) -> u64;
    /// Its fifth argument.
    fn arg4(&self) -> u64;
}

/// The tracepoint at the exit of a call. Calls by the 32-bit interface have none, and the kernel takes its slow
/// way through every system call of the machine as long as one such tracepoint is in use.
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

    #[inline(always)]
    fn arg3(&self) -> u64 {
        Regs::current().arg3()
    }

    #[inline(always)]
    fn arg4(&self) -> u64 {
        Regs::current().arg4()
    }
}

/// The return of the function to which the kernel hands the registers of a 64-bit call,
/// `long __x64_sys_*(const struct pt_regs *regs)`.
pub struct Native<'a>(pub &'a FExitContext);

impl Return for Native<'_> {
    #[inline(always)]
    fn result(&self) -> i64 {
        FExitContext::arg::<u64>(self.0, 1) as i64
    }

    #[inline(always)]
    fn arg0(&self) -> u64 {
        register(self.0, offset!(regs_arg0))
    }

    #[inline(always)]
    fn arg1(&self) -> u64 {
        register(self.0, offset!(regs_arg1))
    }

    #[inline(always)]
    fn arg2(&self) -> u64 {
        register(self.0, offset!(regs_arg2))
    }

    #[inline(always)]
    fn arg3(&self) -> u64 {
        register(self.0, offset!(regs_arg3))
    }

    #[inline(always)]
    fn arg4(&self) -> u64 {
        register(self.0, offset!(regs_arg4))
    }
}

/// The same of a 32-bit call, `__ia32_sys_*` or `__ia32_compat_sys_*`. The kernel takes the lower half of a
/// register alone.
pub struct Compat<'a>(pub &'a FExitContext);

impl Return for Compat<'_> {
    #[inline(always)]
    fn result(&self) -> i64 {
        FExitContext::arg::<u64>(self.0, 1) as i64
    }

    #[inline(always)]
    fn arg0(&self) -> u64 {
        lower_half(register(self.0, offset!(regs_compat_arg0)))
    }

    #[inline(always)]
    fn arg1(&self) -> u64 {
        lower_half(register(self.0, offset!(regs_compat_arg1)))
    }

    #[inline(always)]
    fn arg2(&self) -> u64 {
        lower_half(register(self.0, offset!(regs_compat_arg2)))
    }

    #[inline(always)]
    fn arg3(&self) -> u64 {
        lower_half(register(self.0, offset!(regs_compat_arg3)))
    }

    #[inline(always)]
    fn arg4(&self) -> u64 {
        lower_half(register(self.0, offset!(regs_compat_arg4)))
    }
}

/// The return of a function that all interfaces come to, with the `COUNT` arguments of the call. Of those that
/// are shorter than a register the upper half is anything.
pub struct Shared<'a, const COUNT: usize>(pub &'a FExitContext);

impl<const COUNT: usize> Return for Shared<'_, COUNT> {
    /// Such functions return what fits an `int`, and some of them no more than that.
    #[inline(always)]
    fn result(&self) -> i64 {
        i64::from(FExitContext::arg::<u64>(self.0, COUNT) as i32)
    }

    #[inline(always)]
    fn arg0(&self) -> u64 {
        self.get(0)
    }

    #[inline(always)]
    fn arg1(&self) -> u64 {
        self.get(1)
    }

    #[inline(always)]
    fn arg2(&self) -> u64 {
        self.get(2)
    }

    #[inline(always)]
    fn arg3(&self) -> u64 {
        self.get(3)
    }

    #[inline(always)]
    fn arg4(&self) -> u64 {
        self.get(4)
    }
}

impl<const COUNT: usize> Shared<'_, COUNT> {
    #[inline(always)]
    fn get(&self, number: usize) -> u64 {
        if number < COUNT {
            FExitContext::arg::<u64>(self.0, number)
        } else {
            0
        }
    }
}

/// Through memory, for some kernels do not describe the registers where such a function is defined, and the
/// verifier then admits no load of the argument (5.10).
#[inline(always)]
fn register(ctx: &FExitContext, at: u64) -> u64 {
    let registers: u64 = read(ctx.as_ptr() as u64, 0);
    read(registers, at)
}

#[inline(always)]
fn lower_half(register: u64) -> u64 {
    register & u64::from(u32::MAX)
}

/// Makes programs of a function over a [`Return`], one for each place where the return is noticed: `exit` for
/// the tracepoint, `native` and `compat` for the function of each interface, and `shared NAME of COUNT` for one
/// that both come to.
macro_rules! returns {
    ($($body:ident => $($kind:ident $name:ident $(of $count:literal)?),+;)*) => {$($(
        $crate::probe::syscall::program!($kind $name $body $($count)?);
    )+)*};
}
pub(crate) use returns;

macro_rules! program {
    (exit $name:ident $body:ident) => {
        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::tracepoint]
        pub fn $name(ctx: aya_ebpf::programs::TracePointContext) -> u32 {
            $body(&ctx);
            0
        }
    };
    (native $name:ident $body:ident) => {
        $crate::probe::syscall::program!(fexit $name $body $crate::probe::syscall::Native);
    };
    (compat $name:ident $body:ident) => {
        $crate::probe::syscall::program!(fexit $name $body $crate::probe::syscall::Compat);
    };
    (shared $name:ident $body:ident $count:literal) => {
        $crate::probe::syscall::program!(fexit $name $body $crate::probe::syscall::Shared::<$count>);
    };
    (fexit $name:ident $body:ident $call:expr) => {
        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::fexit]
        pub fn $name(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            $body(&$call(&ctx));
            0
        }
    };
}
pub(crate) use program;
