//! One body for both ways to a security check of the kernel: as a BPF-LSM hook, and as fexit on the
//! `security_*` function that calls all security modules.

use crate::kernel::read;
use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::{FExitContext, LsmContext};
use norma_abi::{ACT_PERMITTED, ACT_RESULT};

/// A security check that a program is attached to.
pub trait Check {
    /// Its argument with this number; typed, where it is a pointer.
    fn arg(&self, number: usize) -> u64;
    /// The same as a plain number, for arguments that can be null, or that not every kernel has there: the
    /// verifier is told nothing of them, and so cannot be wrong about them.
    fn raw(&self, number: usize) -> u64;
    /// What the check came to, where this program can know: 0, or a negative errno.
    fn verdict(&self, arguments: usize) -> Option<i32>;

    /// Whether [`Self::verdict`] can be known.
    const TELLS_VERDICT: bool;

    /// As [`Self::outcome`], where the number of arguments depends on the kernel.
    #[inline(always)]
    fn outcome_after(&self, arguments: usize) -> (u32, i64) {
        if Self::TELLS_VERDICT {
            let verdict = self.raw(arguments) as i32;
            if verdict < 0 {
                return (ACT_RESULT, i64::from(verdict));
            }
        }
        (ACT_PERMITTED, 0)
    }

    /// `ACT_*` flags and result for an act that has passed, or not passed, this check of so many arguments.
    #[inline(always)]
    fn outcome(&self, arguments: usize) -> (u32, i64) {
        match self.verdict(arguments) {
            Some(verdict) if verdict < 0 => (ACT_RESULT, i64::from(verdict)),
            _ => (ACT_PERMITTED, 0),
        }
    }
}

impl Check for LsmContext {
    const TELLS_VERDICT: bool = false;

    #[inline(always)]
    fn arg(&self, number: usize) -> u64 {
        LsmContext::arg::<*const u8>(self, number) as u64
    }

    #[inline(always)]
    fn raw(&self, number: usize) -> u64 {
        read(self.as_ptr() as u64, 8 * number as u64)
    }

    /// A module that refuses ends the check, so this hook runs only where nobody has refused.
    #[inline(always)]
    fn verdict(&self, _arguments: usize) -> Option<i32> {
        None
    }
}

impl Check for FExitContext {
    const TELLS_VERDICT: bool = true;

    #[inline(always)]
    fn arg(&self, number: usize) -> u64 {
        FExitContext::arg::<*const u8>(self, number) as u64
    }

    #[inline(always)]
    fn raw(&self, number: usize) -> u64 {
        read(self.as_ptr() as u64, 8 * number as u64)
    }

    /// The result follows the arguments.
    #[inline(always)]
    fn verdict(&self, arguments: usize) -> Option<i32> {
        Some(FExitContext::arg::<u64>(self, arguments) as i32)
    }
}

/// Makes two programs of a function over a [`Check`]: the LSM hook, which never refuses, and fexit.
macro_rules! checks {
    ($($lsm:ident, $fexit:ident => $body:ident;)*) => {$(
        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::lsm]
        pub fn $lsm(ctx: aya_ebpf::programs::LsmContext) -> i32 {
            $body(&ctx);
            0
        }

        #[doc = concat!("See [`", stringify!($body), "`].")]
        #[aya_ebpf::macros::fexit]
        pub fn $fexit(ctx: aya_ebpf::programs::FExitContext) -> i32 {
            $body(&ctx);
            0
        }
    )*};
}
pub(crate) use checks;
