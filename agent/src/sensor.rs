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
mod evasion;
mod facts;
mod known;
mod object;
mod passed;
mod rings;
mod shared;
mod table;
mod tiers;
mod totals;
mod wanted;

pub use controls::{ControlError, Controls, PathPattern, PathRule, PeerRule};
pub use coverage::{CapabilityReport, CoverageReport, TechniqueReport, Tier};
pub use evasion::{Sight, Technique};
pub use known::{KnownPlace, KnownTable};
pub use totals::{Losses, Totals, growth, kind_name};
pub use wanted::{Wanted, capability_names};

use crate::observation::CgroupId;
use attach::{Attached, Link};
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, PerCpuValues};
use aya::{Ebpf, EbpfLoader};
use norma_abi::{ARGV_MAX, Counters, EXEC_SLOTS, KINDS, LossKey, Settings, WANT_KNOWN_CONNECTIONS};
use object::{Cast, Numbers};
use passed::PassedOver;
pub use rings::RingFill;
use rings::Rings;
use shared::Shared;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::Duration;

/// The kernel programs, built by the build script; empty where it was told to skip them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/norma-ebpf"));

/// The reader is woken when more than this part of a ring is in use.
const WAKEUP_SHARE: u32 = 4;
/// The smallest ring that the kernel makes.
const SMALLEST_RING: u32 = 4096;

/// What was passed over is looked up as often.
const PASSED_OVER_EVERY: Duration = Duration::from_secs(1);

/// Choices of whoever starts the sensor.
#[derive(Clone, Debug)]
pub struct SensorConfig {
    /// Size in bytes of the ring of each processor (of each group of processors where there are more than 16);
    /// rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// Size in bytes of the ring for what explains everything else: processes, privileges, control groups.
    pub reserved_ring_bytes: u32,
    /// Longest part of a program's arguments that is reported, in bytes; at most 64 KiB.
    pub argv_bytes: u32,
    /// `norma_abi::WANT_*` bits.
    pub wants: u32,
    /// How many behaviours the kernel side can recognise; 0 for none.
    pub known: u32,
    /// What to attach.
    pub wanted: Wanted,
}

impl SensorConfig {
    /// Size of the ring with this name in the object.
    fn bytes_of(&self, ring: &str) -> u32 {
        if ring == rings::RESERVED {
            self.reserved_ring_bytes
        } else {
            self.ring_bytes
        }
    }
}

impl Default for SensorConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 8 << 20,
            reserved_ring_bytes: 4 << 20,
            argv_bytes: ARGV_MAX as u32,
            wants: WANT_KNOWN_CONNECTIONS,
            known: 300_000,
            wanted: Wanted::default(),
        }
    }
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
    /// What this agent was built with is damaged.
    #[error(transparent)]
    Object(#[from] object::ObjectError),
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
///
/// The kernel keeps the programs for as long as they are linked; what the loader holds of each is let go.
pub struct Sensor {
    links: Vec<Link>,
    rings: Rings,
    controls: Option<Controls>,
    known: Option<KnownTable>,
    verified: Vec<(String, u32)>,
    counters: PerCpuArray<MapData, Shared<Counters>>,
    losses: PerCpuHashMap<MapData, Shared<LossKey>, u64>,
    passed_over: PassedOver,
}

impl Sensor {
    /// Loads and attaches all that is wanted and that this kernel and the held capabilities allow, and says
    /// what that is.
    pub fn start(config: &SensorConfig) -> Result<(Self, CoverageReport), SensorError> {
        if OBJECT.is_empty() {
            return Err(SensorError::NotBuilt);
        }
        let facts = facts::Facts::collect();
        let kernel = btf::Kernel::read()?;
        let (sensor, attached) = match kernel.cast() {
            Some(cast) => {
                let (sensor, attached) = Self::load(config, &facts, &kernel, Some(cast))?;
                match attached.refused.first() {
                    Some(why) => {
                        tracing::warn!(
                            why,
                            programs = attached.refused.len(),
                            "the kernel refuses programs that load words from addresses; they read them by a \
                             helper instead, which costs more"
                        );
                        drop(sensor);
                        Self::load(config, &facts, &kernel, None)?
                    }
                    None => (sensor, attached),
                }
            }
            None => Self::load(config, &facts, &kernel, None)?,
        };
        let mut report = coverage::report(&facts, &attached.outcomes);
        report.facts.push((
            "passed over".to_owned(),
            if sensor.passed_over.is_told() {
                "what a program would see while it is in the middle of something on that processor; counted, and told as \
                 a loss"
            } else {
                "nothing: programs run as often as they are wanted"
            }
            .to_owned(),
        ));
        if report
            .capabilities
            .iter()
            .all(|capability| capability.tier.is_none())
        {
            return Err(nothing_attached(&report, &facts));
        }
        Ok((sensor, report))
    }

    /// Loads and attaches all that is wanted; with `cast`, in the form that makes typed addresses of numbers.
    fn load(
        config: &SensorConfig,
        facts: &facts::Facts,
        kernel: &btf::Kernel,
        cast: Option<Cast>,
    ) -> Result<(Self, Attached), SensorError> {
        let processors = aya::util::nr_cpus().map_err(|(path, error)| SensorError::Load {
            reason: format!("{path}: {error}"),
        })?;
        let rings = rings::count(processors);
        let known = known::buckets_for(config.known);
        let settings = Settings {
            wakeup_bytes: config.ring_bytes.min(config.reserved_ring_bytes) / WAKEUP_SHARE,
            exit_tells_group_dead: u32::from(kernel.exit_tells_group_dead()),
            host_pid_ns: facts.host_pid_ns,
            typed_loads: u32::from(kernel.has_helper("BPF_FUNC_get_current_task_btf")),
            regs_helper: u32::from(kernel.has_helper("BPF_FUNC_task_pt_regs")),
            regs_on_stack: kernel.registers_on_stack(),
            agent_pid: facts.own_pid,
            ring_mask: rings as u32 - 1,
            argv_max: config.argv_bytes.min(ARGV_MAX as u32),
            wants: config.wants | config.wanted.bits(),
            socket_cookies: u32::from(kernel.has_helper("BPF_FUNC_check_mtu")),
            accept_parameters: kernel.function_parameters("inet_csk_accept").unwrap_or(0) as u32,
            overlay_upper: kernel.overlay_upper(),
            sqe_opcode: u32::from(kernel.sqe_tells_opcode()),
            rename_flags: u32::from(kernel.function_parameters("bpf_lsm_path_rename") == Some(5)),
            attribute_idmap: u32::from(kernel.function_parameters("security_inode_setxattr") == Some(6)),
            known_mask: if config.known == 0 { 0 } else { known - 1 },
            casts: u32::from(cast.is_some()),
        };
        let object = object::complete(
            OBJECT,
            &Numbers {
                offsets: kernel.offsets.values,
                settings,
                cast,
            },
        )?;
        let secret = Shared(secret());
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(&kernel.loader))
            .override_global("SECRET", &secret, true);
        loader.map_max_entries("KNOWN", known);
        loader.map_max_entries("EXEC_SCRATCH", EXEC_SLOTS * processors as u32);
        let names: Vec<String> = rings::names().collect();
        for (number, name) in names.iter().enumerate() {
            let bytes = if number < rings || name == rings::RESERVED {
                config.bytes_of(name)
            } else {
                SMALLEST_RING
            };
            loader.map_max_entries(name, bytes);
        }
        let mut ebpf = loader
            .load(object.bytes())
            .map_err(|error| load_error(&error, facts))?;
        let mut sensor = Self {
            rings: Rings::take(&mut ebpf, rings, |name| config.bytes_of(name))?,
            counters: shared::take(&mut ebpf, "COUNTERS")?,
            losses: shared::take(&mut ebpf, "LOSSES")?,
            controls: Some(Controls::take(&mut ebpf)?),
            known: Some(KnownTable::take(&mut ebpf)?),
            links: Vec::new(),
            verified: Vec::new(),
            passed_over: PassedOver::new(shared::take(&mut ebpf, "TURNS_TAKEN")?),
        };
        sensor.reserve_losses()?;
        let mut attached = attach::attach_all(&mut ebpf, kernel, facts, &config.wanted);
        sensor.links = std::mem::take(&mut attached.links);
        sensor.passed_over.watch(std::mem::take(&mut attached.watched));
        sensor.verified = verified_instructions(&ebpf);
        Ok((sensor, attached))
    }

    /// Makes the entries that stand for all control groups beyond the map's room, while there is room.
    fn reserve_losses(&mut self) -> Result<(), SensorError> {
        let processors = aya::util::nr_cpus().map_err(|(path, error)| SensorError::Load {
            reason: format!("{path}: {error}"),
        })?;
        for kind in 1..KINDS as u32 {
            let key = LossKey {
                cgroup_id: 0,
                kind,
                reserved: 0,
            };
            let zeros = PerCpuValues::try_from(vec![0; processors]).map_err(|error| SensorError::Load {
                reason: error.to_string(),
            })?;
            self.losses
                .insert(Shared(key), zeros, 0)
                .map_err(SensorError::Counters)?;
        }
        Ok(())
    }

    /// Waits until there are records or `timeout` is over, then gives each of them to `on_record`, in the
    /// order of time.
    ///
    /// Returns how many there were. The kernel side wakes the waiter only when a ring fills up, so quiet
    /// rings are drained every `timeout`: it bounds the delay of a record. With a timeout of zero nothing
    /// is left behind.
    pub fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.rings.poll(timeout, on_record)
    }

    /// How full each ring was found, since the last call.
    pub fn fills(&mut self) -> Vec<RingFill> {
        self.rings.fills()
    }

    /// What the kernel side has counted since the start, over all processors.
    pub fn counters(&mut self) -> Result<Totals, SensorError> {
        self.counters_within(Duration::ZERO)
    }

    /// The same, where what was passed over is as it was found a moment ago.
    pub fn counters_soon(&mut self) -> Result<Totals, SensorError> {
        self.counters_within(PASSED_OVER_EVERY)
    }

    fn counters_within(&mut self, age: Duration) -> Result<Totals, SensorError> {
        let values = self.counters.get(&0, 0).map_err(SensorError::Counters)?;
        Ok(Totals {
            passed_over: self.passed_over.count(age),
            ..Totals::sum(values.iter().map(|counters| counters.0))
        })
    }

    /// Whose records were lost since the start, by control group and kind.
    pub fn losses(&mut self) -> Result<Losses, SensorError> {
        self.losses
            .iter()
            .map(|entry| {
                let (Shared(key), counts) = entry.map_err(SensorError::Counters)?;
                Ok(((CgroupId(key.cgroup_id), key.kind as usize), counts.iter().sum()))
            })
            .filter(|entry| !matches!(entry, Ok((_, 0))))
            .collect()
    }

    /// Forgets the losses of a control group that is no more, after they were reported.
    pub fn forget_losses(&mut self, cgroup: CgroupId) {
        for kind in 1..KINDS as u32 {
            let key = LossKey {
                cgroup_id: cgroup.0,
                kind,
                reserved: 0,
            };
            // Most kinds have no entry, which is what an error says here.
            self.losses.remove(&Shared(key)).ok();
        }
    }

    /// The handle by which rules and scopes are set; there is one, for whichever thread steers.
    pub fn controls(&mut self) -> Result<Controls, SensorError> {
        self.controls.take().ok_or(SensorError::ControlsTaken)
    }

    /// The table of what is recognised; there is one, as of the controls.
    pub fn known(&mut self) -> Result<KnownTable, SensorError> {
        self.known.take().ok_or(SensorError::ControlsTaken)
    }

    /// Instructions that the verifier walked through, by program: what bounds the cost of loading.
    #[must_use]
    pub fn verified_instructions(&self) -> &[(String, u32)] {
        &self.verified
    }
}

fn verified_instructions(ebpf: &Ebpf) -> Vec<(String, u32)> {
    let mut counts: Vec<_> = ebpf
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

impl Drop for Sensor {
    fn drop(&mut self) {
        attach::detach(std::mem::take(&mut self.links));
    }
}

/// A key of identities that nobody outside can know.
fn secret() -> [u64; 3] {
    let random = RandomState::new();
    [random.hash_one(0), random.hash_one(1), random.hash_one(2) | 1]
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
                .filter_map(|capability| Some(format!("{}: {}", capability.name, capability.reason()?)))
                .collect::<Vec<_>>()
                .join("; "),
        },
    }
}
