//! How many records each operation makes: that what is called delivered is delivered, and once.

use super::cases::Case;
use super::counters::Counters;
use super::stage::Stage;
use anyhow::Result;
use std::collections::BTreeMap;

/// Enough that what else the machine does is a small part of it.
const OPERATIONS: u64 = 1_000;
/// Less than this for each operation is what else the machine does.
const NOISE: f64 = 0.05;

/// Records for each operation, by kind.
pub type Records = BTreeMap<String, f64>;

/// Runs each case a known number of times, with the agent running that knows the container.
pub fn measure(stage: &mut Stage<'_>, cases: &[&Case], tick: &mut dyn FnMut(&str)) -> Result<Vec<Records>> {
    let mut before = Counters::read(stage.agent())?;
    let mut all = Vec::new();
    for case in cases {
        tick(&format!("counting the events of {}", case.name()));
        stage.load(case.place).burst(case.mode, OPERATIONS, 1)?;
        let after = Counters::read(stage.agent())?;
        let records = after
            .since(&before)
            .kinds
            .into_iter()
            .filter_map(|(kind, count)| {
                let each = count.seen as f64 / OPERATIONS as f64;
                (each >= NOISE).then_some((kind, each))
            });
        all.push(records.collect());
        before = after;
    }
    Ok(all)
}
