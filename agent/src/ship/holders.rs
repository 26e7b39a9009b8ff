//! Which audit log holds which of this node's events.
//!
//! A node delivers to one collector at a time, and it alone decides to which: so it is the node that settles who owns
//! what. A sequence belongs to the log that acknowledged it, and is sent to nobody else after that. What was sent and
//! not acknowledged when a collector failed may be in its log all the same; it is delivered again, and is in doubt. Both
//! are told to the next collector, signed, before the first event.

use norma_wire::pb::{Handover, Held};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ranges of each sort that are remembered; the oldest are put together beyond that.
const RANGES_MAX: usize = 64;

/// Sequences that went to a log, or to one of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    first: u64,
    last: u64,
    logs: Vec<String>,
}

/// The log that events are delivered to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Current {
    log: String,
    /// The first sequence that it is to hold.
    since: u64,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    epoch: u64,
    current: Option<Current>,
    held: Vec<Range>,
    in_doubt: Vec<Range>,
}

/// What is remembered of an epoch.
#[derive(Debug)]
pub struct Holders {
    path: PathBuf,
    node: String,
    stored: Stored,
    /// Highest sequence that the current log may have been sent.
    sent: u64,
}

impl Holders {
    /// Reads what an earlier run remembered of this epoch, which may have sent everything up to `durable`.
    pub fn open(path: &Path, node: &str, epoch: u64, durable: u64) -> Self {
        let stored = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.epoch == epoch);
        Self {
            path: path.to_owned(),
            node: node.to_owned(),
            stored: stored.unwrap_or_else(|| Stored {
                epoch,
                ..Stored::default()
            }),
            sent: durable,
        }
    }

    /// What the next collector is told, when everything up to `acknowledged` was acknowledged, with `head` as the newest
    /// head of that; `None` where nothing was ever delivered to a log whose name is known.
    pub fn statement(&self, acknowledged: u64, head: Option<[u8; 32]>) -> Option<Handover> {
        let current = self.stored.current.as_ref()?;
        let (held, in_doubt) = self.ranges(current, acknowledged);
        let told = |ranges: Vec<Range>| ranges.into_iter().map(Held::from).collect();
        Some(Handover {
            node: self.node.clone(),
            epoch: self.stored.epoch,
            held: told(held),
            in_doubt: told(in_doubt),
            after: acknowledged,
            head: head.map(Vec::from).unwrap_or_default(),
            wall_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        })
    }

    /// Up to which sequence `log` itself acknowledged events, where everything up to `acknowledged` was by somebody.
    pub fn acknowledged_by(&self, log: &str, acknowledged: u64) -> u64 {
        match &self.stored.current {
            Some(current) if current.log != log => {
                let its = self.stored.held.iter().filter(|range| range.logs == [log]);
                its.map(|range| range.last).max().unwrap_or(0)
            }
            _ => acknowledged,
        }
    }

    /// Notes that what comes after `acknowledged` goes to `log`; durable when this returns.
    pub fn deliver_to(&mut self, log: &str, acknowledged: u64) -> io::Result<()> {
        match self.stored.current.take() {
            Some(current) if current.log == log => {
                self.stored.current = Some(current);
                return Ok(());
            }
            Some(current) => {
                let (held, in_doubt) = self.ranges(&current, acknowledged);
                self.stored.held = bounded(held);
                self.stored.in_doubt = bounded(in_doubt);
            }
            None => {}
        }
        self.stored.current = Some(Current {
            log: log.to_owned(),
            // What was acknowledged before names of logs were told was so by the only one there was.
            since: match self.stored.held.last() {
                Some(_) => acknowledged + 1,
                None => 1,
            },
        });
        self.sent = acknowledged;
        self.save()
    }

    /// Notes that everything up to a sequence may have reached the log.
    pub fn sent(&mut self, through: u64) {
        self.sent = self.sent.max(through);
    }

    fn ranges(&self, current: &Current, acknowledged: u64) -> (Vec<Range>, Vec<Range>) {
        let Stored { held, in_doubt, .. } = &self.stored;
        let (mut held, mut in_doubt) = (held.clone(), in_doubt.clone());
        let of_current = |first, last| Range {
            first,
            last,
            logs: vec![current.log.clone()],
        };
        if acknowledged >= current.since {
            held.push(of_current(current.since, acknowledged));
        }
        if self.sent > acknowledged {
            in_doubt.push(of_current(acknowledged + 1, self.sent));
        }
        (held, in_doubt)
    }

    fn save(&self) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(&self.stored)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Puts the oldest ranges together where there are too many.
fn bounded(mut ranges: Vec<Range>) -> Vec<Range> {
    while ranges.len() > RANGES_MAX {
        let oldest = ranges.remove(0);
        let next = &mut ranges[0];
        next.first = next.first.min(oldest.first);
        next.last = next.last.max(oldest.last);
        let logs = oldest.logs.into_iter().filter(|log| !next.logs.contains(log));
        let logs: Vec<String> = logs.collect();
        next.logs.extend(logs);
    }
    ranges
}

impl From<Range> for Held {
    fn from(range: Range) -> Self {
        Self {
            first_sequence: range.first,
            last_sequence: range.last,
            logs: range.logs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ranges: &[Held]) -> Vec<(u64, u64, String)> {
        let text = |held: &Held| (held.first_sequence, held.last_sequence, held.logs.join("+"));
        ranges.iter().map(text).collect()
    }

    fn range(first: u64, last: u64, log: &str) -> (u64, u64, String) {
        (first, last, log.to_owned())
    }

    #[test]
    fn each_sequence_belongs_to_the_log_that_acknowledged_it_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holders");
        let mut holders = Holders::open(&path, "n", 7, 0);
        assert!(holders.statement(0, None).is_none());
        holders.deliver_to("a", 0).unwrap();
        holders.sent(150);
        assert_eq!(holders.acknowledged_by("a", 100), 100);
        assert_eq!(holders.acknowledged_by("b", 100), 0);
        let statement = holders.statement(100, Some([1; 32])).unwrap();
        assert_eq!(told(&statement.held), [range(1, 100, "a")]);
        assert_eq!(told(&statement.in_doubt), [range(101, 150, "a")]);
        assert_eq!((statement.after, statement.head), (100, vec![1; 32]));
        holders.deliver_to("b", 100).unwrap();
        holders.sent(300);
        // A restart does not know how far it had sent: everything that was on the disk.
        let mut holders = Holders::open(&path, "n", 7, 320);
        let statement = holders.statement(300, None).unwrap();
        assert_eq!(told(&statement.held), [range(1, 100, "a"), range(101, 300, "b")]);
        assert_eq!(
            told(&statement.in_doubt),
            [range(101, 150, "a"), range(301, 320, "b")]
        );
        assert_eq!(holders.acknowledged_by("a", 300), 100);
        holders.deliver_to("a", 300).unwrap();
        assert_eq!(holders.acknowledged_by("a", 310), 310);
        // Another epoch is another sequence.
        assert!(Holders::open(&path, "n", 8, 0).statement(0, None).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgets_no_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let mut holders = Holders::open(&dir.path().join("holders"), "n", 7, 0);
        for round in 0..500 {
            holders
                .deliver_to(["a", "b", "c"][round as usize % 3], 10 * round)
                .unwrap();
            holders.sent(10 * round + 12);
        }
        let statement = holders.statement(5000, None).unwrap();
        assert!(statement.held.len() <= RANGES_MAX + 1 && statement.in_doubt.len() <= RANGES_MAX + 1);
        let mut next = 1;
        for held in &statement.held {
            assert_eq!(held.first_sequence, next);
            next = held.last_sequence + 1;
        }
        assert_eq!(next, 5001);
        assert_eq!(statement.held[0].logs.len(), 3);
    }
}
