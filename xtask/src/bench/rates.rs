//! What the agent itself needs, at rates that nodes have and at the highest.

use super::counters::Counters;
use super::stage::Stage;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

/// Mode and operations in a second; `None` for as many as one thread can.
///
/// Opens that the baseline knows are counted by the kernel side; those of a file without a name are judged and
/// counted; each connection is judged, stored and shipped.
const RATES: &[(&str, Option<u64>)] = &[
    ("open", Some(0)),
    ("open", Some(1_000)),
    ("open", Some(10_000)),
    ("open", Some(100_000)),
    ("open", None),
    ("open-nameless", Some(100_000)),
    ("open-nameless", None),
    ("tcp", Some(1_000)),
    ("tcp", Some(10_000)),
];

/// The agent at one rate.
#[derive(Clone, Debug)]
pub struct Rate {
    /// Mode of `norma-load`.
    pub mode: &'static str,
    /// Operations in a second that were wanted.
    pub wanted: Option<u64>,
    /// Records that the kernel side made in a second.
    pub records: f64,
    /// Records that could not be delivered.
    pub lost: u64,
    /// Share of one processor.
    pub share: f64,
    /// Processor time of the agent for each record that it read, in nanoseconds.
    pub each_ns: f64,
    /// Resident memory in bytes, at the end.
    pub resident: u64,
}

/// Measures all, with the agent running.
pub fn measure(stage: &mut Stage<'_>, tick: &mut dyn FnMut(&str)) -> Result<Vec<Rate>> {
    let mut all = Vec::new();
    for (mode, wanted) in RATES {
        tick(&format!("the agent at {} {mode} in a second", number(*wanted)));
        let before = Counters::read(stage.agent())?;
        let (cpu, started) = (stage.agent().daemon()?.cpu_time()?, Instant::now());
        match wanted {
            Some(rate) => drop(stage.container.pace(mode, *rate, TIME)?),
            None => drop(stage.container.blocks(1, TIME, &[mode])?),
        }
        let (elapsed, used) = (started.elapsed(), stage.agent().daemon()?.cpu_time()? - cpu);
        let since = Counters::read(stage.agent())?.since(&before);
        all.push(Rate {
            mode,
            wanted: *wanted,
            records: since.all().seen as f64 / elapsed.as_secs_f64(),
            lost: since.all().lost,
            share: used.as_secs_f64() / elapsed.as_secs_f64(),
            each_ns: used.as_nanos() as f64 / since.read.max(1) as f64,
            resident: stage.agent().daemon()?.resident_bytes()?,
        });
    }
    Ok(all)
}

/// A rate in words.
pub fn number(wanted: Option<u64>) -> String {
    match wanted {
        Some(0) => "no".to_owned(),
        Some(rate) => rate.to_string(),
        None => "as many as can be".to_owned(),
    }
}

impl Rate {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "mode": self.mode, "wanted_per_second": self.wanted, "records_per_second": self.records,
            "lost": self.lost, "cpu_share": self.share, "cpu_ns_per_record": self.each_ns,
            "resident_bytes": self.resident,
        })
    }
}
