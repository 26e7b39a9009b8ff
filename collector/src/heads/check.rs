//! Checking, from the records of a log alone, what nodes stated of their events.
//!
//! Give [`Chains`] every record in order. Each signed head must be by a key whose certificate is in the log, cover just
//! the events (and rejections) that lie before it with its sequences, and name the head before it. With
//! [`Authorities`], each certificate must also have been valid for the node when it was recorded, and not revoked when
//! a head came.

pub use super::authorities::Authorities;
use super::key::NodeKey;
use crate::audit::{Outbox, Place, event_hash};
use crate::pki::node_of;
use norma_wire::audit::{HandedOver, Record, record::Body};
use norma_wire::head::{Hash, digest, hash};
use norma_wire::pb::{BatchHead, Handover, SignedHead};
use norma_wire::text::Hex;
use prost::Message as _;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// Events without a head that are kept in mind for each outbox, beyond any batch; more are counted as not signed.
const MAX_OPEN: usize = 1 << 16;
/// Faults that are listed for each outbox; more are counted.
const MAX_LISTED: usize = 32;

/// What was found of one node and epoch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChainReport {
    /// The node.
    pub node: String,
    /// The epoch, in hex.
    pub epoch: String,
    /// Heads whose signature and events are proven.
    pub heads: u64,
    /// Events, rejected ones included, that such a head covers.
    pub signed: u64,
    /// Events that none covers.
    pub unsigned: u64,
    /// Heads that do not name the one before: heads, and with them events, were left out, or the collector or node
    /// was set back to an earlier state.
    pub breaks: Vec<Fault>,
    /// Heads that are not what the node signed, or not of the events that are here.
    pub faults: Vec<Fault>,
    /// Breaks and faults beyond those that are listed.
    pub more: u64,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Index of the record.
    pub record: u64,
    /// Sequences that the head covers.
    pub first_sequence: u64,
    /// To this one.
    pub last_sequence: u64,
    /// What does not fit.
    pub what: String,
}

impl ChainReport {
    /// Whether nothing contradicts what the node signed.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.breaks.is_empty() && self.more == 0
    }
}

/// Checks a log, record by record.
#[derive(Debug, Default)]
pub struct Chains {
    authorities: Option<Authorities>,
    keys: BTreeMap<(String, Hash), Result<NodeKey, String>>,
    /// When the certificates of keys were revoked, in seconds since 1970.
    revoked: BTreeMap<(String, Hash), i64>,
    outboxes: BTreeMap<Outbox, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Sequence and hash of what no head covers yet.
    open: VecDeque<(u64, Hash)>,
    /// Last sequence and hash of the newest head.
    tip: Option<(u64, Hash)>,
    report: ChainReport,
}

impl Chains {
    /// With authorities, where the certificates are to be checked as well.
    pub fn new(authorities: Option<Authorities>) -> Self {
        Self {
            authorities,
            ..Self::default()
        }
    }

    /// Takes the next record into account; says what in it contradicts what a node signed.
    pub fn follow(&mut self, record: &Record) -> Vec<String> {
        let place = Place::of(record);
        self.follow_hashed(record, place.as_ref().zip(event_hash(record)))
    }

    /// As [`Self::follow`], where the place and the hash of the record's event are known.
    pub fn follow_hashed(&mut self, record: &Record, event: Option<(&Place, Hash)>) -> Vec<String> {
        let mut contradictions = Vec::new();
        match &record.body {
            Some(Body::Event(_)) => {
                if let Some((place, hash)) = event {
                    let seen = match self.outboxes.get_mut(&place.outbox) {
                        Some(seen) => seen,
                        None => self.outboxes.entry(place.outbox.clone()).or_default(),
                    };
                    seen.take(place.sequence, hash);
                }
            }
            Some(Body::Rejected(rejected)) => {
                if let Ok(hash) = Hash::try_from(&rejected.sha256[..]) {
                    self.outbox(rejected.node.clone(), rejected.epoch)
                        .take(rejected.sequence, hash);
                }
            }
            Some(Body::NodeKey(key)) => {
                let known = self.key(&key.node, &key.key, &key.chain, record.received_wall_ns);
                if let Err(what) = &known {
                    contradictions.push(format!("the key {} of node {}: {what}", Hex(&key.key), key.node));
                }
                if let Ok(id) = Hash::try_from(&key.key[..]) {
                    let revoked = self
                        .authorities
                        .as_ref()
                        .and_then(|them| them.revoked_at(&key.chain));
                    match revoked {
                        Some(at) => self.revoked.insert((key.node.clone(), id), at),
                        None => self.revoked.remove(&(key.node.clone(), id)),
                    };
                    self.keys.insert((key.node.clone(), id), known);
                }
            }
            Some(Body::BatchHeads(heads)) => {
                for signed in &heads.heads {
                    contradictions.extend(self.head(record, signed));
                }
            }
            Some(Body::HandedOver(handed)) => contradictions.extend(self.handed_over(record.index, handed)),
            _ => {}
        }
        contradictions
    }

    /// What was found, by node and epoch.
    pub fn finish(self) -> Vec<ChainReport> {
        self.outboxes
            .into_iter()
            .map(|(outbox, mut seen)| {
                seen.report.unsigned += seen.open.len() as u64;
                seen.report.node = outbox.node;
                seen.report.epoch = format!("{:016x}", outbox.epoch);
                seen.report
            })
            .collect()
    }

    fn key(&self, node: &str, id: &[u8], chain: &[Vec<u8>], at_ns: u64) -> Result<NodeKey, String> {
        let leaf = chain.first().ok_or("its record has no certificate")?;
        let key = NodeKey::of(leaf).map_err(|error| error.to_string())?;
        if key.id()[..] != *id {
            return Err("its record has the certificate of another key".to_owned());
        }
        let (named, _) = node_of(leaf).map_err(|error| error.to_string())?;
        if named.as_str() != node {
            return Err(format!("its certificate is that of node {named}"));
        }
        if let Some(authorities) = &self.authorities {
            authorities
                .check(chain, at_ns)
                .map_err(|error| format!("its certificate was not valid: {error}"))?;
            if let Some(at) = authorities.revoked_at(chain).filter(|at| is_past(*at, at_ns)) {
                return Err(format!(
                    "its certificate was revoked at {}, before it was used",
                    moment(at)
                ));
            }
        }
        Ok(key)
    }

    fn head(&mut self, of: &Record, signed: &SignedHead) -> Option<String> {
        let record = of.index;
        let Ok(head) = BatchHead::decode(&signed.head[..]) else {
            let what = "it cannot be read".to_owned();
            let fault = Fault {
                record,
                first_sequence: 0,
                last_sequence: 0,
                what,
            };
            let told = format!("a batch head: {}", fault.what);
            self.outbox(String::new(), 0).report.fault(fault);
            return Some(told);
        };
        let key = Hash::try_from(&signed.key[..])
            .map(|id| (head.node.clone(), id))
            .ok();
        // That was told when it came; each head of it is listed.
        let is_told = matches!(key.as_ref().and_then(|key| self.keys.get(key)), Some(Err(_)));
        let revoked = key.as_ref().and_then(|key| self.revoked.get(key));
        let revoked = revoked.filter(|at| is_past(**at, of.received_wall_ns)).copied();
        let verified = self
            .known(&head.node, &signed.key)
            .and_then(|key| key.verify(signed).map_err(|error| error.to_string()))
            .and_then(|()| match revoked {
                Some(at) => Err(format!(
                    "the certificate of its key was revoked at {}",
                    moment(at)
                )),
                None => Ok(()),
            });
        let seen = self.outbox(head.node.clone(), head.epoch);
        let what = seen.head(record, &head, hash(&signed.head), verified)?;
        if is_told {
            return None;
        }
        Some(format!(
            "the batch head of node {} epoch {:016x} over sequences {} to {}: {what}",
            head.node, head.epoch, head.first_sequence, head.last_sequence
        ))
    }

    /// The chain goes on from what another log holds, where the node says so.
    fn handed_over(&mut self, record: u64, handed: &HandedOver) -> Option<String> {
        let signed = handed.statement.clone().unwrap_or_default();
        let Ok(handover) = Handover::decode(&signed.handover[..]) else {
            return Some("a hand-over: it cannot be read".to_owned());
        };
        let verified = self
            .known(&handover.node, &signed.key)
            .and_then(|key| key.verify_handover(&signed).map_err(|error| error.to_string()));
        let seen = self.outbox(handover.node.clone(), handover.epoch);
        if let Err(what) = verified {
            seen.report.fault(Fault {
                record,
                first_sequence: 1,
                last_sequence: handover.after,
                what: what.clone(),
            });
            return Some(format!(
                "the hand-over of node {} epoch {:016x}: {what}",
                handover.node, handover.epoch
            ));
        }
        if seen.tip.is_none_or(|(last, _)| handover.after > last)
            && let Ok(head) = Hash::try_from(&handover.head[..])
        {
            seen.tip = Some((handover.after, head));
        }
        None
    }

    /// The key of a node with this id, of which a certificate is in the log so far.
    fn known(&self, node: &str, id: &[u8]) -> Result<NodeKey, String> {
        Hash::try_from(id)
            .ok()
            .and_then(|id| self.keys.get(&(node.to_owned(), id)))
            .ok_or_else(|| "no certificate of its key is in the log before it".to_owned())
            .and_then(Clone::clone)
    }

    fn outbox(&mut self, node: String, epoch: u64) -> &mut Seen {
        self.outboxes.entry(Outbox { node, epoch }).or_default()
    }
}

fn is_past(seconds: i64, at_ns: u64) -> bool {
    seconds <= i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX)
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

impl Seen {
    fn take(&mut self, sequence: u64, hash: Hash) {
        if self.open.len() >= MAX_OPEN {
            self.open.pop_front();
            self.report.unsigned += 1;
        }
        self.open.push_back((sequence, hash));
    }

    /// Gives what the head contradicts; a head that does not follow the one before is noted as a break alone.
    fn head(
        &mut self,
        record: u64,
        head: &BatchHead,
        own: Hash,
        verified: Result<(), String>,
    ) -> Option<String> {
        if self.tip.is_some_and(|(_, tip)| tip == own) {
            return None;
        }
        let fault = |what: String| Fault {
            record,
            first_sequence: head.first_sequence,
            last_sequence: head.last_sequence,
            what,
        };
        let before = self
            .open
            .partition_point(|(sequence, _)| *sequence < head.first_sequence);
        self.report.unsigned += self.open.drain(..before).count() as u64;
        let covered = self
            .open
            .partition_point(|(sequence, _)| *sequence <= head.last_sequence);
        let hashes: Vec<Hash> = self.open.drain(..covered).map(|(_, hash)| hash).collect();
        if let Some((last, tip)) = self.tip
            && (head.previous != tip || head.first_sequence != last + 1)
        {
            let what = format!(
                "it follows the head {} and sequence {}, the newest head here is {} and ends with sequence {last}",
                if head.previous.is_empty() {
                    "none".to_owned()
                } else {
                    Hex(&head.previous).to_string()
                },
                head.first_sequence.saturating_sub(1),
                Hex(&tip)
            );
            self.report.break_at(fault(what));
        }
        self.tip = Some((head.last_sequence, own));
        let count = hashes.len() as u64;
        let what = match verified {
            Err(what) => what,
            Ok(()) if head.events != count || head.digest != digest(&hashes) => format!(
                "it was signed for {} events, of which the digest is {}; here are {count} with the digest {}",
                head.events,
                Hex(&head.digest),
                Hex(&digest(&hashes))
            ),
            Ok(()) => {
                self.report.heads += 1;
                self.report.signed += count;
                return None;
            }
        };
        self.report.unsigned += count;
        self.report.fault(fault(what.clone()));
        Some(what)
    }
}

impl fmt::Display for ChainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "node {} epoch {}: {} signed batch heads over {} events, {} events without",
            self.node, self.epoch, self.heads, self.signed, self.unsigned
        )?;
        for broken in &self.breaks {
            write!(f, "\n  BROKEN CHAIN at record {}: {}", broken.record, broken.what)?;
        }
        Ok(())
    }
}

impl ChainReport {
    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_LISTED {
            self.faults.push(fault);
        } else {
            self.more += 1;
        }
    }

    fn break_at(&mut self, fault: Fault) {
        if self.breaks.len() < MAX_LISTED {
            self.breaks.push(fault);
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
