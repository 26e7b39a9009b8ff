//! Processes and what they may do.

use super::{Argument as _, Errno, From, Null, Sys, Vector, Words, calls};
use std::ffi::CStr;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// No child lives longer.
const LONGEST_SECONDS: u32 = 60;

calls! {
    execve = SYS_execve(path: &CStr, arguments: &Vector, environment: &Vector) -> ();
    execveat = SYS_execveat(dir: BorrowedFd<'_>, path: &CStr, arguments: &Vector, environment: &Vector,
        flags: i32) -> ();
    setuid = SYS_setuid(uid: u32) -> ();
    setreuid = SYS_setreuid(real: u32, effective: u32) -> ();
    setresuid = SYS_setresuid(real: u32, effective: u32, saved: u32) -> ();
    setgid = SYS_setgid(gid: u32) -> ();
    setresgid = SYS_setresgid(real: u32, effective: u32, saved: u32) -> ();
    setgroups = SYS_setgroups(count: usize, groups: From<'_>) -> ();
    capset = SYS_capset(header: From<'_>, data: From<'_>) -> ();
    set_no_new_privs = SYS_prctl(option: i32, on: u64, b: u64, c: u64, d: u64) -> ();
    set_name = SYS_prctl(option: i32, name: &CStr) -> ();
    seccomp = SYS_seccomp(operation: u32, flags: u32, program: From<'_>) -> ();
    seccomp_prctl = SYS_prctl(option: i32, mode: u64, program: From<'_>) -> ();
    setpriority = SYS_setpriority(which: u32, who: u32, nice: i32) -> ();
    unshare = SYS_unshare(flags: i32) -> ();
    setns = SYS_setns(namespace: &OwnedFd, flags: i32) -> ();
    pidfd_open = SYS_pidfd_open(pid: u32, flags: u32) -> OwnedFd;
    pidfd_send_signal = SYS_pidfd_send_signal(process: &OwnedFd, signal: i32, info: Null, flags: u32) -> ();
    kill = SYS_kill(pid: u32, signal: i32) -> ();
    tgkill = SYS_tgkill(pid: u32, tid: u32, signal: i32) -> ();
    queue_signal = SYS_rt_sigqueueinfo(pid: u32, signal: i32, info: From<'_>) -> ();
    ptrace = SYS_ptrace(request: u32, pid: u32, address: u64, data: u64) -> ();
}

/// A child of this process, ended at the latest when this is dropped.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
    ended: Option<ExitStatus>,
}

/// Makes a child that runs `act` and ends with what it gives. This process has one thread.
pub fn fork(act: impl FnOnce() -> i32) -> Sys<Child> {
    // SAFETY: This process has one thread, so that the child finds no lock held.
    let pid = unsafe { libc::fork() };
    child(pid, act)
}

/// The same by clone(2) with these flags; the child shares nothing.
pub fn clone_with(flags: i32, act: impl FnOnce() -> i32) -> Sys<Child> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: Without CLONE_VM and a stack of its own the child is a copy, as after fork; this process has one
    // thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    child(pid as libc::pid_t, act)
}

/// The same by clone3(2).
pub fn clone3_with(flags: u64, act: impl FnOnce() -> i32) -> Sys<Child> {
    let arguments = super::Layout::default()
        .u64(flags)
        .u64(0)
        .u64(0)
        .u64(0)
        .u64(libc::SIGCHLD as u64)
        .up_to(64)
        .end();
    let mut words = Words::default();
    arguments.as_slice().push(&mut words);
    // SAFETY: As for clone(2); the structure outlives the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, words.words[0], words.words[1]) };
    child(pid as libc::pid_t, act)
}

fn child(pid: libc::pid_t, act: impl FnOnce() -> i32) -> Sys<Child> {
    if pid == 0 {
        // SAFETY: It takes a number. Nobody waits for the child of a child: it must not stay for good.
        unsafe { libc::alarm(LONGEST_SECONDS) };
        let code = catch_unwind(AssertUnwindSafe(act)).unwrap_or(101);
        end(code);
    }
    Errno::result(pid).map(|pid| Child { pid, ended: None })
}

/// Ends this process, leaving what its parent may hold in buffers alone.
pub fn end(code: i32) -> ! {
    // SAFETY: It does not return and runs nothing of this process.
    unsafe { libc::_exit(code) }
}

/// Waits until a signal ends this process.
pub fn wait_forever() -> ! {
    loop {
        std::thread::park();
    }
}

impl Child {
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Sys<ExitStatus> {
        self.reap(0).and_then(|ended| ended.ok_or(Errno::ECHILD))
    }

    /// Waits for its end, and brings that about where it takes longer.
    pub fn wait_at_most(mut self, limit: Duration) -> Sys<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(ended) = self.reap(libc::WNOHANG)? {
                return Ok(ended);
            }
            if Instant::now() > deadline {
                return Err(Errno::ETIMEDOUT);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it stops.
    pub fn wait_stopped(&mut self) -> Sys<()> {
        self.reap(libc::__WALL).map(|_| ())
    }

    fn reap(&mut self, flags: i32) -> Sys<Option<ExitStatus>> {
        if self.ended.is_some() {
            return Ok(self.ended);
        }
        let mut status = 0;
        // SAFETY: The status is an integer that the call may write.
        let pid = Errno::result(unsafe { libc::waitpid(self.pid, &raw mut status, flags) })?;
        if pid == self.pid && !libc::WIFSTOPPED(status) {
            self.ended = Some(ExitStatus::from_raw(status));
        }
        Ok(self.ended)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended meanwhile; then there is nothing to end.
            kill(self.pid(), libc::SIGKILL).ok();
            self.reap(0).ok();
        }
    }
}

impl fmt::Display for Child {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid.fmt(out)
    }
}

/// An address in this process and how much there is.
fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Reads another process's memory, at the address that `remote` has there.
pub fn read_memory(pid: u32, remote: &[u8], into: &mut [u8]) -> Sys<usize> {
    let local = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    let remote = piece(remote);
    // SAFETY: What is written to is borrowed for as long as the call takes; the remote address is the other
    // process's affair.
    let read =
        unsafe { libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) };
    Errno::result(read).map(isize::unsigned_abs)
}

/// Writes to another process's memory, at the address that `remote` has here.
pub fn write_memory(pid: u32, remote: &[u8], from: &[u8]) -> Sys<usize> {
    let (local, remote) = (piece(from), piece(remote));
    // SAFETY: What is read is borrowed for as long as the call takes; what is written is in another process.
    let written =
        unsafe { libc::process_vm_writev(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0) };
    Errno::result(written).map(isize::unsigned_abs)
}
