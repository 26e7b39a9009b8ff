//! What the agent tells scrapers: the table of its metrics, and where their values come from.
//!
//! All of it is of the snapshot that the status file shows, and as old as that: a scrape costs the pipeline nothing.

use crate::pipeline::JudgeTimes;
use crate::sensor::CoverageReport;
use crate::ship::{SharedStatus, ShipStatus};
use crate::telemetry::{SharedSnapshot, Snapshot};
use norma_metrics::{Kind, Metric, PROCESS, Page, tell_process};
use std::sync::{Arc, PoisonError};

/// Most baselines that are told of; how many are not, is a metric.
const BASELINES_MAX: usize = 200;
/// Longest part of a revision's name that is told: the beginning of its image's digest.
const REVISION_MAX: usize = 24;

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

const OF_BASELINE: &[&str] = &["workload", "revision"];
const OF_FIELD: &[&str] = &["workload", "revision", "field"];

/// All of them; docs/metrics.md is this table in words.
pub const TABLE: &[Metric] = &[
    gauge("norma_agent_info", &["node", "version"], "Always 1"),
    gauge(
        "norma_agent_coverage",
        &["capability", "tier"],
        "1 where the sensor has this capability in full at this tier, 0 where something of it is missing; tier `none` where it is not had",
    ),
    counter(
        "norma_agent_kernel_records",
        &["kind"],
        "Records that the kernel side made, delivered or not",
    ),
    counter(
        "norma_agent_kernel_lost",
        &["kind"],
        "Records that found their ring full",
    ),
    counter(
        "norma_agent_kernel_undescribed",
        &["kind"],
        "Acts that the kernel side could not describe",
    ),
    counter(
        "norma_agent_kernel_passed_over",
        &["kind"],
        "Most acts that no program can have seen, because the kernel was in the middle of it",
    ),
    counter(
        "norma_agent_kernel_recognised",
        &["kind"],
        "Acts that the kernel side recognised as known and counted",
    ),
    gauge(
        "norma_agent_known_entries",
        &[],
        "Acts that the kernel side recognises",
    ),
    gauge("norma_agent_known_room", &[], "How many it has room for"),
    counter(
        "norma_agent_known_refused",
        &[],
        "Acts that found no room there, and are reported each time",
    ),
    counter(
        "norma_agent_records_delivered",
        &[],
        "Records that the pipeline took in",
    ),
    counter("norma_agent_alerts", &[], "Alerts raised"),
    Metric {
        name: "norma_agent_judge_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "How long judging an event took",
    },
    gauge("norma_agent_containers", &[], "Containers that are known"),
    gauge(
        "norma_agent_runtime_answers",
        &["runtime"],
        "1 while the container runtime answers",
    ),
    gauge("norma_agent_outbox_bytes", &[], "Bytes of the outbox on disk"),
    gauge(
        "norma_agent_outbox_events",
        &[],
        "Events that the collector has not acknowledged",
    ),
    gauge(
        "norma_agent_outbox_refused",
        &[],
        "Events that found no room in the outbox and were not reported as lost yet",
    ),
    gauge(
        "norma_agent_outbox_oldest_seconds",
        &[],
        "Age of the oldest event that the collector has not acknowledged; 0 where it has all",
    ),
    gauge(
        "norma_agent_ring_fill_bytes",
        &["ring"],
        "The most bytes that one reading found in this ring of the kernel side, in the last second",
    ),
    gauge(
        "norma_agent_ring_size_bytes",
        &["ring"],
        "Bytes that this ring has room for",
    ),
    gauge("norma_agent_connected", &[], "1 while a collector takes events"),
    counter(
        "norma_agent_sessions",
        &[],
        "Streams to a collector that were opened",
    ),
    counter(
        "norma_agent_rejected",
        &[],
        "Events that the collector refused to take as events",
    ),
    counter(
        "norma_agent_collectors_left",
        &["reason"],
        "Collectors that were left although they could be reached: `busy` could not store for long, `silent` acknowledged nothing and did not say why",
    ),
    Metric {
        name: "norma_agent_acknowledge_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "From the sending of events until a collector has them on stable storage",
    },
    gauge("norma_agent_baselines", &[], "Baselines that are kept"),
    gauge(
        "norma_agent_baselines_untold",
        &[],
        "Baselines that the following metrics leave out, since there are more than 200",
    ),
    gauge(
        "norma_agent_baseline_ready",
        OF_BASELINE,
        "1 where every field is judged, or open",
    ),
    gauge(
        "norma_agent_baseline_facts",
        OF_BASELINE,
        "Behaviours that are known",
    ),
    gauge(
        "norma_agent_baseline_replicas",
        OF_BASELINE,
        "Replicas that run, in the whole fleet where that is known",
    ),
    gauge(
        "norma_agent_baseline_overflowed",
        OF_BASELINE,
        "1 where there was no room for all that was seen",
    ),
    gauge(
        "norma_agent_field_state",
        &["workload", "revision", "field", "state"],
        "1 for the state that the field is in: learning, ready or open",
    ),
    gauge(
        "norma_agent_field_new_per_day",
        OF_FIELD,
        "New behaviours that are to be expected in the next day",
    ),
    gauge(
        "norma_agent_field_new_per_day_low",
        OF_FIELD,
        "The lower bound of that, with 95 % confidence",
    ),
    gauge(
        "norma_agent_field_new_per_day_high",
        OF_FIELD,
        "The upper bound of that",
    ),
    gauge(
        "norma_agent_field_lost",
        OF_FIELD,
        "Records of kinds that the field is learned of that found their ring full while it was learned",
    ),
    gauge(
        "norma_agent_field_units_with_losses",
        OF_FIELD,
        "Short sampling units in which such were lost: they are not counted as evidence",
    ),
    PROCESS[0],
    PROCESS[1],
];

/// Where values come from.
pub struct Sources {
    /// The node's name.
    pub node: String,
    /// What is seen.
    pub coverage: CoverageReport,
    /// What the status file shows.
    pub snapshot: SharedSnapshot,
    /// How shipping goes, where there is a collector.
    pub shipping: Option<SharedStatus>,
    /// How long judging takes.
    pub judging: Arc<JudgeTimes>,
}

impl Sources {
    /// The page as it is now.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = Page::new(TABLE);
        page.tell("norma_agent_info", &[&self.node, env!("CARGO_PKG_VERSION")], 1.0);
        for capability in self.coverage.capabilities.iter().filter(|of| of.wanted) {
            let tier = capability
                .tier
                .map_or_else(|| "none".to_owned(), |tier| tier.to_string());
            let complete = capability.tier.is_some() && capability.missing.is_empty();
            page.tell("norma_agent_coverage", &[capability.name, &tier], one(complete));
        }
        page.tell_histogram("norma_agent_judge_seconds", &self.judging);
        if let Some(snapshot) = &*self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) {
            tell_snapshot(&mut page, snapshot);
        }
        if let Some(shipping) = &self.shipping {
            let status = shipping.lock().unwrap_or_else(PoisonError::into_inner).clone();
            tell_shipping(&mut page, &status);
        }
        tell_process(&mut page);
        page.text()
    }
}

fn one(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn tell_shipping(page: &mut Page, status: &ShipStatus) {
    page.tell_histogram("norma_agent_acknowledge_seconds", &status.answers);
    page.tell("norma_agent_connected", &[], one(status.connected));
    page.tell("norma_agent_sessions", &[], status.sessions as f64);
    page.tell("norma_agent_rejected", &[], status.rejected as f64);
    for (reason, count) in [("busy", status.left_busy), ("silent", status.left_silent)] {
        page.tell("norma_agent_collectors_left", &[reason], count as f64);
    }
}

fn tell_snapshot(page: &mut Page, snapshot: &Snapshot) {
    for (kind, totals) in &snapshot.kernel {
        for (name, count) in [
            ("norma_agent_kernel_records", totals.seen),
            ("norma_agent_kernel_lost", totals.lost),
            ("norma_agent_kernel_undescribed", totals.failed),
            ("norma_agent_kernel_passed_over", totals.passed_over),
            ("norma_agent_kernel_recognised", totals.recognised),
        ] {
            page.tell(name, &[kind], count as f64);
        }
    }
    page.tell("norma_agent_known_entries", &[], snapshot.known.entries as f64);
    page.tell("norma_agent_known_room", &[], snapshot.known.room as f64);
    page.tell("norma_agent_known_refused", &[], snapshot.known.refused as f64);
    page.tell("norma_agent_records_delivered", &[], snapshot.delivered as f64);
    page.tell("norma_agent_alerts", &[], snapshot.alerts as f64);
    page.tell("norma_agent_containers", &[], snapshot.containers.len() as f64);
    if let Some(runtime) = &snapshot.runtime {
        page.tell(
            "norma_agent_runtime_answers",
            &[&runtime.name],
            one(runtime.answers),
        );
    }
    for ring in &snapshot.rings {
        page.tell("norma_agent_ring_fill_bytes", &[&ring.name], ring.most as f64);
        page.tell("norma_agent_ring_size_bytes", &[&ring.name], ring.size as f64);
    }
    if let Some(outbox) = &snapshot.outbox {
        let waiting = (outbox.next_sequence.saturating_sub(1)).saturating_sub(outbox.acknowledged);
        page.tell("norma_agent_outbox_oldest_seconds", &[], outbox.oldest_seconds);
        page.tell("norma_agent_outbox_bytes", &[], outbox.bytes as f64);
        page.tell("norma_agent_outbox_events", &[], waiting as f64);
        page.tell("norma_agent_outbox_refused", &[], outbox.refused as f64);
    }
    tell_baselines(page, snapshot);
}

fn tell_baselines(page: &mut Page, snapshot: &Snapshot) {
    // What runs comes first.
    let mut baselines: Vec<_> = snapshot.baselines.iter().collect();
    baselines.sort_by_key(|baseline| baseline.replicas == 0);
    let untold = baselines.len().saturating_sub(BASELINES_MAX);
    page.tell("norma_agent_baselines", &[], baselines.len() as f64);
    page.tell("norma_agent_baselines_untold", &[], untold as f64);
    let mut told = std::collections::BTreeSet::new();
    for baseline in baselines.into_iter().take(BASELINES_MAX) {
        let revision: String = baseline.revision.chars().take(REVISION_MAX).collect();
        // The same image with another command has the same beginning.
        if !told.insert((&baseline.workload, revision.clone())) {
            continue;
        }
        let of: [&str; 2] = [&baseline.workload, &revision];
        page.tell("norma_agent_baseline_ready", &of, one(baseline.ready));
        page.tell("norma_agent_baseline_facts", &of, baseline.facts as f64);
        page.tell("norma_agent_baseline_replicas", &of, f64::from(baseline.replicas));
        page.tell("norma_agent_baseline_overflowed", &of, one(baseline.overflowed));
        for field in &baseline.fields {
            let [workload, revision] = of;
            page.tell(
                "norma_agent_field_state",
                &[workload, revision, field.field, state(&field.state)],
                1.0,
            );
            let of_field = [workload, revision, field.field];
            page.tell("norma_agent_field_lost", &of_field, field.lost as f64);
            page.tell(
                "norma_agent_field_units_with_losses",
                &of_field,
                field.units_with_losses as f64,
            );
            if let Some([point, low, high]) = field.expected_per_day {
                page.tell("norma_agent_field_new_per_day", &of_field, point);
                page.tell("norma_agent_field_new_per_day_low", &of_field, low);
                page.tell("norma_agent_field_new_per_day_high", &of_field, high);
            }
        }
    }
}

/// The state of a field by its name, of its words.
fn state(words: &str) -> &'static str {
    ["ready", "open"]
        .into_iter()
        .find(|state| words.starts_with(state))
        .unwrap_or("learning")
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
