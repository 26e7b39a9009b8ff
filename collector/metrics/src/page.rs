//! What a scraper reads.

use crate::histogram::{Counts, Histogram};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use std::fmt::Write as _;

/// How a metric is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows while the program runs; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Durations by buckets, in seconds.
    Histogram,
}

/// A metric of a table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name; for a counter without `_total`.
    pub name: &'static str,
    /// How it is read.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, without a full stop.
    pub help: &'static str,
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Histogram(Counts),
}

#[derive(Clone, Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

/// Values of the metrics of one table.
#[derive(Debug)]
pub struct Page {
    metrics: &'static [Metric],
    samples: Vec<Vec<Sample>>,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(metrics: &'static [Metric]) -> Self {
        Self {
            metrics,
            samples: vec![Vec::new(); metrics.len()],
        }
    }

    /// Tells a value. A name or a number of labels that the table does not have tells nothing, which tests of the
    /// program find.
    pub fn tell(&mut self, name: &str, labels: &[&str], value: f64) {
        self.put(name, labels, Value::Number(value));
    }

    /// Tells durations.
    pub fn tell_histogram(&mut self, name: &str, histogram: &Histogram) {
        self.put(name, &[], Value::Histogram(histogram.counts()));
    }

    fn put(&mut self, name: &str, labels: &[&str], value: Value) {
        let Some(index) = self.metrics.iter().position(|metric| metric.name == name) else {
            debug_assert!(false, "{name} is in no table");
            return;
        };
        let names = self.metrics[index].labels;
        debug_assert_eq!(names.len(), labels.len(), "{name}");
        let labels = names
            .iter()
            .zip(labels)
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        self.samples[index].push(Sample { labels, value });
    }

    /// The page as text.
    #[must_use]
    pub fn text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (metric, samples) in self.metrics.iter().zip(&self.samples) {
            if samples.is_empty() {
                continue;
            }
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in samples {
                if sample.labels.is_empty() {
                    encode(&mut family, metric.kind, &sample.value)?;
                } else {
                    encode(
                        &mut family.encode_family(&sample.labels)?,
                        metric.kind,
                        &sample.value,
                    )?;
                }
            }
        }
        Ok(())
    }
}

fn encode(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), fmt::Error> {
    match (value, kind) {
        (Value::Number(value), Kind::Counter) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Value::Number(value), _) => encoder.encode_gauge(value),
        (Value::Histogram(counts), _) => {
            encoder.encode_histogram::<NoLabelSet>(counts.sum, counts.count, &counts.buckets, None)
        }
    }
}

/// A table as rows of a document.
#[must_use]
pub fn markdown(metrics: &[Metric]) -> String {
    let mut text = "| Metric | Labels | What it tells |\n|---|---|---|\n".to_owned();
    for metric in metrics {
        let suffix = if metric.kind == Kind::Counter {
            "_total"
        } else {
            ""
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "| `{}{suffix}` | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TABLE: &[Metric] = &[
        Metric {
            name: "test_events",
            kind: Kind::Counter,
            labels: &["kind"],
            help: "Events by kind",
        },
        Metric {
            name: "test_silent",
            kind: Kind::Gauge,
            labels: &[],
            help: "Nothing",
        },
        Metric {
            name: "test_seconds",
            kind: Kind::Histogram,
            labels: &[],
            help: "Durations",
        },
    ];

    #[test]
    fn a_page_has_what_was_told_and_escapes_names_that_others_chose() {
        let mut page = Page::new(TABLE);
        page.tell("test_events", &["a\"b\nc"], 3.0);
        let histogram = Histogram::default();
        histogram.add(Duration::from_millis(3));
        histogram.add(Duration::from_secs(60));
        page.tell_histogram("test_seconds", &histogram);
        let text = page.text();
        assert!(text.contains("# TYPE test_events counter\n"), "{text}");
        assert!(
            text.contains("test_events_total{kind=\"a\\\"b\\nc\"} 3.0\n"),
            "{text}"
        );
        assert!(!text.contains("test_silent"), "{text}");
        assert!(text.contains("test_seconds_bucket{le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("test_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(
            text.contains("test_seconds_count 2\n") && text.ends_with("# EOF\n"),
            "{text}"
        );
        assert!(markdown(TABLE).contains("| `test_events_total` | `kind` | Events by kind |"));
    }
}
