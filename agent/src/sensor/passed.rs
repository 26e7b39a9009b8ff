//! What the kernel passed over: runs of our programs that it did not begin, because the same program was in the middle of a
//! run on that processor.
//!
//! It happens where an interrupt does what is being described (a packet closes a connection while another is closed), and to
//! the acts of other tasks where programs are preempted: fentry and fexit on kernels that preempt themselves, from 7.0
//! tracepoints too. The kernel counts it for each program (`recursion_misses`, 5.12). For some programs others stand in, see
//! [`norma_abi::Turns`]. What an act that nobody saw would have been, and whether it would have become a record at all, is
//! not known: so the number is the most that there can have been, of each kind that the program reports.

use super::shared::Shared;
use super::table::Turn;
use aya::maps::{MapData, PerCpuArray};
use aya::programs::ProgramFd;
use norma_abi::{KINDS, Turns};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

/// The field of `/proc/PID/fdinfo/FD` of a program.
const FIELD: &[u8] = b"\nrecursion_misses:";

/// A program that the kernel may pass over.
pub struct Watched {
    program: ProgramFd,
    turn: Turn,
    /// What it reports, as `KIND_*`.
    kinds: BTreeSet<u16>,
    /// Acts that neither it nor others saw.
    unseen: u64,
}

impl Watched {
    /// A program that reports nothing so far.
    ///
    /// # Errors
    /// It cannot be kept.
    pub fn new(program: &ProgramFd, turn: Turn) -> io::Result<Self> {
        Ok(Self {
            program: program.try_clone()?,
            turn,
            kinds: BTreeSet::new(),
            unseen: 0,
        })
    }

    /// Says what else it reports.
    pub fn reports(&mut self, kinds: &[u16]) {
        self.kinds.extend(kinds);
    }

    /// How often it was passed over; `None` where the kernel does not count.
    fn misses(&self) -> io::Result<Option<u64>> {
        let info = format!("/proc/self/fdinfo/{}", self.program.as_fd().as_raw_fd());
        Ok(misses(&fs::read(info)?))
    }
}

/// What was passed over of all programs, read now and then: it takes some ten microseconds for each.
pub struct PassedOver {
    programs: Vec<Watched>,
    turns: PerCpuArray<MapData, Shared<Turns>>,
    read: Option<Instant>,
}

impl PassedOver {
    /// Of no program so far; `turns` is what stand-ins count.
    pub fn new(turns: PerCpuArray<MapData, Shared<Turns>>) -> Self {
        Self {
            programs: Vec::new(),
            turns,
            read: None,
        }
    }

    /// Of these programs.
    pub fn watch(&mut self, programs: Vec<Watched>) {
        self.programs = programs;
        self.read = None;
    }

    /// The most acts of each `KIND_*` that no program saw since the start, as it was found at most `age` ago.
    pub fn count(&mut self, age: Duration) -> [u64; KINDS] {
        if self.read.is_none_or(|read| read.elapsed() >= age) {
            self.read = Some(Instant::now());
            self.look();
        }
        let mut counts = [0; KINDS];
        for program in &self.programs {
            for kind in &program.kinds {
                counts[usize::from(*kind)] += program.unseen;
            }
        }
        counts
    }

    fn look(&mut self) {
        for program in &mut self.programs {
            let misses = match program.misses() {
                Ok(misses) => misses.unwrap_or(0),
                Err(error) => {
                    tracing::debug!(%error, "what the kernel tells of a program cannot be read");
                    continue;
                }
            };
            let stood_in = match program.turn {
                // Read last: who stands in does it after the kernel has counted.
                Turn::First(index) => self
                    .turns
                    .get(&index, 0)
                    .map_or(0, |turns| turns.iter().map(|Shared(turns)| turns.stood_in).sum()),
                Turn::Alone | Turn::StandIn => 0,
            };
            program.unseen = program.unseen.max(misses.saturating_sub(stood_in));
        }
    }

    /// Whether the kernel counts at all.
    pub fn is_told(&self) -> bool {
        let told = |program: &Watched| program.misses().is_ok_and(|misses| misses.is_some());
        self.programs.first().is_none_or(told)
    }
}

fn misses(info: &[u8]) -> Option<u64> {
    let at = info.windows(FIELD.len()).position(|window| window == FIELD)? + FIELD.len();
    let line = info[at..].split(|byte| *byte == b'\n').next()?;
    str::from_utf8(line).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::misses;

    #[test]
    fn the_number_is_found_among_what_the_kernel_tells() {
        let info = b"pos:\t0\nprog_type:\t26\nrun_cnt:\t0\nrecursion_misses:\t17\nverified_insns:\t9\n";
        assert_eq!(misses(info), Some(17));
        assert_eq!(misses(b"pos:\t0\nprog_type:\t26\n"), None);
        assert_eq!(misses(b"pos:\t0\nrecursion_misses:\tmany\n"), None);
        assert_eq!(misses(b""), None);
    }
}
