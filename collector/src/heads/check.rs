//! Checking, from the records of a log alone, what nodes stated of their events.
//!
//! Give [`Chains`] every record in order. Each head must be by a key whose certificate is in the log, cover just the
//! events (and rejections) that lie before it with its sequences, name the head before it, and be signed or vouched for
//! by a later one ([`vouched`]). With
//! [`Authorities`], each certificate must also have been valid for the node when it was recorded, and not revoked when
//! a head came.

pub use super::authorities::Authorities;
use super::key::NodeKey;
use crate::audit::by_outbox::ByOutbox;
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
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use vouched::{Looked, Stored, Vouched};

mod vouched;

/// Events without a head that are kept in mind for each outbox, beyond any batch; more are counted as not signed.
const MAX_OPEN: usize = 1 << 16;
/// Faults that are listed for each outbox; more are counted.
const MAX_LISTED: usize = 32;
/// Outboxes whose last signatures are not worth a thread.
const FEW: usize = 64;

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
    keys: BTreeMap<(String, Hash), Result<Arc<NodeKey>, String>>,
    /// When the certificates of keys were revoked, in seconds since 1970.
    revoked: BTreeMap<(String, Hash), i64>,
    outboxes: ByOutbox<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Sequence and hash of what no head covers yet.
    open: VecDeque<(u64, Hash)>,
    /// Last sequence and hash of the newest head.
    tip: Option<(u64, Hash)>,
    /// Heads up to it whose signatures were not looked at.
    vouched: Vouched,
    report: ChainReport,
}

/// Where a record is stored.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// Where in it the record begins.
    pub offset: u64,
    /// Index of the record.
    pub index: u64,
}

/// What contradicts something that a node signed, or should have signed.
#[derive(Clone, Debug)]
pub struct Contradiction {
    /// Of which record that is found.
    pub origin: Origin,
    /// What does not fit.
    pub what: String,
}

impl Chains {
    /// With authorities, where the certificates are to be checked as well.
    pub fn new(authorities: Option<Authorities>) -> Self {
        Self {
            authorities,
            ..Self::default()
        }
    }

    /// What is found in `records`, all of a log from its first on, wherever they are stored.
    pub fn check<'a>(
        authorities: Option<Authorities>,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> (Vec<ChainReport>, Vec<Contradiction>) {
        let (mut chains, mut contradictions) = (Self::new(authorities), Vec::new());
        for record in records {
            let place = Place::of(record);
            let origin = Origin {
                file: Path::new("").into(),
                offset: 0,
                index: record.index,
            };
            let event = place.as_ref().zip(event_hash(record));
            contradictions.extend(chains.follow(record, event, &origin));
        }
        let (reports, last) = chains.finish();
        contradictions.extend(last);
        (reports, contradictions)
    }

    /// Takes the next record into account, of which place and hash of the event are given, if it is one; says what in
    /// it, or in earlier ones, contradicts what a node signed.
    pub fn follow(
        &mut self,
        record: &Record,
        event: Option<(&Place, Hash)>,
        origin: &Origin,
    ) -> Vec<Contradiction> {
        let mut contradictions = Vec::new();
        let told = |what| Contradiction {
            origin: origin.clone(),
            what,
        };
        match &record.body {
            Some(Body::Event(_)) => {
                if let Some((place, hash)) = event {
                    self.outbox(&place.outbox).take(place.sequence, hash);
                }
            }
            Some(Body::Rejected(rejected)) => {
                if let Ok(hash) = Hash::try_from(&rejected.sha256[..]) {
                    self.outbox(&Outbox::new(&rejected.node, rejected.epoch))
                        .take(rejected.sequence, hash);
                }
            }
            Some(Body::NodeKey(key)) => {
                let known = self.key(&key.node, &key.key, &key.chain, record.received_wall_ns);
                if let Err(what) = &known {
                    let what = format!("the key {} of node {}: {what}", Hex(&key.key), key.node);
                    contradictions.push(told(what));
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
                    self.keys.insert((key.node.clone(), id), known.map(Arc::new));
                }
            }
            Some(Body::BatchHeads(heads)) => {
                for signed in &heads.heads {
                    contradictions.extend(self.head(record, signed, origin));
                }
            }
            Some(Body::HandedOver(handed)) => contradictions.extend(self.handed_over(handed, origin)),
            _ => {}
        }
        contradictions
    }

    /// What was found, by node and epoch, and the contradictions that the last signatures show.
    pub fn finish(self) -> (Vec<ChainReport>, Vec<Contradiction>) {
        let mut outboxes = self.outboxes.into_sorted();
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let each = outboxes.len().div_ceil(threads).max(FEW);
        let contradictions = thread::scope(|scope| {
            let parts = outboxes.chunks_mut(each);
            let settled: Vec<_> = parts
                .map(|part| scope.spawn(|| part.iter_mut().flat_map(Seen::settle_of).collect::<Vec<_>>()))
                .collect();
            let settled = settled.into_iter().map(ScopedJoinHandle::join);
            settled
                .flat_map(|settled| settled.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        let reports = outboxes.into_iter().map(|(outbox, mut seen)| {
            seen.report.unsigned += seen.open.len() as u64;
            seen.report.node = outbox.node;
            seen.report.epoch = format!("{:016x}", outbox.epoch);
            seen.report.faults.sort_by_key(|fault| fault.record);
            seen.report
        });
        (reports.collect(), contradictions)
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

    fn head(&mut self, of: &Record, signed: &SignedHead, origin: &Origin) -> Vec<Contradiction> {
        let told = |what| Contradiction {
            origin: origin.clone(),
            what,
        };
        let Ok(head) = BatchHead::decode(&signed.head[..]) else {
            let what = "it cannot be read".to_owned();
            let contradiction = told(format!("a batch head: {what}"));
            let fault = Fault {
                record: of.index,
                first_sequence: 0,
                last_sequence: 0,
                what,
            };
            self.outbox(&Outbox::new("", 0)).report.fault(fault);
            return vec![contradiction];
        };
        let key = Hash::try_from(&signed.key[..])
            .map(|id| (head.node.clone(), id))
            .ok();
        // That was told when it came; each head of it is listed.
        let is_told = matches!(key.as_ref().and_then(|key| self.keys.get(key)), Some(Err(_)));
        let revoked = key.as_ref().and_then(|key| self.revoked.get(key));
        let revoked = revoked.filter(|at| is_past(**at, of.received_wall_ns)).copied();
        let key = self.known(&head.node, &signed.key);
        let seen = self.outbox(&Outbox::new(&head.node, head.epoch));
        let mut contradictions = Vec::new();
        let own = hash(&signed.head);
        if seen.tip.is_some_and(|(_, tip)| tip == own) {
            return contradictions;
        }
        if !key.as_ref().is_ok_and(|key| seen.vouched.is_by(key)) || seen.is_break(&head) {
            contradictions.extend(seen.settle(&head.node, head.epoch));
        }
        let (count, fits) = seen.cover(of.index, &head, own);
        // Where more is wrong than that it does not fit, that is told first.
        let verified = key.and_then(|key| {
            if let Some(at) = revoked {
                key.verify(signed).map_err(|error| error.to_string())?;
                return Err(format!(
                    "the certificate of its key was revoked at {}",
                    moment(at)
                ));
            }
            if fits.is_err() {
                key.verify(signed).map_err(|error| error.to_string())?;
            }
            fits.map(|()| key)
        });
        let stored = Stored {
            signed: signed.clone(),
            origin: origin.clone(),
            sequences: (head.first_sequence, head.last_sequence),
            events: count,
        };
        match verified {
            Ok(key) => {
                let looked = seen.vouched.push(key, stored);
                contradictions.extend(seen.looked(&head.node, head.epoch, looked));
            }
            Err(what) => {
                contradictions.extend(seen.settle(&head.node, head.epoch));
                let wrong = seen.wrong(&head.node, head.epoch, stored, what);
                contradictions.extend(Some(wrong).filter(|_| !is_told));
            }
        }
        contradictions
    }

    /// The chain goes on from what another log holds, where the node says so.
    fn handed_over(&mut self, handed: &HandedOver, origin: &Origin) -> Vec<Contradiction> {
        let told = |what| Contradiction {
            origin: origin.clone(),
            what,
        };
        let signed = handed.statement.clone().unwrap_or_default();
        let Ok(handover) = Handover::decode(&signed.handover[..]) else {
            return vec![told("a hand-over: it cannot be read".to_owned())];
        };
        let verified = self
            .known(&handover.node, &signed.key)
            .and_then(|key| key.verify_handover(&signed).map_err(|error| error.to_string()));
        let seen = self.outbox(&Outbox::new(&handover.node, handover.epoch));
        if let Err(what) = verified {
            seen.report.fault(Fault {
                record: origin.index,
                first_sequence: 1,
                last_sequence: handover.after,
                what: what.clone(),
            });
            return vec![told(format!(
                "the hand-over of node {} epoch {:016x}: {what}",
                handover.node, handover.epoch
            ))];
        }
        let mut contradictions = Vec::new();
        if seen.tip.is_none_or(|(last, _)| handover.after > last)
            && let Ok(head) = Hash::try_from(&handover.head[..])
        {
            // What comes next follows on that, and vouches for nothing here.
            contradictions = seen.settle(&handover.node, handover.epoch);
            seen.tip = Some((handover.after, head));
        }
        contradictions
    }

    /// The key of a node with this id, of which a certificate is in the log so far.
    fn known(&self, node: &str, id: &[u8]) -> Result<Arc<NodeKey>, String> {
        Hash::try_from(id)
            .ok()
            .and_then(|id| self.keys.get(&(node.to_owned(), id)))
            .ok_or_else(|| "no certificate of its key is in the log before it".to_owned())
            .and_then(Clone::clone)
    }

    fn outbox(&mut self, outbox: &Outbox) -> &mut Seen {
        self.outboxes.get_or_insert_with(outbox, Seen::default)
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

    /// Whether the head does not follow on the newest one here.
    fn is_break(&self, head: &BatchHead) -> bool {
        self.tip
            .is_some_and(|(last, tip)| head.previous != tip || head.first_sequence != last + 1)
    }

    /// Takes the events that the head is to cover, and makes it the newest, of which `own` is the hash; gives their
    /// number, and whether they are what was signed. A head that does not follow on the one before is noted as a break.
    fn cover(&mut self, record: u64, head: &BatchHead, own: Hash) -> (u64, Result<(), String>) {
        let before = self
            .open
            .partition_point(|(sequence, _)| *sequence < head.first_sequence);
        self.report.unsigned += self.open.drain(..before).count() as u64;
        let covered = self
            .open
            .partition_point(|(sequence, _)| *sequence <= head.last_sequence);
        let hashes: Vec<Hash> = self.open.drain(..covered).map(|(_, hash)| hash).collect();
        if let Some((last, tip)) = self.tip.filter(|_| self.is_break(head)) {
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
            self.report.break_at(Fault {
                record,
                first_sequence: head.first_sequence,
                last_sequence: head.last_sequence,
                what,
            });
        }
        self.tip = Some((head.last_sequence, own));
        let count = hashes.len() as u64;
        let here = digest(&hashes);
        let fits = if head.events == count && head.digest == here {
            Ok(())
        } else {
            Err(format!(
                "it was signed for {} events, of which the digest is {}; here are {count} with the digest {}",
                head.events,
                Hex(&head.digest),
                Hex(&here)
            ))
        };
        (count, fits)
    }

    fn settle_of((outbox, seen): &mut (Outbox, Self)) -> Vec<Contradiction> {
        seen.settle(&outbox.node, outbox.epoch)
    }

    /// Looks at the signatures of what nothing else vouches for.
    fn settle(&mut self, node: &str, epoch: u64) -> Vec<Contradiction> {
        let looked = self.vouched.settle();
        self.looked(node, epoch, looked)
    }

    fn looked(&mut self, node: &str, epoch: u64, looked: Looked) -> Vec<Contradiction> {
        self.report.heads += looked.heads;
        self.report.signed += looked.events;
        let wrong = looked.wrong.into_iter();
        wrong
            .map(|(head, what)| self.wrong(node, epoch, head, what))
            .collect()
    }

    /// A head does not count, and the events that it covers are not signed.
    fn wrong(&mut self, node: &str, epoch: u64, head: Stored, what: String) -> Contradiction {
        let (first, last) = head.sequences;
        let told = format!(
            "the batch head of node {node} epoch {epoch:016x} over sequences {first} to {last}: {what}"
        );
        self.report.unsigned += head.events;
        self.report.fault(Fault {
            record: head.origin.index,
            first_sequence: first,
            last_sequence: last,
            what,
        });
        Contradiction {
            origin: head.origin,
            what: told,
        }
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
