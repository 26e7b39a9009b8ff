//! Several logs held against one another: what one says that another has is there, nothing is in two of them that no
//! hand-over says, and what no log has of a node is accounted for.

mod text;

use super::ReadError;
use super::ranges::{both, count, holds, minus, normal};
use super::tlog::{CHECKPOINT, FOLDER};
use super::verify::{Expected, Fault, Range, Report, Told, VerifyError, verify};
use super::walk::walk;
use super::watermark::Outbox;
use norma_tlog::{Checkpoint, Hash, Note};
use norma_wire::audit::{Record, record::Body};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Several logs, each verified, and all of them together.
#[derive(Debug, Serialize)]
pub struct Together {
    /// Each by itself, in the order in which they were given.
    pub logs: Vec<Log>,
    /// Each node and epoch over all logs.
    pub outboxes: Vec<Joined>,
}

/// One of the logs.
#[derive(Debug, Serialize)]
pub struct Log {
    /// Its name, or its path where it has none.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What its verification found.
    pub report: Report,
}

/// A node and epoch over all logs.
#[derive(Debug, Serialize)]
pub struct Joined {
    /// The node.
    pub node: String,
    /// The epoch, in hex.
    pub epoch: String,
    /// The newest sequence that any of the logs accounts for.
    pub last_sequence: u64,
    /// How many sequences are in at least one of them.
    pub arrived: u64,
    /// How many are in each.
    pub by_log: BTreeMap<String, u64>,
    /// Sequences that are in two of them as the node said that they might be; they count once.
    pub in_doubt: u64,
    /// Of all that are in two of them, those that were read in both and are the same.
    pub same: u64,
    /// Sequences that are in two of them, and no hand-over says so.
    pub twice: Vec<Between>,
    /// Sequences that are another event in each.
    pub differ: Vec<Between>,
    /// Sequences that are in two of them and could not be read in both.
    pub not_compared: Vec<NotCompared>,
    /// Sequences that a log says others acknowledged, which are here and do not have them.
    pub not_held: Vec<NotHeld>,
    /// Sequences that others are said to have which were not given.
    pub not_given: Vec<NotGiven>,
    /// How many are in none of the logs and admitted as lost.
    pub lost: u64,
    /// Sequences that are in none of the logs, and that nothing accounts for.
    pub unexplained: Vec<Range>,
}

/// Sequences of two logs.
#[derive(Debug, Serialize)]
pub struct Between {
    /// Their names.
    pub logs: [String; 2],
    /// The sequences.
    pub sequences: Vec<Range>,
}

/// Sequences of two logs of which nobody can tell whether they are the same events: a manifest alone says that they were
/// there, of a segment that policy removed or that is damaged.
#[derive(Debug, Serialize)]
pub struct NotCompared {
    /// The names of the logs.
    pub logs: [String; 2],
    /// The one of them, or both, in which they cannot be read.
    pub unread: Vec<String>,
    /// The sequences.
    pub sequences: Vec<Range>,
}

/// A hand-over that is not so.
#[derive(Debug, Serialize)]
pub struct NotHeld {
    /// The log that has the hand-over.
    pub said_in: String,
    /// The logs that are named there.
    pub logs: BTreeSet<String>,
    /// The sequences that none of these has.
    pub sequences: Vec<Range>,
}

/// What cannot be checked without further logs.
#[derive(Debug, Serialize)]
pub struct NotGiven {
    /// Their names.
    pub logs: BTreeSet<String>,
    /// The sequences.
    pub sequences: Vec<Range>,
}

/// Why logs cannot be held against one another.
#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    /// One of them cannot be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// One and the same log was given twice.
    #[error("{} and {} are the same log, {name}: give each once", one.display(), other.display())]
    SameLog {
        /// Its name.
        name: String,
        /// Where it is.
        one: PathBuf,
        /// Where it is as well.
        other: PathBuf,
    },
    /// A checkpoint that is of none of the logs.
    #[error(
        "{name} is of the log {origin}, which was not given, or has lost its own checkpoint (tlog/checkpoint)"
    )]
    Checkpoint {
        /// What it is.
        name: String,
        /// The log's name.
        origin: String,
    },
}

/// Verifies each log and joins them. Each expected checkpoint is held against the log whose name it has.
pub fn together(paths: &[PathBuf], expected: &Expected) -> Result<Together, TogetherError> {
    let origins: Vec<Option<String>> = paths.iter().map(|path| origin_of(path)).collect();
    for checkpoint in &expected.checkpoints {
        let origin = origin(&checkpoint.note);
        if !origins.contains(&origin) {
            return Err(TogetherError::Checkpoint {
                name: checkpoint.name.clone(),
                origin: origin.unwrap_or_default(),
            });
        }
    }
    let mut logs: Vec<Log> = Vec::new();
    for (path, own) in paths.iter().zip(origins) {
        let mut expected = expected.clone();
        expected
            .checkpoints
            .retain(|checkpoint| origin(&checkpoint.note) == own);
        let report = verify(path, &expected)?;
        let said = report.outboxes.iter().flat_map(|outbox| &outbox.detail.names);
        let name = own.or_else(|| said.min().cloned());
        let name = name.unwrap_or_else(|| path.display().to_string());
        if let Some(other) = logs.iter().find(|log| log.name == name) {
            return Err(TogetherError::SameLog {
                name,
                one: other.path.clone(),
                other: path.clone(),
            });
        }
        logs.push(Log {
            name,
            path: path.clone(),
            report,
        });
    }
    let mut outboxes = join(&logs);
    compare(&logs, &mut outboxes);
    Ok(Together {
        logs,
        outboxes: outboxes.into_values().map(|joining| joining.joined).collect(),
    })
}

/// Name of the log in a folder, as its newest checkpoint has it.
fn origin_of(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path.join(FOLDER).join(CHECKPOINT)).ok()?;
    origin(&Note::parse(&bytes).ok()?)
}

fn origin(note: &Note) -> Option<String> {
    let checkpoint: Checkpoint = note.text.parse().ok()?;
    Some(checkpoint.origin)
}

/// What is being found out of one node and epoch.
struct Joining {
    joined: Joined,
    /// What two logs have, by their places among the logs.
    shared: Vec<(usize, usize, Vec<Range>)>,
}

fn join(logs: &[Log]) -> BTreeMap<Outbox, Joining> {
    let mut parts: BTreeMap<Outbox, Vec<Part<'_>>> = BTreeMap::new();
    for (place, log) in logs.iter().enumerate() {
        for outbox in &log.report.outboxes {
            let epoch = u64::from_str_radix(&outbox.epoch, 16).unwrap_or(0);
            let detail = &outbox.detail;
            parts
                .entry(Outbox::new(&outbox.node, epoch))
                .or_default()
                .push(Part {
                    place,
                    name: &log.name,
                    last: outbox.last_sequence,
                    arrived: normal(detail.arrived.iter().copied()),
                    admitted: &detail.admitted,
                    held: &detail.held,
                    in_doubt: &detail.in_doubt,
                });
        }
    }
    let given: BTreeSet<&str> = logs.iter().map(|log| log.name.as_str()).collect();
    parts
        .into_iter()
        .map(|(outbox, parts)| {
            let joining = join_one(&outbox, &parts, &given);
            (outbox, joining)
        })
        .collect()
}

/// What one log has of a node and epoch.
struct Part<'a> {
    /// The log's place among the logs.
    place: usize,
    name: &'a str,
    last: u64,
    arrived: Vec<Range>,
    admitted: &'a [Range],
    held: &'a [Told],
    in_doubt: &'a [Told],
}

fn join_one(outbox: &Outbox, parts: &[Part<'_>], given: &BTreeSet<&str>) -> Joining {
    let arrived = normal(parts.iter().flat_map(|part| part.arrived.iter().copied()));
    let admitted = normal(parts.iter().flat_map(|part| part.admitted.iter().copied()));
    let in_doubt = normal(
        parts
            .iter()
            .flat_map(|part| part.in_doubt.iter().map(|told| told.range)),
    );
    let last_sequence = parts.iter().map(|part| part.last).max().unwrap_or(0);
    let mut joined = Joined {
        node: outbox.node.clone(),
        epoch: format!("{:016x}", outbox.epoch),
        last_sequence,
        arrived: count(&arrived),
        by_log: BTreeMap::new(),
        in_doubt: 0,
        same: 0,
        twice: Vec::new(),
        differ: Vec::new(),
        not_compared: Vec::new(),
        not_held: Vec::new(),
        not_given: Vec::new(),
        lost: 0,
        unexplained: Vec::new(),
    };
    let mut shared = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        joined.by_log.insert(part.name.to_owned(), count(&part.arrived));
        for other in &parts[number + 1..] {
            let both = both(&part.arrived, &other.arrived);
            if both.is_empty() {
                continue;
            }
            let unsaid = minus(&both, &in_doubt);
            joined.in_doubt += count(&both) - count(&unsaid);
            if !unsaid.is_empty() {
                joined.twice.push(Between {
                    logs: [part.name.to_owned(), other.name.to_owned()],
                    sequences: unsaid,
                });
            }
            shared.push((part.place, other.place, both));
        }
    }
    // An acknowledgement is of everything up to a sequence, also of what was lost before it was sent.
    let accounted = normal(arrived.iter().chain(&admitted).copied());
    let mut rest: Vec<Range> = match last_sequence {
        0 => Vec::new(),
        last => minus(&[Range { first: 1, last }], &arrived),
    };
    let missing = count(&rest);
    rest = minus(&rest, &admitted);
    joined.lost = missing - count(&rest);
    let mut away: BTreeMap<BTreeSet<String>, Vec<Range>> = BTreeMap::new();
    let mut not_held: BTreeMap<(String, BTreeSet<String>), Vec<Range>> = BTreeMap::new();
    for part in parts {
        for told in part.held {
            let others = told.logs.iter().filter(|log| !given.contains(log.as_str()));
            let others: BTreeSet<String> = others.cloned().collect();
            if others.is_empty() {
                let named = parts.iter().filter(|part| told.logs.contains(part.name));
                let there = normal(
                    named
                        .flat_map(|part| part.arrived.iter().copied())
                        .chain(admitted.iter().copied()),
                );
                let said = (part.name.to_owned(), told.logs.clone());
                not_held
                    .entry(said)
                    .or_default()
                    .extend(minus(&[told.range], &there));
            } else {
                away.entry(others)
                    .or_default()
                    .extend(minus(&[told.range], &accounted));
            }
        }
    }
    for (logs, ranges) in away {
        let sequences = normal(ranges.into_iter());
        rest = minus(&rest, &sequences);
        if !sequences.is_empty() {
            joined.not_given.push(NotGiven { logs, sequences });
        }
    }
    for ((said_in, logs), ranges) in not_held {
        let sequences = normal(ranges.into_iter());
        rest = minus(&rest, &sequences);
        if !sequences.is_empty() {
            joined.not_held.push(NotHeld {
                said_in,
                logs,
                sequences,
            });
        }
    }
    joined.unexplained = rest;
    Joining { joined, shared }
}

/// Holds what is in two logs against each other, byte for byte. What is damaged cannot be, which its log's report says.
fn compare(logs: &[Log], outboxes: &mut BTreeMap<Outbox, Joining>) {
    let mut seen: BTreeMap<(usize, Outbox, u64), Hash> = BTreeMap::new();
    for (place, log) in logs.iter().enumerate() {
        let is_wanted = |outbox: &Outbox, sequence: u64| {
            outboxes.get(outbox).is_some_and(|joining| {
                joining
                    .shared
                    .iter()
                    .any(|(one, other, ranges)| (*one == place || *other == place) && holds(ranges, sequence))
            })
        };
        let wanted = outboxes
            .values()
            .flat_map(|joining| &joining.shared)
            .any(|(one, other, _)| *one == place || *other == place);
        if !wanted {
            continue;
        }
        let read = walk::<ReadError>(&log.path, 1, &mut |record: &Record, event| {
            // What came where: one may have rejected what the other took.
            let (outbox, sequence) = match (&record.body, event.and_then(|event| event.id.as_ref())) {
                (Some(Body::Event(_)), Some(id)) => (Outbox::new(&id.node, id.epoch), id.sequence),
                (Some(Body::Rejected(rejected)), _) => {
                    (Outbox::new(&rejected.node, rejected.epoch), rejected.sequence)
                }
                _ => return Ok(()),
            };
            if is_wanted(&outbox, sequence)
                && let Some(hash) = hash_of(record)
            {
                seen.insert((place, outbox, sequence), hash);
            }
            Ok(())
        });
        if let Err(error) = read {
            tracing::warn!(log = log.name, %error, "not all that is in two logs can be compared");
        }
    }
    for (outbox, joining) in outboxes {
        for (one, other, ranges) in &joining.shared {
            let names = || [logs[*one].name.clone(), logs[*other].name.clone()];
            let mut differ = Vec::new();
            // By whether the one and the other could be read.
            let mut unread: BTreeMap<[bool; 2], Vec<Range>> = BTreeMap::new();
            for sequence in ranges.iter().flat_map(|range| range.first..=range.last) {
                let hash = |place: usize| seen.get(&(place, outbox.clone(), sequence));
                let single = Range {
                    first: sequence,
                    last: sequence,
                };
                match (hash(*one), hash(*other)) {
                    (Some(one), Some(other)) if one == other => joining.joined.same += 1,
                    (Some(_), Some(_)) => differ.push(single),
                    (one, other) => unread
                        .entry([one.is_some(), other.is_some()])
                        .or_default()
                        .push(single),
                }
            }
            if !differ.is_empty() {
                joining.joined.differ.push(Between {
                    logs: names(),
                    sequences: normal(differ.into_iter()),
                });
            }
            for (were_read, sequences) in unread {
                let unread = names().into_iter().zip(were_read);
                joining.joined.not_compared.push(NotCompared {
                    logs: names(),
                    unread: unread
                        .filter(|(_, was_read)| !was_read)
                        .map(|(name, _)| name)
                        .collect(),
                    sequences: normal(sequences.into_iter()),
                });
            }
        }
    }
}

/// SHA-256 of what a node sent, also of what was rejected.
fn hash_of(record: &Record) -> Option<Hash> {
    match &record.body {
        Some(Body::Event(bytes)) => Some(Hash(Sha256::digest(bytes).into())),
        Some(Body::Rejected(rejected)) => Some(Hash(rejected.sha256[..].try_into().ok()?)),
        _ => None,
    }
}

impl Together {
    /// Whether each log is intact and none contradicts another.
    pub fn is_intact(&self) -> bool {
        self.logs.iter().all(|log| log.report.is_intact()) && self.outboxes.iter().all(Joined::agrees)
    }

    /// Whether besides that everything that nodes sent is in one of them, or it is said why not.
    pub fn is_complete(&self) -> bool {
        self.is_intact()
            && self
                .outboxes
                .iter()
                .all(|joined| joined.unexplained.is_empty() && joined.not_given.is_empty())
    }

    /// What is wrong or missing, without what each log says of itself.
    pub fn gaps(&self) -> TogetherGaps<'_> {
        TogetherGaps {
            logs: self
                .logs
                .iter()
                .map(|log| LogGaps {
                    name: &log.name,
                    path: &log.path,
                    faults: &log.report.faults,
                })
                .collect(),
            outboxes: self.outboxes.iter().filter(|joined| !joined.is_whole()).collect(),
            complete: self.outboxes.iter().filter(|joined| joined.is_whole()).count() as u64,
        }
    }
}

/// What is missing in several logs together.
#[derive(Debug, Serialize)]
pub struct TogetherGaps<'a> {
    /// The logs.
    pub logs: Vec<LogGaps<'a>>,
    /// Nodes and epochs of which something is missing or wrong.
    pub outboxes: Vec<&'a Joined>,
    /// Nodes and epochs that are complete.
    pub complete: u64,
}

/// One of several logs.
#[derive(Debug, Serialize)]
pub struct LogGaps<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is.
    pub path: &'a Path,
    /// What is wrong with it, because of which anything may be missing.
    pub faults: &'a [Fault],
}

impl Joined {
    fn agrees(&self) -> bool {
        self.twice.is_empty() && self.differ.is_empty() && self.not_held.is_empty()
    }

    fn is_whole(&self) -> bool {
        self.agrees() && self.unexplained.is_empty() && self.not_given.is_empty() && self.lost == 0
    }
}

#[cfg(test)]
#[path = "together/tests.rs"]
mod tests;
