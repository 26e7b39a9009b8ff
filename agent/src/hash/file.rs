//! A file that was executed: finding it, making sure that it is the one, reading it.

use super::{Order, Role, Stamp, Sum, Unavailable};
use crate::observation::ProcessKey;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, major, minor, open, openat2};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

/// Read in one go; the deadline is looked at in between.
const CHUNK: usize = 256 << 10;
/// /proc gives start times in ticks of this length.
const TICK_NS: u64 = 10_000_000;

/// Reads files up to a size.
pub struct Reader {
    max_bytes: u64,
}

/// Whether an opened file is the one that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// It is, and nothing has happened to it.
    Same,
    /// It is, with the same time of the last change of its content, but its inode was changed: its mode, its
    /// owner, or its names.
    Touched,
    Other,
    Unknown,
}

/// A hash, and whether the file's times prove that it still is that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The hash.
    pub sum: Sum,
    /// The inode was not changed since the exec either.
    pub untouched: bool,
}

impl Reader {
    /// One for files of at most so many bytes.
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes }
    }

    /// The hash of the file of an order.
    pub fn sum(&self, order: &Order) -> Result<Found, Unavailable> {
        if Instant::now() >= order.deadline {
            return Err(Unavailable::Slow);
        }
        let mut why = Unavailable::Gone;
        for way in ways(order) {
            let Some(place) = way.follow() else { continue };
            let before = fstat(&place).map_err(unreadable)?;
            let matched = compare(&place, &before, order);
            match (matched, way) {
                (Match::Same, _) => {}
                // Nobody can write to what a process runs, so that a file that was deleted, say, after it was
                // executed is still what was executed.
                (Match::Touched, Way::Process(process)) if is_running(process) => {}
                // A process that has gone on to another program says nothing about the file.
                (_, Way::Process(_)) => continue,
                (Match::Unknown, Way::Path(..)) => return Err(Unavailable::Ambiguous),
                (Match::Touched | Match::Other, Way::Path(..)) => {
                    why = Unavailable::Changed;
                    continue;
                }
            }
            let (sum, after) = self.read(&place, &before, order.deadline)?;
            return match (times(&after, &order.stamp), way) {
                (Match::Same, _) => Ok(Found { sum, untouched: true }),
                (Match::Touched, Way::Process(process)) if is_running(process) => Ok(Found {
                    sum,
                    untouched: false,
                }),
                _ => Err(Unavailable::Changed),
            };
        }
        Err(why)
    }

    fn read(&self, place: &OwnedFd, stat: &Stat, deadline: Instant) -> Result<(Sum, Stat), Unavailable> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Unavailable::NotRegular);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > self.max_bytes {
            return Err(Unavailable::TooLarge {
                size,
                max: self.max_bytes,
            });
        }
        // The same inode, known to be a regular file by now: opening a pipe or a device can wait, or do something.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mut file = File::from(open(path, flags, Mode::empty()).map_err(unreadable)?);
        let mut digest = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let mut read = 0;
        loop {
            let length = file
                .read(&mut chunk)
                .map_err(|error| Unavailable::Unreadable(error.to_string()))?;
            if length == 0 {
                break;
            }
            read += length as u64;
            if read > size {
                return Err(Unavailable::Changed);
            }
            if Instant::now() >= deadline {
                return Err(Unavailable::Slow);
            }
            digest.update(&chunk[..length]);
        }
        if read != size {
            return Err(Unavailable::Changed);
        }
        let after = fstat(&file).map_err(unreadable)?;
        Ok((Sum(digest.finalize().into()), after))
    }
}

/// Whether a process is still there, as exactly as /proc tells its start.
fn is_running(process: ProcessKey) -> bool {
    let stat = i32::try_from(process.pid)
        .ok()
        .and_then(|pid| procfs::process::Process::new(pid).ok())
        .and_then(|process| process.stat().ok());
    stat.is_some_and(|stat| stat.starttime == process.start.0 / TICK_NS)
}

fn unreadable(error: Errno) -> Unavailable {
    Unavailable::Unreadable(error.to_string())
}

/// How a file may be reached.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    /// What this process runs.
    Process(ProcessKey),
    /// By a path below the root of this process.
    Path(u32, &'a [u8]),
}

/// The ways in the order in which they are most likely to lead there.
fn ways(order: &Order) -> impl Iterator<Item = Way<'_>> {
    let process = (order.role == Role::Program).then_some(Way::Process(order.process));
    let roots = [Some(order.process.pid), order.root_pid];
    let paths = order.path.iter().flat_map(move |path| {
        let below = roots.into_iter().flatten();
        below.map(move |pid| Way::Path(pid, path.as_ref()))
    });
    process.into_iter().chain(paths)
}

impl Way<'_> {
    /// The place of the file, without opening it; `None` where the way leads nowhere.
    fn follow(&self) -> Option<OwnedFd> {
        let place = OFlags::PATH | OFlags::CLOEXEC;
        match self {
            Self::Process(process) => open(format!("/proc/{}/exe", process.pid), place, Mode::empty()).ok(),
            Self::Path(pid, path) => {
                let root = open(format!("/proc/{pid}/root"), place, Mode::empty()).ok()?;
                let path = OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path));
                let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                openat2(&root, path, place, Mode::empty(), within).ok()
            }
        }
    }
}

/// Compares in the terms of the kernel's own inode, which are the record's.
///
/// stat(2) gives them too on most file systems. Where layers of an overlay lie on several file systems, and on
/// btrfs, it gives other numbers for the same file: those of the layer, or of the subvolume. The inode's own
/// number is then told by /proc/self/fdinfo (from 5.14), and the device by the list of mounts.
fn compare(place: &OwnedFd, stat: &Stat, order: &Order) -> Match {
    let matched = times(stat, &order.stamp);
    let wanted = order.stamp.file;
    let device = (major(stat.st_dev) << 20) | minor(stat.st_dev);
    if matched == Match::Other || (device, stat.st_ino) == (wanted.dev, wanted.inode) {
        return matched;
    }
    let Some(info) = Info::of(place) else {
        return Match::Unknown;
    };
    if info.inode != wanted.inode {
        return Match::Other;
    }
    let pids = [Some(order.process.pid), order.root_pid, Some(std::process::id())];
    match pids
        .into_iter()
        .flatten()
        .find_map(|pid| mount_device(pid, info.mount))
    {
        Some(device) if device == wanted.dev => matched,
        Some(_) => Match::Other,
        None => Match::Unknown,
    }
}

/// What the times alone say.
fn times(stat: &Stat, stamp: &Stamp) -> Match {
    if nanoseconds(stat.st_mtime, stat.st_mtime_nsec) != Some(stamp.mtime_ns) {
        return Match::Other;
    }
    match nanoseconds(stat.st_ctime, stat.st_ctime_nsec) == Some(stamp.ctime_ns) {
        true => Match::Same,
        false => Match::Touched,
    }
}

fn nanoseconds(seconds: impl TryInto<i64>, rest: impl TryInto<i64>) -> Option<u64> {
    let (seconds, rest) = (seconds.try_into().ok()?, rest.try_into().ok()?);
    // As the kernel side computes it, also for times before 1970.
    Some(
        seconds
            .wrapping_mul(1_000_000_000)
            .wrapping_add(rest)
            .cast_unsigned(),
    )
}

/// What /proc/self/fdinfo says of an open file.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    mount: u64,
    inode: u64,
}

impl Info {
    fn of(file: &OwnedFd) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Some(Self {
            mount: number("mnt_id:")?,
            inode: number("ino:")?,
        })
    }
}

/// Device of a mount, as the mount namespace of a process lists it.
fn mount_device(pid: u32, mount: u64) -> Option<u32> {
    parse_mounts(&fs::read(format!("/proc/{pid}/mountinfo")).ok()?, mount)
}

fn parse_mounts(text: &[u8], mount: u64) -> Option<u32> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line
            .split(|byte| *byte == b' ')
            .map(|word| std::str::from_utf8(word).ok());
        let id: u64 = words.next()??.parse().ok()?;
        let (major, minor) = words.nth(1)??.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        (id == mount).then_some((major << 20) | minor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_proc_says_of_files_and_mounts_is_read() {
        let text = "pos:\t0\nflags:\t02000000\nmnt_id:\t29\nino:\t7861\n";
        assert_eq!(
            Info::parse(text),
            Some(Info {
                mount: 29,
                inode: 7861
            })
        );
        assert_eq!(Info::parse("pos:\t0\nmnt_id:\t29\n"), None);
        let mounts = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n29 21 0:52 / /m\xff rw - overlay overlay rw\n";
        assert_eq!(parse_mounts(mounts, 29), Some(52));
        assert_eq!(parse_mounts(mounts, 21), Some(8 << 20 | 1));
        assert_eq!(parse_mounts(mounts, 2), None);
    }
}
