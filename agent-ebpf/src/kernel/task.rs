//! `struct task_struct` and what hangs on it.

use super::{offset, read};
use aya_ebpf::helpers::generated::bpf_get_current_task;

/// Flag of `signal_struct.flags`: the whole thread group exits with `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// A thread.
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    /// The thread that runs this program.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helper takes nothing and always gives a task.
        Self(unsafe { bpf_get_current_task() })
    }

    /// Process id.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        read(self.0, offset!(task_tgid))
    }

    /// Thread id.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        read(self.0, offset!(task_pid))
    }

    /// The real parent, whatever a debugger does.
    #[inline(always)]
    pub fn real_parent(self) -> Self {
        Self(read(self.0, offset!(task_real_parent)))
    }

    /// The first thread of the process.
    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(read(self.0, offset!(task_group_leader)))
    }

    /// Start time of this thread, CLOCK_BOOTTIME in nanoseconds.
    #[inline(always)]
    pub fn start(self) -> u64 {
        read(self.0, offset!(task_start))
    }

    /// `comm`.
    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        read(self.0, offset!(task_comm))
    }

    /// Credentials in force.
    #[inline(always)]
    pub fn cred(self) -> Cred {
        Cred(read(self.0, offset!(task_cred)))
    }

    /// Namespaces; the object is 0 once the task has left them.
    #[inline(always)]
    pub fn namespaces(self) -> NsProxy {
        NsProxy(read(self.0, offset!(task_nsproxy)))
    }

    /// Memory of the process as (start of argv, end of argv), both addresses in user space.
    #[inline(always)]
    pub fn arguments(self) -> (u64, u64) {
        let mm: u64 = read(self.0, offset!(task_mm));
        (read(mm, offset!(mm_arg_start)), read(mm, offset!(mm_arg_end)))
    }

    /// How many threads of the process have not yet begun to exit.
    #[inline(always)]
    pub fn live_threads(self) -> u32 {
        let signal: u64 = read(self.0, offset!(task_signal));
        read(signal, offset!(signal_live))
    }

    /// Status of the process as wait(2) gives it to the parent; meaningful once all threads exit.
    #[inline(always)]
    pub fn exit_status(self) -> u32 {
        let signal: u64 = read(self.0, offset!(task_signal));
        let flags: u32 = read(signal, offset!(signal_flags));
        if flags & SIGNAL_GROUP_EXIT != 0 {
            read(signal, offset!(signal_group_exit_code))
        } else {
            read(self.leader().0, offset!(task_exit_code))
        }
    }

    /// The open file with this descriptor.
    #[inline(always)]
    pub fn file(self, descriptor: u32) -> Option<super::file::File> {
        let files: u64 = read(self.0, offset!(task_files));
        let table: u64 = read(files, offset!(files_fdt));
        let max: u32 = read(table, offset!(fdtable_max));
        if descriptor >= max {
            return None;
        }
        let slots: u64 = read(table, offset!(fdtable_fd));
        let file: u64 = read(slots.wrapping_add(u64::from(descriptor) * 8), 0);
        if file == 0 {
            None
        } else {
            Some(super::file::File(file))
        }
    }
}

/// `struct cred`.
#[derive(Clone, Copy)]
pub struct Cred(u64);

impl Cred {
    /// Real user id.
    #[inline(always)]
    pub fn uid(self) -> u32 {
        read(self.0, offset!(cred_uid))
    }

    /// Real group id.
    #[inline(always)]
    pub fn gid(self) -> u32 {
        read(self.0, offset!(cred_gid))
    }

    /// Effective user id.
    #[inline(always)]
    pub fn euid(self) -> u32 {
        read(self.0, offset!(cred_euid))
    }

    /// Inode number of the user namespace.
    #[inline(always)]
    pub fn user_ns(self) -> u32 {
        let ns: u64 = read(self.0, offset!(cred_user_ns));
        read(ns, offset!(user_namespace_inum))
    }
}

/// `struct nsproxy`.
#[derive(Clone, Copy)]
pub struct NsProxy(u64);

impl NsProxy {
    /// Inode number of the mount namespace.
    #[inline(always)]
    pub fn mnt(self) -> u32 {
        let ns: u64 = read(self.0, offset!(nsproxy_mnt));
        read(ns, offset!(mnt_namespace_inum))
    }

    /// Inode number of the pid namespace for children.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        let ns: u64 = read(self.0, offset!(nsproxy_pid));
        read(ns, offset!(pid_namespace_inum))
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub fn net(self) -> u32 {
        let ns: u64 = read(self.0, offset!(nsproxy_net));
        read(ns, offset!(net_inum))
    }
}
