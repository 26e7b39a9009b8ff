//! Sessions that come like clockwork: the runtime is asked by the kubelet to execute a probe's command.
//!
//! No description of a container says what its probes are, so they are told by what they do. A command that began a
//! session [`REPEATS`] times in a row at a regular distance is a probe from then on, and what it did in at least
//! [`RUNS`] of those sessions is what it is expected to do. All of that was judged, and raised, like any other
//! session's acts before. Nothing is added later: another command, the same one out of step, or anything else that it
//! does is a session's act like any other. What is grave never becomes a probe's.

use super::fact::Fact;
use super::session::Command;
use crate::observation::{BootTime, CgroupId, ProcessKey};
use foldhash::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Sessions at a regular distance that make a probe.
const REPEATS: usize = 6;
/// In how many of them it has to have done what it is expected to do.
const RUNS: u32 = 3;
/// Distances of probes.
const PERIODS: std::ops::RangeInclusive<Duration> = Duration::from_millis(900)..=Duration::from_secs(3600);
/// Two probes can have the same command, so that every second session is regular.
const INTERLEAVED: usize = 2;
/// Sessions of a command that are remembered.
const STARTS: usize = 2 * REPEATS * INTERLEAVED;
/// Most behaviours of a command, and most commands.
const FACTS_MAX: usize = 512;
const COMMANDS_MAX: usize = 1_024;

/// The commands of all workloads.
#[derive(Default)]
pub(super) struct Probes {
    habits: HashMap<(Arc<str>, u64), Habit>,
}

#[derive(Default)]
struct Habit {
    starts: VecDeque<Start>,
    /// Since it is one.
    period: Option<Duration>,
    /// In how many sessions each was seen, and in which last.
    facts: HashMap<Fact, (u32, ProcessKey)>,
}

#[derive(Clone, Copy)]
struct Start {
    container: CgroupId,
    first: ProcessKey,
    at: BootTime,
    in_step: bool,
}

impl Probes {
    /// A session begins.
    pub fn begin(
        &mut self,
        workload: &str,
        container: CgroupId,
        command: &Command,
        first: ProcessKey,
        at: BootTime,
    ) {
        if self.habits.len() >= COMMANDS_MAX {
            // A probe goes on; what is none makes room.
            self.habits.retain(|_, habit| habit.period.is_some());
        }
        let key = (Arc::from(workload), command.identity());
        if self.habits.len() >= COMMANDS_MAX && !self.habits.contains_key(&key) {
            return;
        }
        let habit = self.habits.entry(key).or_default();
        let in_step = habit
            .period
            .is_some_and(|period| habit.is_in_step(container, period, at));
        habit.starts.push_back(Start {
            container,
            first,
            at,
            in_step,
        });
        if habit.starts.len() > STARTS {
            habit.starts.pop_front();
        }
        if habit.period.is_none() {
            habit.period = habit.find_period(container);
        }
    }

    /// Takes what was done in a session; whether it is what a probe does.
    pub fn takes(&mut self, workload: &str, command: &Command, first: ProcessKey, fact: &Fact) -> bool {
        let key = (Arc::from(workload), command.identity());
        let Some(habit) = self.habits.get_mut(&key) else {
            return false;
        };
        if habit.period.is_some() {
            let in_step = habit
                .starts
                .iter()
                .any(|start| start.first == first && start.in_step);
            let known = habit.facts.get(fact).is_some_and(|(runs, _)| *runs >= RUNS);
            return in_step && known;
        }
        let full = habit.facts.len() >= FACTS_MAX;
        match habit.facts.get_mut(fact) {
            Some((runs, last)) if *last != first => (*runs, *last) = (*runs + 1, first),
            Some(_) => {}
            None if full => {}
            None => {
                habit.facts.insert(fact.clone(), (1, first));
            }
        }
        false
    }
}

impl Habit {
    /// The distance of the last sessions in a container, where it is regular.
    fn find_period(&self, container: CgroupId) -> Option<Duration> {
        let times: Vec<u64> = self
            .starts
            .iter()
            .filter(|start| start.container == container)
            .map(|start| start.at.0)
            .collect();
        (1..=INTERLEAVED).find_map(|lag| {
            let wanted = REPEATS + lag - 1;
            let last = times
                .len()
                .checked_sub(wanted)
                .and_then(|from| times.get(from..))?;
            let distances: Vec<Duration> = last
                .iter()
                .zip(last.iter().skip(lag))
                .map(|(earlier, later)| Duration::from_nanos(later.saturating_sub(*earlier)))
                .collect();
            let least = *distances.iter().min()?;
            let most = *distances.iter().max()?;
            (PERIODS.contains(&least) && most - least <= tolerance(least)).then_some(least)
        })
    }

    /// Whether a session comes when one is to be expected, after one before it in the same container.
    fn is_in_step(&self, container: CgroupId, period: Duration, at: BootTime) -> bool {
        let tolerance = tolerance(period).as_nanos() as u64;
        let period = period.as_nanos() as u64;
        self.starts
            .iter()
            .filter(|start| start.container == container)
            .any(|start| {
                let distance = at.0.saturating_sub(start.at.0);
                (1..=3).any(|times| distance.abs_diff(times * period) <= tolerance)
            })
    }
}

/// How much later or earlier a busy node may be.
fn tolerance(period: Duration) -> Duration {
    (period / 8).max(Duration::from_millis(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;
    const ONE: CgroupId = CgroupId(1);

    struct Bench {
        probes: Probes,
        pid: u32,
    }

    fn fact(path: &str) -> Fact {
        Fact::Open {
            exe: "/bin/cat".into(),
            path: path.into(),
            access: super::super::fact::Access::Read,
        }
    }

    fn command(word: &str) -> Command {
        Command {
            exe: "/bin/cat".into(),
            argv: Arc::from([word.to_owned()]),
        }
    }

    impl Bench {
        /// A session at a moment that reads these; which of it is what a probe does.
        fn run(&mut self, word: &str, ms: u64, container: CgroupId, paths: &[&str]) -> Vec<bool> {
            self.pid += 1;
            let first = ProcessKey {
                pid: self.pid,
                start: BootTime(ms * MILLISECOND),
            };
            let (command, at) = (command(word), BootTime(ms * MILLISECOND));
            self.probes.begin("w", container, &command, first, at);
            paths
                .iter()
                .map(|path| self.probes.takes("w", &command, first, &fact(path)))
                .collect()
        }
    }

    /// One that came at these moments, and once more at `next`.
    fn after(times: &[u64], next: u64) -> bool {
        let mut bench = Bench {
            probes: Probes::default(),
            pid: 1,
        };
        for time in times {
            bench.run("x", *time, ONE, &["/health"]);
        }
        bench.run("x", next, ONE, &["/health"])[0]
    }

    #[test]
    fn what_comes_like_clockwork_becomes_a_probe_and_no_sooner() {
        let regular: Vec<u64> = (0..6).map(|number| number * 10_000 + number % 3 * 200).collect();
        assert!(after(&regular, 60_000));
        assert!(!after(&regular[..5], 50_000), "not often enough");
        assert!(!after(&regular, 55_000), "out of step");
        assert!(
            !after(&[0, 10_000, 21_000, 24_000, 40_000, 52_000], 62_000),
            "not regular"
        );
        assert!(!after(&[0, 10, 20, 30, 40, 50], 60), "too fast for a probe");
        let two: Vec<u64> = (0..4)
            .flat_map(|number| [number * 10_000, number * 10_000 + 3_000])
            .collect();
        assert!(after(&two, 40_000), "two probes with the same command");
    }

    #[test]
    fn nobody_passes_as_a_probe_with_anything_else() {
        let mut bench = Bench {
            probes: Probes::default(),
            pid: 1,
        };
        for number in 0..6 {
            let once = if number == 2 { "/etc/once" } else { "/health" };
            bench.run("x", number * 10_000, ONE, &["/health", once]);
        }
        assert_eq!(
            bench.run("x", 60_000, ONE, &["/health", "/etc/once", "/srv/secret"]),
            [true, false, false]
        );
        assert_eq!(
            bench.run("y", 60_100, ONE, &["/health"]),
            [false],
            "another command"
        );
        // However often it does it from here on.
        for number in 7..20 {
            let done = bench.run("x", number * 10_000, ONE, &["/health", "/srv/secret"]);
            assert_eq!(done, [true, false]);
        }
        // In another replica it has to come twice.
        assert_eq!(bench.run("x", 200_000, CgroupId(2), &["/health"]), [false]);
        assert_eq!(bench.run("x", 210_000, CgroupId(2), &["/health"]), [true]);
    }
}
