//! Arguments of the system call that the current thread is in, from the registers saved at its entry.
//!
//! The kernel leaves them in place until it returns to user space, so a program at the exit of a system call
//! has both the arguments and the result, without a second program at the entry.

use super::{Word, field, offset, read, task::Task};
use crate::kernel::ABSENT;
use crate::settings;
use aya_ebpf::helpers::generated::bpf_task_pt_regs;

/// Number of io_uring_enter(2), the same on every architecture.
const IO_URING_ENTER: u32 = 426;

/// Saved registers of the current thread.
#[derive(Clone, Copy)]
pub struct Regs(u64);

impl Regs {
    /// Those of the current thread; for programs that run within a system call.
    #[inline(always)]
    pub fn current() -> Self {
        let task = Task::current();
        Self(if settings::regs_helper() {
            // SAFETY: the verifier knows the task by its type.
            unsafe { bpf_task_pt_regs(task.0 as *mut _) as u64 }
        } else {
            let stack: u64 = read(task.0, offset!(task_stack));
            stack.wrapping_add(u64::from(settings::regs_on_stack()))
        })
    }

    /// Number of the system call; 0 where unknown.
    #[inline(always)]
    pub fn number(self) -> u32 {
        if offset!(regs_number) == ABSENT {
            return 0;
        }
        // It has no more than 32 bits on arm64, and the verifier looks at that.
        self.get(offset!(regs_number))
    }

    /// First argument.
    #[inline(always)]
    pub fn arg0(self) -> u64 {
        self.get(offset!(regs_arg0))
    }

    /// Second argument.
    #[inline(always)]
    pub fn arg1(self) -> u64 {
        self.get(offset!(regs_arg1))
    }

    /// Third argument.
    #[inline(always)]
    pub fn arg2(self) -> u64 {
        self.get(offset!(regs_arg2))
    }

    /// Fourth argument.
    #[inline(always)]
    pub fn arg3(self) -> u64 {
        self.get(offset!(regs_arg3))
    }

    /// Fifth argument.
    #[inline(always)]
    pub fn arg4(self) -> u64 {
        self.get(offset!(regs_arg4))
    }

    /// The current thread works on a request of io_uring: it submits some, or is a worker.
    #[inline(always)]
    pub fn in_io_uring(self, current: Task<true>) -> bool {
        current.is_io_worker() || self.number() == IO_URING_ENTER
    }

    #[inline(always)]
    fn get<T: Word>(self, at: u64) -> T {
        if settings::regs_helper() {
            field::<true, _>(self.0, at)
        } else {
            read(self.0, at)
        }
    }
}
