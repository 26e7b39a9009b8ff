//! `struct task_struct` and what hangs on it.

use super::{field, offset, read};
use crate::settings;
use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
};

/// Flag of `signal_struct.flags`: the whole thread group exits with `group_exit_code`.
const SIGNAL_GROUP_EXIT: u32 = 4;
/// Flag of `task_struct.flags`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// The same: a worker of io_uring (5.12).
const PF_IO_WORKER: u32 = 0x10;

const CLONE_NEWTIME: u64 = 0x80;
const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWCGROUP: u64 = 0x0200_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const CLONE_NEWIPC: u64 = 0x0800_0000;
/// Of a new user namespace.
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;

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

/// Process id of the thread that runs this program.
#[inline(always)]
pub fn current_process() -> u32 {
    // SAFETY: the helper takes nothing.
    (unsafe { bpf_get_current_pid_tgid() } >> 32) as u32
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

    /// Its own credentials, whatever others the kernel acts with on its behalf at the moment.
    #[inline(always)]
    pub fn own_cred(self) -> Cred<TYPED> {
        Cred(field::<TYPED, _>(self.0, offset!(task_real_cred)))
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
        super::cgroup::Cgroup::<TYPED>(cgroup).id()
    }

    /// Address of the object that describes its memory: another one after each exec.
    #[inline(always)]
    pub fn memory(self) -> u64 {
        field::<TYPED, _>(self.0, offset!(task_mm))
    }

    /// The file that it executes, 0 where there is none.
    #[inline(always)]
    pub fn executable(self) -> u64 {
        let mm: u64 = field::<TYPED, _>(self.0, offset!(task_mm));
        field::<TYPED, _>(mm, offset!(mm_exe))
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

    /// The same for the environment.
    #[inline(always)]
    pub fn environment(self) -> (u64, u64) {
        let mm: u64 = field::<TYPED, _>(self.0, offset!(task_mm));
        (
            field::<TYPED, _>(mm, offset!(mm_env_start)),
            field::<TYPED, _>(mm, offset!(mm_env_end)),
        )
    }

    /// The mount that its root directory is on, as a `struct vfsmount`.
    #[inline(always)]
    pub fn root_mount(self) -> super::file::Mount {
        let fs: u64 = field::<TYPED, _>(self.0, offset!(task_fs));
        super::file::Mount::of_vfsmount(read(fs, offset!(fs_root_mnt)))
    }

    /// First of the works that wait for its return to user space, a `struct callback_head`; 0 for none.
    #[inline(always)]
    pub fn works(self) -> u64 {
        read(self.0, offset!(task_works))
    }

    /// Lower end of its kernel stack.
    #[inline(always)]
    pub fn stack(self) -> u64 {
        field::<TYPED, _>(self.0, offset!(task_stack))
    }

    /// It is a thread of the kernel.
    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        field::<TYPED, u32>(self.0, offset!(task_flags)) & PF_KTHREAD != 0
    }

    /// It works on requests of io_uring on behalf of a process.
    #[inline(always)]
    pub fn is_io_worker(self) -> bool {
        field::<TYPED, u32>(self.0, offset!(task_flags)) & PF_IO_WORKER != 0
    }

    /// The thread is in the middle of an exec, for which it holds a lock of its process.
    #[inline(always)]
    pub fn is_executing(self) -> bool {
        let signal: u64 = field::<TYPED, _>(self.0, offset!(task_signal));
        let owner: u64 = read(signal, offset!(signal_exec_mutex));
        // The low bits of an owner are flags of the lock.
        owner & !7 == self.0
    }

    /// Its number in its own pid namespace, and how many namespaces that is below the initial one.
    #[inline(always)]
    pub fn number(self) -> (u32, u32) {
        /// `struct upid`: a number and the namespace that it is of.
        const NUMBER_SIZE: u64 = 16;
        let pid: u64 = field::<TYPED, _>(self.0, offset!(task_thread_pid));
        let level: u32 = read(pid, offset!(pid_level));
        let numbers = pid.wrapping_add(offset!(pid_numbers));
        (
            read(numbers.wrapping_add(NUMBER_SIZE * u64::from(level)), 0),
            level,
        )
    }

    /// The tracer, or else the real parent.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(field::<TYPED, _>(self.0, offset!(task_parent)))
    }

    /// The thread that it began to trace last, if it traces any.
    #[inline(always)]
    pub fn last_traced(self) -> Option<Task<false>> {
        let list = self.0.wrapping_add(offset!(task_ptraced));
        let first: u64 = read(list, 0);
        (first != 0 && first != list).then(|| Task(first.wrapping_sub(offset!(task_ptrace_entry))))
    }

    /// What the process has used up so far, as far as this thread, which is its last, can know.
    #[inline(always)]
    pub fn usage(self) -> Usage {
        let signal: u64 = field::<TYPED, _>(self.0, offset!(task_signal));
        let mut usage = Usage {
            runtime: field::<TYPED, u64>(signal, offset!(signal_runtime)),
            user: field::<TYPED, u64>(signal, offset!(signal_utime)),
            system: field::<TYPED, u64>(signal, offset!(signal_stime)),
            max_rss: field::<TYPED, u64>(signal, offset!(signal_maxrss)),
        };
        usage.add(self);
        // A first thread that ended before the others is added to its process only after the last.
        let leader = self.leader();
        if leader.0 != self.0 {
            usage.add(leader);
        }
        usage
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

/// What a process has used up.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Time on a processor in nanoseconds.
    pub runtime: u64,
    /// Part of it that ticks of the clock found in user space.
    pub user: u64,
    /// Part of it that they found in the kernel.
    pub system: u64,
    /// Largest resident memory in pages.
    pub max_rss: u64,
}

impl Usage {
    #[inline(always)]
    fn add<const TYPED: bool>(&mut self, task: Task<TYPED>) {
        self.runtime = self
            .runtime
            .wrapping_add(field::<TYPED, u64>(task.0, offset!(task_runtime)));
        self.user = self
            .user
            .wrapping_add(field::<TYPED, u64>(task.0, offset!(task_utime)));
        self.system = self
            .system
            .wrapping_add(field::<TYPED, u64>(task.0, offset!(task_stime)));
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

    /// Effective group id.
    #[inline(always)]
    pub fn egid(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(cred_egid))
    }

    /// Whether all user and group ids are those of the other credentials.
    #[inline(always)]
    pub fn has_ids_of(self, other: Self) -> bool {
        let same = |at: u64| field::<TYPED, u32>(self.0, at) == field::<TYPED, u32>(other.0, at);
        same(offset!(cred_uid))
            && same(offset!(cred_euid))
            && same(offset!(cred_suid))
            && same(offset!(cred_fsuid))
            && same(offset!(cred_gid))
            && same(offset!(cred_egid))
            && same(offset!(cred_sgid))
            && same(offset!(cred_fsgid))
    }

    /// How many supplementary groups there are.
    #[inline(always)]
    pub fn groups(self) -> u64 {
        let groups: u64 = field::<TYPED, _>(self.0, offset!(cred_groups));
        u64::from(read::<u32>(groups, offset!(group_info_count)))
    }

    /// Capabilities as (effective, permitted, inheritable), a bit each.
    ///
    /// Read by the helper: kernels before 6.3 keep them as two halves, which is no field to load at once.
    #[inline(always)]
    pub fn capabilities(self) -> (u64, u64, u64) {
        (
            read(self.0, offset!(cred_cap_effective)),
            read(self.0, offset!(cred_cap_permitted)),
            read(self.0, offset!(cred_cap_inheritable)),
        )
    }

    /// The user namespace, for comparison.
    #[inline(always)]
    pub fn user_namespace(self) -> u64 {
        field::<TYPED, _>(self.0, offset!(cred_user_ns))
    }

    /// Inode number of the user namespace.
    #[inline(always)]
    pub fn user_ns(self) -> u32 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(cred_user_ns));
        field::<TYPED, _>(ns, offset!(user_namespace_inum))
    }
}

/// `struct user_namespace`.
#[derive(Clone, Copy)]
pub struct Namespace<const TYPED: bool>(pub u64);

impl<const TYPED: bool> Namespace<TYPED> {
    /// Its inode number.
    #[inline(always)]
    pub fn number(self) -> u32 {
        field::<TYPED, _>(self.0, offset!(user_namespace_inum))
    }
}

/// `struct nsproxy`.
#[derive(Clone, Copy)]
pub struct NsProxy<const TYPED: bool>(u64);

impl<const TYPED: bool> NsProxy<TYPED> {
    /// It is the same set.
    #[inline(always)]
    pub fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    /// Of the set as such: a process that enters or makes a namespace gets another one, children share it.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0
    }

    /// CLONE_* flags of the namespaces that differ from those of another set.
    #[inline(always)]
    pub fn differing(self, other: Self) -> u64 {
        let differs = |at: u64, flag: u64| {
            let (one, two): (u64, u64) = (field::<TYPED, _>(self.0, at), field::<TYPED, _>(other.0, at));
            if one == two { 0 } else { flag }
        };
        differs(offset!(nsproxy_mnt), CLONE_NEWNS)
            | differs(offset!(nsproxy_pid), CLONE_NEWPID)
            | differs(offset!(nsproxy_net), CLONE_NEWNET)
            | differs(offset!(nsproxy_uts), CLONE_NEWUTS)
            | differs(offset!(nsproxy_ipc), CLONE_NEWIPC)
            | differs(offset!(nsproxy_cgroup), CLONE_NEWCGROUP)
            | differs(offset!(nsproxy_time), CLONE_NEWTIME)
    }

    /// The mount namespace, for comparison.
    #[inline(always)]
    pub fn mount_namespace(self) -> u64 {
        field::<TYPED, _>(self.0, offset!(nsproxy_mnt))
    }

    /// A number that no other state of any mount namespace has: another one after each change of its mounts. 0
    /// where unknown.
    #[inline(always)]
    pub fn mount_event(self) -> u64 {
        let ns: u64 = field::<TYPED, _>(self.0, offset!(nsproxy_mnt));
        field::<TYPED, _>(ns, offset!(mnt_namespace_event))
    }

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
