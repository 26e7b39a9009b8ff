//! What /proc tells of a process.

use super::super::system::Seen;
use norma_wire::text::printable;

/// What /proc tells of a process.
pub fn read(pid: u32) -> Seen {
    let argv = i32::try_from(pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|process| process.cmdline().ok())
        .unwrap_or_default();
    Seen {
        exe: read_exe(pid).unwrap_or_default(),
        argv: argv
            .iter()
            .map(|argument| printable(argument.as_bytes()))
            .collect(),
        mnt_ns: namespace(pid, "mnt"),
        pid_ns: namespace(pid, "pid"),
    }
}

/// The same with the start time in clock ticks since the boot, all of one process though its id be given again
/// meanwhile; `None` where it is gone.
pub fn read_whole(pid: u32) -> Option<(u64, Seen)> {
    let start = || {
        let process = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
        Some(process.stat().ok()?.starttime)
    };
    let start_ticks = start()?;
    let seen = read(pid);
    (start()? == start_ticks).then_some((start_ticks, seen))
}

fn read_exe(pid: u32) -> Option<String> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    Some(printable(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)))
}

/// Inode number of a namespace of a process; 0 where it cannot be read.
pub fn namespace(pid: u32, name: &str) -> u32 {
    std::fs::read_link(format!("/proc/{pid}/ns/{name}"))
        .ok()
        .and_then(|link| namespace_number(&link))
        .unwrap_or(0)
}

/// The number in a link such as `net:[4026531840]`.
pub fn namespace_number(link: &std::path::Path) -> Option<u32> {
    link.to_str()?
        .split_once('[')?
        .1
        .trim_end_matches(']')
        .parse()
        .ok()
}
