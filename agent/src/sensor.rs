//! The kernel side as the rest of the agent sees it: start it, read its records, steer it.
//!
//! This is the only module that touches bpf(2). What each capability consists of stands in one table
//! (`table`); the programs are loaded and attached from it, and the [`CoverageReport`] is made from it, so
//! that the report cannot tell anything else than what was done. A program that does not load or attach
//! costs its capability and nothing more.

mod attach;
mod btf;
mod controls;
mod coverage;
mod facts;
mod shared;
mod table;
mod totals;

pub use controls::{ControlError, Controls, PathPattern, PathRule, PeerRule};
pub use coverage::{CapabilityReport, CoverageReport, Tier};
pub use totals::{Totals, kind_name};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, EbpfLoader};
use norma_abi::{Counters, Settings};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shared::Shared;
use std::io;
use std::time::Duration;

/// The kernel programs, built by the build script; empty where it was told to skip them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/norma-ebpf"));

/// The reader is woken when more than this part of the ring is in use.
const WAKEUP_SHARE: u32 = 4;

/// Choices of whoever starts the sensor.
#[derive(Clone, Copy, Debug)]
pub struct SensorConfig {
    /// Size of the ring in bytes; rounded up to a power of two of pages.
    pub ring_bytes: u32,
}

/// Why nothing at all can be seen.
#[derive(Debug, thiserror::Error)]
pub enum SensorError {
    /// Built with `NORMA_SKIP_EBPF=1`.
    #[error("this agent was built without its kernel programs; build it again without NORMA_SKIP_EBPF")]
    NotBuilt,
    /// The kernel does not describe its types.
    #[error("{path}: {reason}; norma needs a kernel built with CONFIG_DEBUG_INFO_BTF=y", path = btf::VMLINUX)]
    Btf {
        /// What went wrong there.
        reason: String,
    },
    /// The kernel does not let the agent use bpf(2).
    #[error(
        "the kernel does not let the agent use bpf(2), it lacks {missing}; run it as root, or grant \
         them with `setcap`, AmbientCapabilities= of systemd, or securityContext.capabilities.add of Kubernetes"
    )]
    Capabilities {
        /// The capabilities that are missing.
        missing: String,
    },
    /// The object as a whole was refused.
    #[error("the kernel programs cannot be loaded: {reason}")]
    Load {
        /// What the kernel or the loader says.
        reason: String,
    },
    /// No program could be attached.
    #[error("none of the kernel programs could be attached: {reasons}")]
    NothingAttached {
        /// Why, by capability.
        reasons: String,
    },
    /// The counters cannot be read.
    #[error("the kernel's counters cannot be read: {0}")]
    Counters(#[source] aya::maps::MapError),
    /// [`Sensor::controls`] was called before.
    #[error("the controls of this sensor have been taken already")]
    ControlsTaken,
}

/// The running sensor. Dropping it detaches everything.
pub struct Sensor {
    /// Owns the programs and their links.
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, Shared<Counters>>,
}

impl Sensor {
    /// Loads and attaches all that this kernel and the held capabilities allow, and says what that is.
    pub fn start(config: &SensorConfig) -> Result<(Self, CoverageReport), SensorError> {
        if OBJECT.is_empty() {
            return Err(SensorError::NotBuilt);
        }
        let facts = facts::Facts::collect();
        let kernel = btf::Kernel::read()?;
        let settings = Shared(Settings {
            wakeup_bytes: config.ring_bytes / WAKEUP_SHARE,
            exit_tells_group_dead: u32::from(kernel.exit_tells_group_dead()),
            host_pid_ns: facts.host_pid_ns,
        });
        let offsets = Shared(kernel.offsets.values);
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&kernel.loader))
            .override_global("OFFSETS", &offsets, true)
            .override_global("SETTINGS", &settings, true)
            .map_max_entries("EVENTS", config.ring_bytes)
            .load(OBJECT)
            .map_err(|error| load_error(&error, &facts))?;
        let mut sensor = Self {
            ring: ring(&mut ebpf)?,
            counters: shared::take(&mut ebpf, "COUNTERS")?,
            ebpf,
        };
        let outcome = attach::attach_all(&mut sensor.ebpf, &kernel, &facts);
        let report = coverage::report(&facts, &outcome);
        if report
            .capabilities
            .iter()
            .all(|capability| capability.tier.is_none())
        {
            return Err(nothing_attached(&report, &facts));
        }
        Ok((sensor, report))
    }

    /// Waits until there are records or `timeout` is over, then gives each of them to `on_record`.
    ///
    /// Returns how many there were. The kernel side wakes the waiter only when the ring fills up, so a
    /// quiet ring is drained every `timeout`: it bounds the delay of a record.
    pub fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.ring, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut records = 0;
        while let Some(record) = self.ring.next() {
            on_record(&record);
            records += 1;
        }
        Ok(records)
    }

    /// What the kernel side has counted since the start, over all processors.
    pub fn counters(&mut self) -> Result<Totals, SensorError> {
        let values = self.counters.get(&0, 0).map_err(SensorError::Counters)?;
        Ok(Totals::sum(values.iter().map(|counters| counters.0)))
    }

    /// The handle by which rules and scopes are set; there is one, for whichever thread steers.
    pub fn controls(&mut self) -> Result<Controls, SensorError> {
        Controls::take(&mut self.ebpf)
    }

    /// Instructions that the verifier walked through, by program: what bounds the cost of loading.
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        let mut counts: Vec<_> = self
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                Some((
                    name.to_owned(),
                    program.info().ok()?.verified_instruction_count()?,
                ))
            })
            .collect();
        counts.sort();
        counts
    }
}

fn ring(ebpf: &mut Ebpf) -> Result<RingBuf<MapData>, SensorError> {
    let map = ebpf.take_map("EVENTS").ok_or_else(|| shared::no_map("EVENTS"))?;
    RingBuf::try_from(map).map_err(|error| SensorError::Load {
        reason: error.to_string(),
    })
}

fn load_error(error: &aya::EbpfError, facts: &facts::Facts) -> SensorError {
    match facts.missing_to_load() {
        Some(missing) => SensorError::Capabilities { missing },
        None => SensorError::Load {
            reason: coverage::chain(error),
        },
    }
}

fn nothing_attached(report: &CoverageReport, facts: &facts::Facts) -> SensorError {
    match facts.missing_to_load() {
        Some(missing) => SensorError::Capabilities { missing },
        None => SensorError::NothingAttached {
            reasons: report
                .capabilities
                .iter()
                .filter_map(|capability| {
                    Some(format!("{}: {}", capability.name, capability.reason.as_ref()?))
                })
                .collect::<Vec<_>>()
                .join("; "),
        },
    }
}
