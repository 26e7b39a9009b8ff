//! What nodes told of steps of their clocks, which explains events that come from the future.
//!
//! A node's wall clock is set an hour ahead, and back: what happened in between is told with a time that lies ahead, by a
//! node that is not to blame, and must not be lost. The node tells each step as an event (`clock_step`), which the log
//! has, and each event also has its kernel time, which nobody can set. So a step tells two relations of wall time to
//! kernel time, and an event of the later one is explained where the earlier one would have put it within the bound.
//!
//! That opens no hole for made-up times: what is explained is never further ahead than the bound and the largest step
//! together, is at a relation that the node stated before or beside it, and the log holds the statement.

use crate::audit::Outbox;
use crate::config::EventLimits;
use crate::durable::{self, Sync};
use norma_wire::{Detail, Event};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Relations that are remembered of an outbox; a clock that is set more often in the time that events wait is broken.
const MAX_STATED: usize = 16;
/// Outboxes that are remembered of a node: it has one, and now and then a new one.
const MAX_EPOCHS: usize = 4;
/// A clock that is kept in step otherwise (500 ppm, 1.8 s an hour) drifts no further from what it told in a day.
const DRIFT_NS: i128 = 60_000_000_000;

/// What an outbox told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Steps(VecDeque<Stated>);

/// A relation of wall time to kernel time (the one minus the other, nanoseconds) that a step led to or from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stated {
    /// The one that is ahead.
    ahead: i64,
    /// The one that it is explained by.
    right: i64,
}

impl Steps {
    /// Takes an event into account; whether it is a step that explains something new.
    pub fn follow(&mut self, event: &Event, now: u64, limits: &EventLimits) -> bool {
        let Some(Detail::ClockStep(step)) = &event.detail else {
            return false;
        };
        let after = relation(event);
        let before = after - i128::from(step.step_ns);
        let (lower, higher) = (before.min(after), before.max(after));
        let right = if is_within(event, lower, now, limits) {
            Some(lower)
        } else {
            let known = self
                .0
                .iter()
                .rev()
                .find(|stated| (i128::from(stated.ahead) - lower).abs() <= DRIFT_NS);
            known.map(|stated| stated.right.into())
        };
        let largest = nanoseconds(limits.max_clock_step);
        let Some(right) = right.filter(|right| (1..=largest).contains(&(higher - right))) else {
            return false;
        };
        let (Ok(ahead), Ok(right)) = (i64::try_from(higher), i64::try_from(right)) else {
            return false;
        };
        let stated = Stated { ahead, right };
        if self.0.contains(&stated) {
            return false;
        }
        if self.0.len() >= MAX_STATED {
            self.0.pop_front();
        }
        self.0.push_back(stated);
        true
    }

    /// Whether a step explains the time of an event that lies ahead.
    pub fn explain(&self, event: &Event, now: u64, limits: &EventLimits) -> bool {
        let relation = relation(event);
        self.0.iter().any(|stated| {
            relation <= i128::from(stated.ahead) + DRIFT_NS
                && is_within(event, stated.right.into(), now, limits)
        })
    }
}

fn relation(event: &Event) -> i128 {
    i128::from(event.wall_ns) - i128::from(event.boot_ns)
}

/// Whether an event would not be too far ahead by this relation.
fn is_within(event: &Event, relation: i128, now: u64, limits: &EventLimits) -> bool {
    i128::from(event.boot_ns) + relation <= i128::from(now) + nanoseconds(limits.max_ahead)
}

fn nanoseconds(duration: std::time::Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// What all nodes told; clones share it. A file keeps it: a node tells a step once, and what it explains may come after
/// a restart of the collector.
#[derive(Clone, Debug)]
pub struct Clocks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    nodes: Mutex<BTreeMap<String, VecDeque<OfEpoch>>>,
}

/// What one outbox of a node told.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfEpoch {
    epoch: u64,
    steps: Steps,
}

impl Clocks {
    /// Reads the file at `path`. One that cannot be understood is begun anew: events that it would have explained are
    /// rejected with the reason, as are those of a node that tells nothing.
    ///
    /// # Errors
    /// There is one, and it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let nodes = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = %path.display(), %error, "what nodes told of their clocks is forgotten");
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            nodes: Mutex::new(nodes),
        })))
    }

    /// What an outbox told.
    pub fn of(&self, outbox: &Outbox) -> Steps {
        let nodes = self.nodes();
        let known = nodes.get(&outbox.node).into_iter().flatten();
        let mut its = known.filter(|known| known.epoch == outbox.epoch);
        its.next().map(|known| known.steps.clone()).unwrap_or_default()
    }

    /// Remembers what an outbox told.
    pub fn put(&self, outbox: &Outbox, steps: Steps) {
        let mut nodes = self.nodes();
        let epochs = nodes.entry(outbox.node.clone()).or_default();
        epochs.retain(|known| known.epoch != outbox.epoch);
        if epochs.len() >= MAX_EPOCHS {
            epochs.pop_front();
        }
        epochs.push_back(OfEpoch {
            epoch: outbox.epoch,
            steps,
        });
        let written = serde_json::to_vec(&*nodes)
            .map_err(io::Error::other)
            .and_then(|bytes| durable::replace(&self.0.path, &bytes, Sync::Lazy));
        if let Err(error) = written {
            tracing::warn!(file = %self.0.path.display(), %error, "cannot write what nodes told of their clocks");
        }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<OfEpoch>>> {
        self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_wire::pb::ClockStep;
    use proptest::prelude::*;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const NOW: u64 = 1_800_000_000 * SECOND as u64;
    const BOOT: u64 = 5_000 * SECOND as u64;

    fn limits() -> EventLimits {
        EventLimits {
            max_bytes: 1000,
            max_ahead: Duration::from_secs(600),
            max_clock_step: Duration::from_secs(24 * 3600),
        }
    }

    /// An event that happened `after` so long, by a clock that is `ahead`.
    fn event(after: i64, ahead: i64) -> Event {
        Event {
            boot_ns: BOOT.saturating_add_signed(after),
            wall_ns: NOW.saturating_add_signed(after + ahead),
            ..Event::default()
        }
    }

    fn step(after: i64, ahead: i64, step_ns: i64) -> Event {
        Event {
            detail: Some(Detail::ClockStep(ClockStep { step_ns })),
            ..event(after, ahead)
        }
    }

    fn explains(steps: &Steps, event: &Event) -> bool {
        steps.explain(event, NOW, &limits())
    }

    #[test]
    fn a_step_there_and_back_explains_what_was_told_in_between_and_no_more() {
        let mut steps = Steps::default();
        let follow = |steps: &mut Steps, event: &Event| steps.follow(event, NOW, &limits());
        assert!(!explains(&steps, &event(0, HOUR)));
        assert!(!follow(&mut steps, &event(0, HOUR)), "it is no step");
        assert!(follow(&mut steps, &step(0, HOUR, HOUR)));
        assert!(!follow(&mut steps, &step(0, HOUR, HOUR)), "it came again");
        assert!(explains(&steps, &event(0, HOUR)));
        assert!(explains(&steps, &event(5 * SECOND, HOUR + SECOND)));
        assert!(
            !explains(&steps, &event(0, HOUR + 120 * SECOND)),
            "nobody told that"
        );
        // Its kernel time says that it has not happened yet.
        assert!(!explains(&steps, &event(HOUR, HOUR)));
        // Further ahead, and back, told by a clock that was ahead already.
        assert!(follow(&mut steps, &step(0, 3 * HOUR, 2 * HOUR)));
        assert!(explains(&steps, &event(0, 3 * HOUR)));
        // Of one who tells only how it was set back.
        let mut steps = Steps::default();
        assert!(follow(&mut steps, &step(0, 0, -HOUR)));
        assert!(explains(&steps, &event(0, HOUR)));
    }

    #[test]
    fn a_step_that_is_too_large_or_begins_ahead_explains_nothing() {
        let mut steps = Steps::default();
        let day = 24 * HOUR;
        assert!(!steps.follow(&step(0, day + HOUR, day + HOUR), NOW, &limits()));
        assert!(!steps.follow(&step(0, 2 * HOUR, HOUR), NOW, &limits()));
        assert!(!steps.follow(&step(0, i64::MAX / 2, i64::MAX), NOW, &limits()));
        assert!(!steps.follow(&step(0, HOUR, i64::MIN), NOW, &limits()));
        // In parts that are small enough each.
        assert!(steps.follow(&step(0, day - HOUR, day - HOUR), NOW, &limits()));
        assert!(!steps.follow(&step(0, day + HOUR, 2 * HOUR), NOW, &limits()));
        assert_eq!(steps.0.len(), 1);
    }

    proptest! {
        /// Whatever a node tells, nothing is taken from further ahead than the bound and the largest step.
        #[test]
        fn no_statements_explain_a_time_beyond_the_largest_step(
            told in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<i64>()), 0..40),
            (boot_ns, wall_ns) in (any::<u64>(), any::<u64>()),
        ) {
            let mut steps = Steps::default();
            for (boot_ns, wall_ns, step_ns) in told {
                let near = |ns: u64| NOW - NOW / 8 + ns % (NOW / 4);
                let detail = Some(Detail::ClockStep(ClockStep { step_ns: step_ns % (48 * HOUR) }));
                let event = Event { boot_ns: boot_ns % NOW, wall_ns: near(wall_ns), detail, ..Event::default() };
                steps.follow(&event, NOW, &limits());
            }
            prop_assert!(steps.0.len() <= MAX_STATED);
            let event = Event { boot_ns: boot_ns % NOW, wall_ns, ..Event::default() };
            let limits = limits();
            let furthest = nanoseconds(limits.max_ahead) + nanoseconds(limits.max_clock_step) + DRIFT_NS;
            if steps.explain(&event, NOW, &limits) {
                prop_assert!(i128::from(wall_ns) <= i128::from(NOW) + furthest);
            }
        }
    }

    #[test]
    fn what_was_told_is_kept_over_a_restart_for_each_outbox_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clocks.json");
        let outbox = |node: &str, epoch| Outbox {
            node: node.into(),
            epoch,
        };
        let mut told = Steps::default();
        told.follow(&step(0, HOUR, HOUR), NOW, &limits());
        let clocks = Clocks::open(&path).unwrap();
        for epoch in 0..10 {
            clocks.put(&outbox("n", epoch), told.clone());
        }
        let again = Clocks::open(&path).unwrap();
        assert_eq!(again.of(&outbox("n", 9)), told);
        assert_eq!(again.of(&outbox("n", 1)), Steps::default(), "old ones go");
        assert_eq!(again.of(&outbox("m", 9)), Steps::default());
        fs::write(&path, "{").unwrap();
        assert_eq!(Clocks::open(&path).unwrap().of(&outbox("n", 9)), Steps::default());
    }
}
