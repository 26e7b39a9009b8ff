//! The node's clock is set while the line runs. Only in a guest: the clock of this machine is not touched.

use super::line::{LIMIT, text};
use norma_rig::audit::number;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, guest, skip, wait_until,
};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// How exactly the agent relates the two clocks of an emulated guest.
const EXACT: i64 = SECOND / 1000;
/// What the test's own steps take, in a guest that is emulated.
const SLACK: i64 = 120 * SECOND;

fn wall_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * SECOND + now.tv_nsec
}

fn step(by: i64) {
    let then = wall_ns() + by;
    let then = Timespec {
        tv_sec: then / SECOND,
        tv_nsec: then % SECOND,
    };
    clock_settime(ClockId::Realtime, then).unwrap();
}

/// A node whose host never rests. There is no container on it: setting up its limits has a kernel patch its own code, which
/// an emulated processor now and then runs half-patched.
struct Node {
    agent: Agent,
    collector: Collector,
    scratch: Scratch,
}

impl Node {
    fn start() -> Self {
        let scratch = Scratch::new("clock").unwrap();
        let programs = Programs::find().unwrap();
        let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
        let settings = CollectorSettings {
            checkpoint_interval: Some("1s".to_owned()),
            ..CollectorSettings::default()
        };
        let collector = Collector::start(&scratch, &programs, &pki, None, &settings).unwrap();
        let settings = AgentSettings {
            extra: "events: {host: true}\nsensor: {only: [exec]}\n".to_owned(),
            ..AgentSettings::default()
        };
        let mut agent = Agent::prepare(&scratch, &programs, &pki, Some(&collector), &settings).unwrap();
        agent.run(&scratch).unwrap();
        Self {
            agent,
            collector,
            scratch,
        }
    }

    /// Has the host do something from now on until the guard goes.
    fn load(&self) -> Load {
        let program = self.program("load");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                Command::new(&program).status().unwrap();
            }
        });
        Load {
            stop,
            thread: Some(thread),
        }
    }

    /// A program of its own name.
    fn program(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        std::fs::copy("/bin/true", &path).unwrap();
        path
    }

    /// Runs a program that nobody has run; waits until that is in the audit log, and gives the event.
    fn mark(&self, name: &str) -> Value {
        let program = self.program(&format!("mark-{name}"));
        assert!(Command::new(&program).status().unwrap().success());
        let ran =
            |event: &Value| event["kind"] == "exec" && Path::new(text(event, "/process/exe")) == program;
        let audit = self.collector.audit();
        audit.wait_for(&format!("the mark {name}"), LIMIT, ran).unwrap()
    }

    /// Waits until agent and collector have both recorded so many steps; gives them, in order.
    fn steps(&self, count: usize) -> [Vec<i64>; 2] {
        let audit = self.collector.audit();
        wait_until("the steps of the clock on record", LIMIT, || {
            let nanoseconds = |step: &Value| {
                let text = step["step_ns"].as_str().map(str::parse);
                text.map_or_else(|| step["step_ns"].as_i64(), Result::ok)
            };
            let mut steps = [Vec::new(), Vec::new()];
            for record in audit.records_of(&["--kind", "clock_step"])? {
                match record.get("event").map(|event| &event["clock_step"]) {
                    Some(of_agent) => steps[0].extend(nanoseconds(of_agent)),
                    None => steps[1].extend(nanoseconds(&record["clock_step"])),
                }
            }
            Ok(steps.iter().all(|steps| steps.len() >= count).then_some(steps))
        })
        .unwrap()
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn event_ns(event: &Value, name: &str) -> i64 {
    i64::try_from(number(&event[name]).unwrap_or_else(|| panic!("no {name} in {event}"))).unwrap()
}

#[test]
fn a_clock_that_is_set_by_an_hour_and_back_loses_doubles_and_refuses_nothing() {
    const NAME: &str = "a_clock_that_is_set_by_an_hour_and_back_loses_doubles_and_refuses_nothing";
    if !guest::is_here() {
        skip::skipped(
            NAME,
            "it sets the clock: `cargo xtask vm 6.12 --test e2e -- clock::` runs it in a guest",
        );
        return;
    }
    let mut node = Node::start();
    let load = node.load();
    node.mark("before");
    for (round, by) in [HOUR, -HOUR].into_iter().enumerate() {
        let begin = wall_ns();
        step(by);
        let mark = node.mark(if by > 0 { "ahead" } else { "back" });
        let at = event_ns(&mark, "wall_ns");
        assert!(
            (begin + by - EXACT..begin + by + SLACK).contains(&at),
            "{at} after {begin} and {by}: {mark}"
        );
        for (whose, steps) in ["agent", "collector"].into_iter().zip(node.steps(round + 1)) {
            assert_eq!(steps.len(), round + 1, "{whose}: {steps:?}");
            assert!((steps[round] - by).abs() < SECOND, "{whose}: {steps:?}");
        }
    }
    drop(load);
    node.mark("last");
    node.agent.stop().unwrap();
    node.collector.stop().unwrap();

    let audit = node.collector.audit();
    let rejected = audit.records_of(&["--kind", "rejected"]).unwrap();
    assert!(
        rejected.is_empty(),
        "{} events were refused, the first one: {}",
        rejected.len(),
        rejected[0]
    );
    let total = audit.check_sequences().unwrap();
    assert!(total > 50, "the load made only {total} events");
    // Each says when it happened by the clock of then, and by one that nobody sets.
    let events = audit.events().unwrap();
    let ran: Vec<&Value> = events.iter().filter(|event| event["kind"] == "exec").collect();
    let marks = ran
        .iter()
        .filter(|event| text(event, "/process/exe").contains("/mark-"));
    let marks: Vec<(&str, i64)> = marks
        .map(|event| (text(event, "/process/exe"), event_ns(event, "boot_ns")))
        .collect();
    let names = ["before", "ahead", "back", "last"];
    assert_eq!(marks.len(), names.len(), "each mark once: {marks:?}");
    for ((exe, _), name) in marks.iter().zip(names) {
        assert!(exe.ends_with(&format!("/mark-{name}")), "{marks:?}");
    }
    assert!(marks.is_sorted_by_key(|(_, boot_ns)| *boot_ns), "{marks:?}");
    let relation = |event: &&Value| event_ns(event, "wall_ns") - event_ns(event, "boot_ns");
    let relations: Vec<i64> = ran.iter().map(relation).collect();
    let base = relations[0];
    for (event, relation) in ran.iter().zip(&relations) {
        let off = relation - base;
        assert!(
            off.abs() < SECOND || (off - HOUR).abs() < SECOND,
            "{off}: {event}"
        );
    }
    let changes = relations
        .array_windows()
        .filter(|[one, next]| (next - one).abs() > HOUR / 2);
    assert_eq!(changes.count(), 2, "there and back, once each");
    let policy = node.collector.policy(&node.scratch).unwrap();
    let report = audit
        .verify_with(&["--policy".as_ref(), policy.as_os_str()])
        .unwrap();
    assert!(
        report.starts_with("intact: ") && !report.contains("BROKEN"),
        "{report}"
    );
    assert!(!report.contains("NOT ACCOUNTED FOR"), "{report}");
}
