//! A node's worth of what is known: 100 workloads with 3,000 behaviours each, all of them recognised.
//!
//! Says what that takes in memory, in the kernel and in the agent, what judging something new takes then, and what
//! it takes to go through all that was counted. The containers are control groups with the state that crun writes;
//! what happens in them is made up here, and goes through the same stages as in the agent.
//!
//! `cargo bench -p norma-agent --bench capacity`, as root; `-- --json` for programs.

use anyhow::{Context as _, Result, ensure};
use norma_agent::clock::{WallClock, boot_now};
use norma_agent::identity::{Hierarchy, Identified, Identity, Place, Sources};
use norma_agent::judge::baseline::{Baselines, Learning, Settings};
use norma_agent::judge::policy::PolicySet;
use norma_agent::judge::{Judge, Sensitive};
use norma_agent::observation::{
    Act, ActId, Actor, BootTime, CgroupId, Exec, Executable, FileId, KernelPath, Namespaces, Observation,
    Open, ProcessKey,
};
use norma_agent::respond::Known;
use norma_agent::sensor::{Sensor, SensorConfig};
use norma_rig::{Scratch, cgroup};
use serde_json::json;
use std::fs;
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKLOADS: u64 = 100;
const BEHAVIOURS: u64 = 3_000;
/// Behaviours that are judged as new.
const NOVEL: u64 = 2_000;
/// Most times that everything is done until it is recognised: acts on probation wait for each other's places.
const ROUNDS_MAX: u32 = 20;
/// Between two times that the same is done: long enough for it to be entered.
const AGAIN: Duration = Duration::from_secs(4);
/// As statfs(2) tells it.
const OVERLAYFS: u32 = 0x794c_7630;
/// Process ids that no kernel gives, so that none is looked up in /proc.
const FIRST_PID: u32 = 1 << 23;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let bench = arguments.iter().any(|argument| argument == "--bench");
    if !bench || !norma_rig::skip::unless_root("the benchmark of what is known") {
        return Ok(());
    }
    let empty = resident()?;
    let scratch = Scratch::new("capacity")?;
    let groups = Groups::make(&scratch)?;
    let of_others = maps_loaded()?;
    let (mut sensor, _) = Sensor::start(&SensorConfig::default()).context("the sensor does not start")?;
    let kernel_bytes = maps_loaded()?.saturating_sub(of_others);
    let mut node = Node::start(&mut sensor, &scratch, &groups)?;
    let started = node.rests()?;

    let mut rounds = 0;
    while (node.known.usage().entries as u64) < WORKLOADS * BEHAVIOURS * 99 / 100 {
        rounds += 1;
        ensure!(
            rounds < ROUNDS_MAX,
            "only {:?} of {} are recognised",
            node.known.usage(),
            WORKLOADS * BEHAVIOURS
        );
        for group in 0..WORKLOADS {
            for number in 0..BEHAVIOURS {
                node.does(groups.ids[group as usize], group, number)?;
            }
        }
        node.later();
    }
    node.settles();
    let usage = node.known.usage();
    let full = node.rests()?;

    let before = Instant::now();
    node.known.take_all(&mut node.judge, node.now);
    let sweep = before.elapsed();
    let before = Instant::now();
    for number in 0..NOVEL {
        node.does(groups.ids[0], 0, BEHAVIOURS + number)?;
    }
    let novel = before.elapsed() / u32::try_from(NOVEL)?;
    let figures = json!({
        "workloads": WORKLOADS, "behaviours": BEHAVIOURS, "recognised": usage.entries, "rounds": rounds,
        "kernel_maps_bytes": kernel_bytes,
        "agent_bytes": { "without_sensor": empty, "started": started, "full": full },
        "sweep_us": sweep.as_micros() as u64, "judge_new_ns": novel.as_nanos() as u64,
    });
    if arguments.iter().any(|argument| argument == "--json") {
        println!("{figures}");
    } else {
        println!("{figures:#}");
    }
    Ok(())
}

/// The stages that know what is normal.
struct Node {
    identity: Identity,
    judge: Judge,
    known: Known,
    ready: Vec<Identified>,
    now: BootTime,
}

impl Node {
    fn start(sensor: &mut Sensor, scratch: &Scratch, groups: &Groups) -> Result<Self> {
        let baselines = Baselines::open(
            &scratch.folder("baselines")?,
            Settings {
                node: "bench".to_owned(),
                learning: Learning::default(),
                ..Settings::default()
            },
        )?;
        let mut this = Self {
            identity: Identity::start(
                Hierarchy::find().context("no cgroup v2 hierarchy is mounted")?,
                Sources {
                    runtime_roots: vec![groups.state.clone()],
                    ..Sources::default()
                },
            ),
            judge: Judge::new(PolicySet::default(), baselines, Sensitive::default()),
            known: Known::new(Some(sensor.known()?)),
            ready: Vec::new(),
            now: boot_now(),
        };
        for (group, cgroup) in groups.ids.iter().enumerate() {
            let exec = Act::Exec(Exec {
                program: Executable {
                    path: path(format!("/usr/bin/server-{group}")),
                    // One of the image, on the overlay that is the root.
                    magic: OVERLAYFS,
                    links: 1,
                    on_root: true,
                    ..Executable::default()
                },
                ..Exec::default()
            });
            this.sees(*cgroup, group as u64, exec)?;
        }
        Ok(this)
    }

    fn does(&mut self, cgroup: CgroupId, group: u64, number: u64) -> Result<()> {
        let id = (group * 1_000_003 + number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let open = Act::Open(Open {
            path: path(format!(
                "/srv/application-{group}/data/{}/file-{number}",
                number % 40
            )),
            file: FileId { dev: 8, inode: id },
            mode: 0o100_644,
            flags: 0,
            read: true,
            write: false,
            created: false,
            id: NonZeroU64::new(id.rotate_left(17)).map(ActId),
        });
        self.sees(cgroup, group, open)
    }

    /// Takes it through the stages, as the pipeline does.
    fn sees(&mut self, cgroup: CgroupId, group: u64, act: Act) -> Result<()> {
        let observation = Observation {
            cpu: 0,
            seq: 0,
            at: self.now,
            actor: actor(cgroup, group as u32),
            act,
        };
        self.identity.identify(observation, &mut self.ready);
        ensure!(!self.ready.is_empty(), "the control group is not known");
        for identified in self.ready.drain(..) {
            let judgement = self.judge.judge(&identified);
            if let (Some(fact), Place::Workload(container)) = (&judgement.recognisable, &identified.place) {
                self.known
                    .learn(container, &identified.observation, fact, &mut self.judge);
            }
        }
        Ok(())
    }

    fn later(&mut self) {
        self.now = BootTime(self.now.0 + AGAIN.as_nanos() as u64);
    }

    /// Time passes until what is not needed any more was given back to the system, which the allocator does after a
    /// while, and when it is asked for something; gives what is resident then.
    fn rests(&mut self) -> Result<u64> {
        const STEP: Duration = Duration::from_millis(500);
        /// So often nothing more was given back.
        const STEADY: u32 = 6;
        let running = self.identity.containers();
        let (mut least, mut steady) = (resident()?, 0);
        while steady < STEADY {
            std::thread::sleep(STEP);
            self.judge.tick(&running, self.now, WallClock::read());
            self.known.tick(&mut self.judge, self.now);
            let now = resident()?;
            steady = if now < least { 0 } else { steady + 1 };
            least = least.min(now);
        }
        Ok(least)
    }

    /// Time passes until the norm of each workload was worked out by what was seen.
    fn settles(&mut self) {
        let running = self.identity.containers();
        for _ in 0..2 * WORKLOADS {
            self.later();
            self.judge.tick(&running, self.now, WallClock::read());
            self.known.tick(&mut self.judge, self.now);
        }
    }
}

fn actor(cgroup: CgroupId, group: u32) -> Actor {
    let process = |pid| ProcessKey {
        pid,
        start: BootTime(1),
    };
    Actor {
        process: process(FIRST_PID + group),
        parent: process(0),
        tid: FIRST_PID + group,
        uid: 0,
        gid: 0,
        euid: 0,
        cgroup,
        namespaces: Namespaces {
            mnt: 1,
            pid: 1,
            net: 1,
            user: 1,
        },
        comm: Default::default(),
    }
}

fn path(bytes: String) -> KernelPath {
    KernelPath {
        bytes: bytes.into_bytes(),
        ..KernelPath::default()
    }
}

/// Control groups with the state of containers, removed in the end.
struct Groups {
    names: Vec<String>,
    ids: Vec<CgroupId>,
    state: PathBuf,
}

impl Groups {
    fn make(scratch: &Scratch) -> Result<Self> {
        let mut this = Self {
            names: Vec::new(),
            ids: Vec::new(),
            state: scratch.folder("crun")?,
        };
        let mount = cgroup::v2_mount()?;
        for number in 0..WORKLOADS {
            let id = scratch.unique(&format!("capacity-{number}"));
            let name = format!("/{id}");
            fs::create_dir(mount.join(&id)).with_context(|| name.clone())?;
            this.ids.push(CgroupId(cgroup::id_of(&name)?));
            let state = this.state.join(&id);
            fs::create_dir(&state).context("cannot make a container's state")?;
            let status = json!({ "pid": 0, "cgroup-path": name });
            fs::write(state.join("status"), status.to_string())
                .context("cannot write a container's state")?;
            this.names.push(name);
        }
        Ok(this)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for name in &self.names {
            cgroup::remove(name);
        }
    }
}

/// Resident memory of this process in bytes, without what is in files.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read the own status")?;
    let kilobytes = status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("RssAnon:")
                .or_else(|| line.strip_prefix("RssShmem:"))
        })
        .filter_map(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kilobytes.sum::<u64>() * 1024)
}

/// What the kernel accounts for all maps that are loaded, whoever holds them.
fn maps_loaded() -> Result<u64> {
    let mut sum = 0;
    for map in aya::maps::loaded_maps() {
        let Ok(fd) = map.context("cannot list maps")?.fd() else {
            continue;
        };
        let about = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        let text = fs::read_to_string(&about).with_context(|| about.clone())?;
        let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        sum += bytes
            .and_then(|bytes| bytes.trim().parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(sum)
}
