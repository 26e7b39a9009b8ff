//! Printing the log: one line or one JSON object per record.

use super::read::ReadError;
use super::walk::walk;
use crate::archive::holds::{scope, whose};
use jiff::Timestamp;
use norma_wire::audit::{Record, record::Body};
use norma_wire::pb::{self, VerdictKind};
use norma_wire::text::Hex;
use norma_wire::{Event, describe, id, json};
use std::io::{self, Write};
use std::path::Path;

/// Which records are shown; empty lists, `false` and 0 mean all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Kinds of events, such as `exec`, or of records, such as `rejected`.
    pub kinds: Vec<String>,
    /// Verdicts, such as `novel`.
    pub verdicts: Vec<String>,
    /// Only what somebody should look at.
    pub alerts: bool,
    /// Only from the record with this index on.
    pub from: u64,
}

/// How records are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line each.
    Human,
    /// One JSON object each.
    Json,
}

/// Why printing stopped.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// The log cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output is closed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// A record has no JSON form.
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Prints what is in the directory or file at `path`.
pub fn show(path: &Path, filter: &Filter, form: Form, out: &mut dyn Write) -> Result<(), ShowError> {
    walk(path, filter.from, &mut |record, event| {
        print(record, event, filter, form, out)
    })
}

fn print(
    record: &Record,
    event: Option<&Event>,
    filter: &Filter,
    form: Form,
    out: &mut dyn Write,
) -> Result<(), ShowError> {
    if !filter.matches(record, event) {
        return Ok(());
    }
    match form {
        Form::Human => writeln!(out, "{}", line(record, event))?,
        Form::Json => {
            serde_json::to_writer(&mut *out, record)?;
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A record on one line: its index, when it was, and what.
pub fn line(record: &Record, event: Option<&Event>) -> String {
    let wall_ns = event.map_or(record.received_wall_ns, |event| event.wall_ns);
    format!("{} {} {}", record.index, time(wall_ns), words(record, event))
}

impl Filter {
    /// Whether a record is shown.
    pub fn matches(&self, record: &Record, event: Option<&Event>) -> bool {
        let kind = match (event, &record.body) {
            (Some(event), _) => json::name::<pb::Kind>(event.kind),
            (None, body) => record_kind(body.as_ref()).to_owned(),
        };
        let verdict = event.and_then(|event| event.verdict.as_ref());
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.verdicts.is_empty()
                || verdict
                    .is_some_and(|verdict| self.verdicts.contains(&json::name::<VerdictKind>(verdict.kind))))
            && (!self.alerts || is_alert(record, event))
    }
}

/// Whether somebody should look at a record.
pub fn is_alert(record: &Record, event: Option<&Event>) -> bool {
    match &record.body {
        Some(Body::Event(_)) => event.is_none_or(id::is_alert),
        Some(Body::Rejected(_) | Body::Gap(_) | Body::Refused(_) | Body::Recovered(_)) => true,
        Some(Body::BaselineDecision(decision)) => !decision.refused.is_empty(),
        Some(Body::WitnessQuorum(quorum)) => !quorum.reached,
        Some(Body::CheckpointConflict(_) | Body::ClockStep(_)) => true,
        Some(Body::Administration(done)) => !done.refused.is_empty(),
        Some(Body::ArchiveState(state)) => !state.working,
        Some(Body::StorageState(state)) => state.low,
        _ => false,
    }
}

/// Name of what a record is.
pub fn record_kind(body: Option<&Body>) -> &'static str {
    match body {
        Some(Body::Header(_)) => "header",
        Some(Body::Event(_)) => "event",
        Some(Body::Rejected(_)) => "rejected",
        Some(Body::Gap(_)) => "gap",
        Some(Body::Refused(_)) => "refused",
        Some(Body::Started(_)) => "started",
        Some(Body::Stopped(_)) => "stopped",
        Some(Body::Recovered(_)) => "recovered",
        Some(Body::BaselineDecision(_)) => "baseline_decision",
        Some(Body::WitnessQuorum(_)) => "witness_quorum",
        Some(Body::CheckpointConflict(_)) => "checkpoint_conflict",
        Some(Body::BatchHeads(_)) => "batch_heads",
        Some(Body::NodeKey(_)) => "node_key",
        Some(Body::Enrolled(_)) => "enrolled",
        Some(Body::HandedOver(_)) => "handed_over",
        Some(Body::ClockState(_)) => "clock_state",
        Some(Body::ClockStep(_)) => "clock_step",
        Some(Body::Administration(_)) => "administration",
        Some(Body::Removed(_)) => "removed",
        Some(Body::Shredded(_)) => "shredded",
        Some(Body::HoldPlaced(_)) => "hold_placed",
        Some(Body::HoldReleased(_)) => "hold_released",
        Some(Body::ArchiveState(_)) => "archive_state",
        Some(Body::StorageState(_)) => "storage_state",
        Some(Body::KeyRotation(_)) => "key_rotation",
        Some(Body::TokenMade(_)) => "token_made",
        None => "unknown",
    }
}

/// A record as one sentence.
pub fn words(record: &Record, event: Option<&Event>) -> String {
    match (&record.body, event) {
        (_, Some(event)) => describe::sentence(event),
        (Some(Body::Event(bytes)), None) => {
            format!("an event of {} bytes that cannot be decoded", bytes.len())
        }
        (Some(Body::Header(header)), _) => {
            format!(
                "file begun by collector {}, format {}",
                header.collector_version, header.format
            )
        }
        (Some(Body::Rejected(rejected)), _) => {
            let claim = rejected
                .claimed
                .as_ref()
                .map(|id| format!(" which claims to be {id}"));
            format!(
                "rejected an event of node {}{}: {}: {}",
                rejected.node,
                claim.unwrap_or_default(),
                json::name::<pb::RejectionReason>(rejected.reason).replace('_', " "),
                rejected.detail
            )
        }
        (Some(Body::Gap(gap)), _) => format!(
            "sequences {} to {} of node {} epoch {:016x} were not delivered",
            gap.first_sequence, gap.last_sequence, gap.node, gap.epoch
        ),
        (Some(Body::Refused(refused)), _) => {
            let times = if refused.count == 1 {
                String::new()
            } else {
                format!(" {} times", refused.count)
            };
            let node = if refused.node.is_empty() {
                String::new()
            } else {
                format!(" (node {})", refused.node)
            };
            format!("refused {}{node}{times}: {}", refused.peer, refused.reason)
        }
        (Some(Body::Started(started)), _) => format!("collector {} started", started.collector_version),
        (Some(Body::Stopped(stopped)), _) => format!("collector stopped: {}", stopped.reason),
        (Some(Body::Recovered(cut)), _) => format!(
            "cut {} bytes of an unfinished write off {} at byte {} after a crash; they had not been acknowledged",
            cut.bytes_dropped, cut.file, cut.offset
        ),
        (Some(Body::BaselineDecision(decision)), _) => describe::decision(decision),
        (Some(Body::BatchHeads(heads)), _) => describe::heads(&heads.heads),
        (Some(Body::WitnessQuorum(quorum)), _) if quorum.reached => {
            "witnesses cosign the checkpoints again".to_owned()
        }
        (Some(Body::WitnessQuorum(quorum)), _) => {
            let since = match quorum.since_wall_ns {
                0 => "the start".to_owned(),
                since => time(since),
            };
            format!(
                "no quorum of witnesses cosigned a checkpoint since {since}: {}",
                quorum.detail
            )
        }
        (Some(Body::CheckpointConflict(conflict)), _) => {
            format!(
                "{} remembers another audit log: {}",
                conflict.who, conflict.detail
            )
        }
        (Some(Body::KeyRotation(rotation)), _) => format!(
            "the key of this log is being changed: {} is followed by {}",
            rotation.old, rotation.new
        ),
        (Some(Body::TokenMade(token)), _) => format!(
            "the token {} was made at {}, for node {} to enrol until {}",
            token.id,
            time(token.made_wall_ns),
            token.node,
            time(token.expires_wall_ns)
        ),
        (Some(Body::Enrolled(enrolled)), _) => format!(
            "issued certificate {} for node {} to {} ({})",
            enrolled.serial, enrolled.node, enrolled.peer, enrolled.how
        ),
        (Some(Body::HandedOver(handed)), _) => describe::handed_over(handed),
        (Some(Body::NodeKey(key)), _) => {
            format!("node {} signs with the key {}", key.node, Hex(&key.key))
        }
        (Some(Body::ClockState(state)), _) => describe::clock_state("the collector", state),
        (Some(Body::ClockStep(step)), _) => format!(
            "the clock of the collector was set {} by {:?}",
            if step.step_ns < 0 { "back" } else { "forward" },
            std::time::Duration::from_nanos(step.step_ns.unsigned_abs())
        ),
        (Some(Body::Administration(done)), _) => describe::administration(done),
        (Some(Body::Removed(removed)), _) => format!(
            "segment {} (records {} to {}) is removed from the disk: {}",
            removed.segment,
            removed.first_record,
            removed.last_record,
            removed
                .tombstone
                .lines()
                .find_map(|line| line.strip_prefix("reason "))
                .unwrap_or("no reason is stated")
        ),
        (Some(Body::Shredded(shredded)), _) => format!(
            "{} (uid {}) has the key of segment {} (records {} to {}) destroyed, without which its archive file cannot \
             be read: {}",
            shredded.who,
            shredded.uid,
            shredded.segment,
            shredded.first_record,
            shredded.last_record,
            shredded.reason
        ),
        (Some(Body::HoldPlaced(placed)), _) => format!(
            "{} placed hold {} on {}: {}",
            whose(&placed.who, placed.uid, &placed.actor),
            placed.id,
            scope(placed.scope.as_ref()),
            placed.reason
        ),
        (Some(Body::HoldReleased(released)), _) => format!(
            "{} released hold {}: {}",
            whose(&released.who, released.uid, &released.actor),
            released.id,
            released.reason
        ),
        (Some(Body::StorageState(state)), _) => format!(
            "{} % of the disk of {} are used, {} bytes are left{}",
            state.used_percent,
            state.place,
            state.free_bytes,
            if state.low { "" } else { ": enough again" }
        ),
        (Some(Body::ArchiveState(state)), _) if state.working => {
            format!("sealed segments are archived again in {}", state.place)
        }
        (Some(Body::ArchiveState(state)), _) => format!(
            "segment {} and what follows it cannot be archived in {}: {}",
            state.segment, state.place, state.detail
        ),
        (None, _) => "a record that only a newer norma-collector knows".to_owned(),
    }
}

/// A time in nanoseconds since 1970 as people read it.
pub fn time(wall_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(wall_ns))
        .map_or_else(|_| wall_ns.to_string(), |time| format!("{time:.6}"))
}
