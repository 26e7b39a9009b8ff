//! A sensor with what it has seen.

use norma_abi::{SCOPE_ANY, Scope};
use norma_agent::decode::decode;
use norma_agent::identity::Hierarchy;
use norma_agent::observation::{Act, CgroupId, Exec, Observation, Open, Operation};
use norma_agent::sensor::{Controls, CoverageReport, Sensor, SensorConfig, SensorError, Tier, Wanted};
use norma_rig::skip::skipped;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long an event may take to arrive on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running sensor and all observations that it has given.
pub struct Watch {
    pub sensor: Sensor,
    pub report: CoverageReport,
    pub seen: Vec<Observation>,
}

impl Watch {
    /// `None` where this machine lets no sensor start, after saying so.
    pub fn start() -> Option<Self> {
        Self::with_ring(8 << 20)
    }

    pub fn with_ring(ring_bytes: u32) -> Option<Self> {
        Self::with(&SensorConfig {
            ring_bytes,
            reserved_ring_bytes: ring_bytes,
            ..SensorConfig::default()
        })
    }

    /// With these capabilities alone: on an emulated machine the rest takes long to load.
    pub fn only(capabilities: &[&str]) -> Option<Self> {
        let names = capabilities.iter().map(|name| (*name).to_owned()).collect();
        Self::with(&SensorConfig {
            wanted: Wanted::Only(names),
            ..SensorConfig::default()
        })
    }

    pub fn with(config: &SensorConfig) -> Option<Self> {
        match Sensor::start(config) {
            Ok((sensor, report)) => Some(Self {
                sensor,
                report,
                seen: Vec::new(),
            }),
            Err(error @ (SensorError::Capabilities { .. } | SensorError::Btf { .. })) => {
                skipped("kernel", &error.to_string());
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The controls, with the control group of this test taken for a container's: until it is placed, what
    /// shares the host's pid namespace is exempt from rules.
    pub fn controls(&mut self) -> Controls {
        let mut controls = self.sensor.controls().unwrap();
        let members = Hierarchy::find().unwrap().members();
        controls
            .set_scope(members[&std::process::id()], scope(SCOPE_ANY, 0))
            .unwrap();
        controls
    }

    /// Reads what is in the rings, the youngest records too.
    pub fn drain(&mut self) -> usize {
        let seen = &mut self.seen;
        let mut read = 0;
        for timeout in [Duration::from_millis(10), Duration::ZERO] {
            read += self
                .sensor
                .poll(timeout, &mut |record| {
                    seen.push(decode(record).unwrap_or_else(|error| panic!("{error}: {record:?}")));
                })
                .unwrap();
        }
        read
    }

    /// Waits for the first observation for which `pick` gives something.
    pub fn find<T>(&mut self, what: &str, pick: impl Fn(&Observation) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            if let Some(found) = self.seen[looked_at..].iter().find_map(&pick) {
                return found;
            }
            looked_at = self.seen.len();
            assert!(
                Instant::now() < deadline,
                "{what} was not seen among {looked_at} events; counters: {:?}",
                self.sensor.counters()
            );
            self.drain();
        }
    }

    /// Waits for the execution of which `matches` is true.
    pub fn exec(&mut self, what: &str, matches: impl Fn(&Observation, &Exec) -> bool) -> (Observation, Exec) {
        self.find(what, |observation| match &observation.act {
            Act::Exec(exec) if matches(observation, exec) => Some((observation.clone(), exec.clone())),
            _ => None,
        })
    }

    /// Waits for the operation of which `matches` is true.
    pub fn operation(
        &mut self,
        what: &str,
        matches: impl Fn(&Observation, &Operation) -> bool,
    ) -> (Observation, Operation) {
        self.find(what, |observation| match &observation.act {
            Act::Operation(operation) if matches(observation, operation) => {
                Some((observation.clone(), Operation::clone(operation)))
            }
            _ => None,
        })
    }

    /// The operations of which `matches` is true, among what was read so far.
    pub fn operations(&self, matches: impl Fn(&Observation, &Operation) -> bool) -> Vec<Operation> {
        self.seen
            .iter()
            .filter_map(|seen| match &seen.act {
                Act::Operation(operation) if matches(seen, operation) => Some(Operation::clone(operation)),
                _ => None,
            })
            .collect()
    }

    /// How a capability is had.
    pub fn tier(&self, capability: &str) -> Option<Tier> {
        self.report
            .capabilities
            .iter()
            .find(|report| report.name == capability)?
            .tier
    }

    /// Waits for the opening of the file that is called so when it is seen.
    pub fn open(&mut self, path: &Path) -> (Observation, Open) {
        let bytes = path.as_os_str().as_bytes();
        self.find(
            &format!("open of {}", path.display()),
            |observation| match &observation.act {
                Act::Open(open) if open.path.bytes == bytes => Some((observation.clone(), open.clone())),
                _ => None,
            },
        )
    }

    /// Whether an opening of this file is among what was read so far.
    pub fn has_open(&self, path: &Path) -> bool {
        let bytes = path.as_os_str().as_bytes();
        self.seen
            .iter()
            .any(|seen| matches!(&seen.act, Act::Open(open) if open.path.bytes == bytes))
    }
}

/// A control group in the v2 hierarchy, removed in the end.
pub struct Group {
    pub path: PathBuf,
    pub name: String,
}

impl Group {
    /// `None` where no v2 hierarchy is mounted, after saying so.
    pub fn make() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let Some(root) = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then_some(path)
        }) else {
            skipped("kernel", "no cgroup2 filesystem is mounted");
            return None;
        };
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("norma-test-{}-{number}", std::process::id());
        let path = Path::new(root).join(&name);
        fs::create_dir(&path).unwrap();
        Some(Self { path, name })
    }

    pub fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(&self.path).unwrap().ino())
    }

    /// A shell command that runs in this group.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/bash");
        command.arg("-c").arg(format!(
            "echo $$ > {}/cgroup.procs; {script}",
            self.path.display()
        ));
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("control group {} stays: {error}", self.path.display());
        }
    }
}

/// A scope with these flags.
pub fn scope(id: u32, flags: u32) -> Scope {
    Scope { id, flags }
}

/// A fresh directory, by its real path.
pub fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().canonicalize().unwrap();
    (directory, path)
}
