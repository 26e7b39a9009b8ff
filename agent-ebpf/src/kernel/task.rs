//! `struct task_struct` and what hangs on it.

use super::{field, offset, read};
use crate::settings;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_get_current_task_btf};

/// Flag of `signal_struct.flags`: the whole thread group exits with `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// A thread.
#[derive(Clone, Copy)]
pub struct Task<const TYPED: bool = false>(pub u64);

impl Task<true> {
    /// The thread that runs this program, for programs that may ask for it by type (tracing and LSM).
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helpers take nothing and always give a task.
        Self(unsafe {
            if settings::typed_loads() {
                bpf_get_current_task_btf() as u64
            } else {
                bpf_get_current_task()
            }
        })
    }
}

impl Task<false> {
    /// The thread that runs this program, for programs that may not.
    #[inline(always)]
    pub fn untyped() -> Self {
        // SAFETY: the helper takes nothing and always gives a task.
        Self(unsafe { bpf_get_current_task() })
    }
}

impl<const TYPED: bool> Task<TYPED> {
    /// Process id.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(task_tgid))
    }

    /// Thread id.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(task_pid))
    }

    /// The real parent, whatever a debugger does.
    #[inline(always)]
    pub fn real_parent(self) -> Self {
        Self(field::<TYPED, _>(self.0, offset!(task_real_parent)))
    }

    /// The first thread of the process.
    #[inline(always)]
    pub fn leader(self) -> Self {
        Self(field::<TYPED, _>(self.0, offset!(task_group_leader)))
    }

    /// Start time of this thread, CLOCK_BOOTTIME in nanoseconds.
    #[inline(always)]
    pub fn start(self) -> u64 {
        field::<TYPED, _>(self.0, offset!(task_start))
    }

    /// `comm`.
    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        let at = offset!(task_comm);
        let low: u64 = field::<TYPED, _>(self.0, at);
        let high: u64 = field::<TYPED, _>(self.0, at.wrapping_add(8));
        // SAFETY: two integers are as many bytes.
        unsafe { core::mem::transmute([low, high]) }
    }

    /// Credentials in force.
    #[inline(always)]
    pub fn cred(self) -> Cred<TYPED> {
        Cred(field::<TYPED, _>(self.0, offset!(task_cred)))
    }

    /// Namespaces; the object is 0 once the task has left them.
    #[inline(always)]
    pub fn namespaces(self) -> NsProxy<TYPED> {
        NsProxy(field::<TYPED, _>(self.0, offset!(task_nsproxy)))
    }

    /// Id of its control group in the v2 hierarchy.
    #[inline(always)]
    pub fn cgroup(self) -> u64 {
        let set: u64 = field::<TYPED, _>(self.0, offset!(task_cgroups));
        let cgroup: u64 = field::<TYPED, _>(set, offset!(css_set_cgroup));
        super::cgroup::Cgroup(cgroup).id()
    }

    /// Memory of the process as (start of argv, end of argv), both addresses in user space.
    #[inline(always)]
    pub fn arguments(self) -> (u64, u64) {
        let mm: u64 = field::<TYPED, _>(self.0, offset!(task_mm));
        (
            field::<TYPED, _>(mm, offset!(mm_arg_start)),
            field::<TYPED, _>(mm, offset!(mm_arg_end)),
        )
    }

    /// How many threads of the process have not yet begun to exit.
    #[inline(always)]
    pub fn live_threads(self) -> u32 {
        let signal: u64 = field::<TYPED, _>(self.0, offset!(task_signal));
        field::<TYPED, _>(signal, offset!(signal_live))
    }

    /// Status of the process as wait(2) gives it to the parent; meaningful once all threads exit.
    #[inline(always)]
    pub fn exit_status(self) -> u32 {
        let signal: u64 = field::<TYPED, _>(self.0, offset!(task_signal));
        let flags: u32 = field::<TYPED, _>(signal, offset!(signal_flags));
        if flags & SIGNAL_GROUP_EXIT != 0 {
            field::<TYPED, _>(signal, offset!(signal_group_exit_code))
        } else {
            field::<TYPED, _>(self.leader().0, offset!(task_exit_code))
        }
    }

    /// The open file with this descriptor.
    #[inline(always)]
    pub fn file(self, descriptor: u32) -> Option<super::file::File> {
        let files: u64 = field::<TYPED, _>(self.0, offset!(task_files));
        let table: u64 = field::<TYPED, _>(files, offset!(files_fdt));
        let max: u32 = field::<TYPED, _>(table, offset!(fdtable_max));
        if descriptor >= max {
            return None;
        }
        let slots: u64 = field::<TYPED, _>(table, offset!(fdtable_fd));
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
pub struct Cred<const TYPED: bool>(pub u64);

impl<const TYPED: bool> Cred<TYPED> {
    /// Real user id.
    #[inline(always)]
    pub fn uid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(cred_uid))
    }

    /// Real group id.
    #[inline(always)]
    pub fn gid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(cred_gid))
    }

    /// Effective user id.
    #[inline(always)]
    pub fn euid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(cred_euid))
    }

    /// Inode number of the user namespace.
    #[inline(always)]
    pub fn user_ns(self) -> u32 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(cred_user_ns));
        field::<TYPED, _>(ns, offset!(user_namespace_inum))
    }
}

/// `struct nsproxy`.
#[derive(Clone, Copy)]
pub struct NsProxy<const TYPED: bool>(u64);

impl<const TYPED: bool> NsProxy<TYPED> {
    /// Inode number of the mount namespace.
    #[inline(always)]
    pub fn mnt(self) -> u32 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(nsproxy_mnt));
        field::<TYPED, _>(ns, offset!(mnt_namespace_inum))
    }

    /// Inode number of the pid namespace for children.
    #[inline(always)]
    pub fn pid(self) -> u32 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(nsproxy_pid));
        field::<TYPED, _>(ns, offset!(pid_namespace_inum))
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub fn net(self) -> u32 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(nsproxy_net));
        field::<TYPED, _>(ns, offset!(net_inum))
    }
}
