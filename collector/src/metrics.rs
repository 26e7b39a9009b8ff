//! What the collector tells scrapers: the table of its metrics, and where their values come from.

use crate::archive::task::Backlog;
use crate::audit::AuditLog;
use crate::ingest::counts::{Counts, get};
use crate::sinks;
use crate::storage;
use norma_metrics::{Kind, Metric, PROCESS, Page, tell_process};
use std::path::PathBuf;
use std::sync::Arc;

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        labels,
        help,
    }
}

/// All of them; docs/metrics.md is this table in words.
pub const TABLE: &[Metric] = &[
    gauge(
        "norma_collector_info",
        &["version", "log"],
        "Always 1; `log` is the name of the audit log",
    ),
    gauge("norma_collector_streams", &[], "Agents' streams that are open"),
    counter("norma_collector_events", &[], "Events that were taken in"),
    counter("norma_collector_event_bytes", &[], "Their bytes"),
    counter(
        "norma_collector_duplicates",
        &[],
        "Events that came again and were not stored again",
    ),
    counter(
        "norma_collector_rejected",
        &["reason"],
        "Events that were not taken as events",
    ),
    counter(
        "norma_collector_refused_clients",
        &[],
        "Times that a client was refused",
    ),
    counter(
        "norma_collector_busy",
        &[],
        "Times that agents had to wait, because nothing could be stored",
    ),
    Metric {
        name: "norma_collector_store_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "From the arrival of events until they are durable and acknowledged",
    },
    gauge(
        "norma_collector_log_records",
        &[],
        "Index of the newest durable record",
    ),
    gauge(
        "norma_collector_checkpoint_records",
        &[],
        "Records under the newest checkpoint",
    ),
    gauge(
        "norma_collector_key_signs",
        &[],
        "1 where the log's key signed when it was asked last, 0 where it did not",
    ),
    counter(
        "norma_collector_unsigned_checkpoints",
        &[],
        "Times that the log's key did not sign a checkpoint",
    ),
    gauge(
        "norma_collector_disk_used_percent",
        &[],
        "How full the audit log's file system is",
    ),
    gauge("norma_collector_disk_free_bytes", &[], "Room that is left there"),
    gauge(
        "norma_collector_sink_lag_records",
        &["sink"],
        "Records that a sink has not delivered yet",
    ),
    gauge(
        "norma_collector_archive_waiting_segments",
        &[],
        "Sealed segments that are not archived yet, where there is an archive",
    ),
    PROCESS[0],
    PROCESS[1],
];

/// Where values come from.
#[derive(Debug)]
pub struct Sources {
    /// The audit log.
    pub log: AuditLog,
    /// Where it lies.
    pub directory: PathBuf,
    /// What was taken in.
    pub counts: Arc<Counts>,
    /// How far sinks are.
    pub delivered: sinks::Delivered,
    /// What is still to be archived.
    pub backlog: Option<Backlog>,
}

impl Sources {
    /// The page as it is now.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = Page::new(TABLE);
        let promises = self.log.promises();
        let version = env!("CARGO_PKG_VERSION");
        page.tell("norma_collector_info", &[version, promises.key().name()], 1.0);
        self.tell_ingest(&mut page);
        let head = self.log.head().borrow().index;
        page.tell("norma_collector_log_records", &[], head as f64);
        let promised = promises.newest().map_or(0, |(checkpoint, _)| checkpoint.size);
        page.tell("norma_collector_checkpoint_records", &[], promised as f64);
        let signing = self.log.signing().borrow().clone();
        let signs = f64::from(u8::from(signing.fault.is_none()));
        page.tell("norma_collector_key_signs", &[], signs);
        page.tell(
            "norma_collector_unsigned_checkpoints",
            &[],
            signing.failures as f64,
        );
        for (sink, delivered) in self.delivered.each() {
            let lag = head.saturating_sub(delivered);
            page.tell("norma_collector_sink_lag_records", &[&sink], lag as f64);
        }
        if let Some(backlog) = &self.backlog {
            let waiting = backlog.segments();
            page.tell("norma_collector_archive_waiting_segments", &[], waiting as f64);
        }
        self.tell_files(&mut page);
        tell_process(&mut page);
        page.text()
    }

    fn tell_ingest(&self, page: &mut Page) {
        let counts = &self.counts;
        for (name, count) in [
            ("norma_collector_streams", &counts.streams),
            ("norma_collector_events", &counts.events),
            ("norma_collector_event_bytes", &counts.bytes),
            ("norma_collector_duplicates", &counts.duplicates),
            ("norma_collector_refused_clients", &counts.refused),
            ("norma_collector_busy", &counts.busy),
        ] {
            page.tell(name, &[], get(count) as f64);
        }
        for (reason, count) in counts.rejected() {
            page.tell("norma_collector_rejected", &[reason], count as f64);
        }
        page.tell_histogram("norma_collector_store_seconds", &counts.stored);
    }

    fn tell_files(&self, page: &mut Page) {
        if let Ok((used, free)) = storage::usage(&self.directory) {
            page.tell("norma_collector_disk_used_percent", &[], used as f64);
            page.tell("norma_collector_disk_free_bytes", &[], free as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let written = std::fs::read_to_string(path).unwrap();
        let table = norma_metrics::markdown(TABLE);
        assert!(
            written.contains(&table),
            "docs/metrics.md has not this table:\n{table}"
        );
    }
}
