//! The rings as one stream in the order of time.
//!
//! Processors write to rings of their own, so the order between them is that of the stamps. A record is
//! taken once no other ring can still get an older one: stamps are set a moment before the record is in its
//! ring, so what is younger than [`SETTLED`] waits for the next look.

use super::{SensorError, shared};
use crate::clock::boot_now;
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use norma_abi::{Header, RINGS_MAX};
use rustix::event::{Timespec, epoll};
use serde::Serialize;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use zerocopy::FromBytes as _;

/// After this time a record that was stamped is in its ring.
const SETTLED: Duration = Duration::from_micros(500);

/// The kernel's own header of a record, and what records are aligned to, in bytes.
const RECORD_HEADER: u64 = 8;

/// How full a ring was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingFill {
    /// Its number, or `reserved`.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// The most bytes that one reading found in it, with what came while it was read.
    pub most: u64,
}

/// Names of the rings in the object, the reserved one last.
pub fn names() -> impl Iterator<Item = String> {
    (0..RINGS_MAX)
        .map(|number| format!("RING_{number}"))
        .chain(std::iter::once(RESERVED.to_owned()))
}

/// The ring that bulk cannot fill.
pub const RESERVED: &str = "RING_RESERVED";

/// Rings in use for so many processors: one for each, or for each group where there are more.
pub fn count(processors: usize) -> usize {
    processors.clamp(1, RINGS_MAX).next_power_of_two()
}

/// The rings that are in use.
pub struct Rings {
    rings: Vec<Source>,
    /// Says when the kernel side has woken the reader. Edge-triggered: a ring in which unsettled records were left is
    /// readable all the time, which must not keep the reader from sleeping.
    wakeups: OwnedFd,
}

struct Source {
    ring: RingBuf<MapData>,
    /// As the kernel's tools name it.
    name: String,
    /// Its size in bytes.
    size: u64,
    /// Bytes that this look took out of it.
    taken: u64,
    /// The most that a look took, since it was last asked.
    most: u64,
    /// Stamp of the record that comes next.
    head: Head,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Unknown,
    At(u64),
    Empty,
}

impl Rings {
    /// Takes the first `in_use` rings and the reserved one out of the object.
    pub fn take(ebpf: &mut Ebpf, in_use: usize, size: impl Fn(&str) -> u32) -> Result<Self, SensorError> {
        let rings: Vec<Source> = names()
            .enumerate()
            .filter(|(number, name)| *number < in_use || name == RESERVED)
            .map(|(_, name)| {
                Ok(Source {
                    ring: shared::take(ebpf, &name)?,
                    size: u64::from(size(&name)),
                    name: name.trim_start_matches("RING_").to_lowercase(),
                    taken: 0,
                    most: 0,
                    head: Head::Unknown,
                })
            })
            .collect::<Result<_, SensorError>>()?;
        let wakeups = wakeups(&rings).map_err(|error| SensorError::Load {
            reason: format!("cannot wait for the rings: {error}"),
        })?;
        Ok(Self { rings, wakeups })
    }

    /// Waits until a ring fills up or `timeout` is over, then gives all settled records to `on_record`.
    ///
    /// A timeout of zero takes what is there, settled or not.
    pub fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let wait = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; RINGS_MAX + 1];
        match epoll::wait(&self.wakeups, &mut events, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let bound = if timeout.is_zero() {
            u64::MAX
        } else {
            boot_now().0.saturating_sub(SETTLED.as_nanos() as u64)
        };
        Ok(self.drain(bound, on_record))
    }

    fn drain(&mut self, bound: u64, on_record: &mut dyn FnMut(&[u8])) -> usize {
        for source in &mut self.rings {
            source.head = Head::Unknown;
            source.taken = 0;
        }
        let mut records = 0;
        while let Some((index, until)) = self.oldest(bound) {
            records += self.rings[index].take_until(until, on_record);
        }
        for source in &mut self.rings {
            source.most = source.most.max(source.taken);
        }
        records
    }

    /// How full each was found, since the last call.
    pub fn fills(&mut self) -> Vec<RingFill> {
        self.rings
            .iter_mut()
            .map(|source| RingFill {
                name: source.name.clone(),
                size: source.size,
                // While a full one is emptied, more comes.
                most: std::mem::take(&mut source.most).min(source.size),
            })
            .collect()
    }

    /// The ring with the oldest record, and up to which stamp it stays that: no other ring's, nor `bound`.
    fn oldest(&mut self, bound: u64) -> Option<(usize, u64)> {
        let mut oldest: Option<(usize, u64)> = None;
        let mut next = bound;
        for (index, source) in self.rings.iter_mut().enumerate() {
            let Some(stamp) = source.peek() else { continue };
            match oldest {
                Some((_, best)) if stamp >= best => next = next.min(stamp),
                _ => {
                    if let Some((_, best)) = oldest {
                        next = next.min(best);
                    }
                    oldest = Some((index, stamp));
                }
            }
        }
        oldest
            .filter(|(_, stamp)| *stamp <= bound)
            .map(|(index, _)| (index, next))
    }
}

fn wakeups(rings: &[Source]) -> rustix::io::Result<OwnedFd> {
    let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, source) in rings.iter().enumerate() {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(
            &wakeups,
            &source.ring,
            epoll::EventData::new_u64(number as u64),
            flags,
        )?;
    }
    Ok(wakeups)
}

impl Source {
    /// Stamp of the next record; what comes after the ring was seen empty is left for the next look.
    fn peek(&mut self) -> Option<u64> {
        if self.head == Head::Unknown {
            self.head = match self.ring.next() {
                Some(item) => {
                    let stamp = stamp(&item);
                    // Not taken yet: dropping the item would take it.
                    std::mem::forget(item);
                    Head::At(stamp)
                }
                None => Head::Empty,
            };
        }
        match self.head {
            Head::At(stamp) => Some(stamp),
            Head::Unknown | Head::Empty => None,
        }
    }

    /// Takes the next record and all that follow it and are not younger than `until`.
    fn take_until(&mut self, until: u64, on_record: &mut dyn FnMut(&[u8])) -> usize {
        let mut records = 0;
        loop {
            let Some(item) = self.ring.next() else {
                self.head = Head::Empty;
                return records;
            };
            let stamp = stamp(&item);
            if records > 0 && stamp > until {
                std::mem::forget(item);
                self.head = Head::At(stamp);
                return records;
            }
            on_record(&item);
            self.taken += (item.len() as u64 + RECORD_HEADER).next_multiple_of(RECORD_HEADER);
            records += 1;
        }
    }
}

/// When the record was made; 0 where it is too short to say, so that decoding it is not put off.
fn stamp(record: &[u8]) -> u64 {
    Header::ref_from_prefix(record).map_or(0, |(header, _)| header.boot_ns)
}
