//! What watching costs the watched program: pairs of the same load without and with a watcher.
//!
//! The order of a pair alternates (without, with, with, without, …), so that what drifts weighs on both, and
//! so that one start of the watcher serves two pairs. Within a phase the modes take turns in short blocks,
//! and the median of a mode's blocks stands for it: a neighbour that disturbs one block of many is
//! outvoted.

use super::cases::{Case, Place};
use super::neighbours;
use super::stage::Stage;
use super::statistics::Spread;
use anyhow::{Context as _, Result};
use std::time::Duration;

/// One block: long against a clock tick, short against what else happens on a machine.
const BLOCK: Duration = Duration::from_millis(20);
/// Blocks of a mode in a phase.
const ROUNDS: u64 = 10;

/// Starts and ends what watches.
pub trait Watcher {
    /// Starts it, and returns when it watches.
    fn start(&mut self, stage: &mut Stage<'_>) -> Result<()>;
    /// Ends it.
    fn stop(&mut self, stage: &mut Stage<'_>) -> Result<()>;
    /// Its process, while it runs.
    fn pid(&self, stage: &mut Stage<'_>) -> Result<u32>;
}

/// Norma's own agent.
pub struct Norma;

impl Watcher for Norma {
    fn start(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        stage.start_agent()?;
        stage.repeat_until_known()
    }

    fn stop(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        stage.stop_agent()
    }

    fn pid(&self, stage: &mut Stage<'_>) -> Result<u32> {
        Ok(stage.agent().daemon()?.pid())
    }
}

/// Processor time per operation of each case, in nanoseconds.
pub type Phase = Vec<f64>;

/// The phases of all pairs, in the order in which they ran.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Without the watcher.
    pub without: Vec<Phase>,
    /// With it.
    pub with: Vec<Phase>,
    /// Phases that were taken although another program watched.
    pub disturbed: usize,
}

/// A case's result.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Without the watcher.
    pub base: Spread,
    /// With it less without it, of each pair.
    pub added: Spread,
    /// Differences of neighbouring phases that were both without it: what the measurement cannot tell.
    pub noise: Option<Spread>,
}

impl Pairs {
    /// Measures them.
    pub fn measure(
        stage: &mut Stage<'_>,
        watcher: &mut dyn Watcher,
        cases: &[&Case],
        pairs: usize,
        tick: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let mut this = Self::default();
        let mut running = false;
        for number in 0..pairs {
            for with in [number % 2 == 1, number % 2 == 0] {
                if with != running {
                    tick(&format!(
                        "pair {} of {pairs}: {} the watcher",
                        number + 1,
                        if with { "starting" } else { "stopping" }
                    ));
                    if with {
                        watcher.start(stage)?;
                    } else {
                        watcher.stop(stage)?;
                    }
                    running = with;
                }
                tick(&format!(
                    "pair {} of {pairs}: {}",
                    number + 1,
                    if with { "with" } else { "without" }
                ));
                let own: Vec<u32> = if with {
                    vec![watcher.pid(stage)?]
                } else {
                    Vec::new()
                };
                let (phase, alone) = alone(stage, cases, &own, tick)?;
                this.disturbed += usize::from(!alone);
                if with { &mut this.with } else { &mut this.without }.push(phase);
            }
        }
        if running {
            watcher.stop(stage)?;
        }
        Ok(this)
    }

    /// The result of the case at `index`.
    pub fn cost(&self, index: usize) -> Option<Cost> {
        let column = |phases: &[Phase]| -> Vec<f64> {
            phases
                .iter()
                .filter_map(|phase| phase.get(index))
                .copied()
                .collect()
        };
        let (without, with) = (column(&self.without), column(&self.with));
        let added = with
            .iter()
            .zip(&without)
            .map(|(with, without)| with - without)
            .collect();
        let noise = without.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Some(Cost {
            base: Spread::of(without)?,
            added: Spread::of(added)?,
            noise: Spread::of(noise),
        })
    }
}

/// A phase beside which nothing else watched, and whether that could be had.
fn alone(
    stage: &Stage<'_>,
    cases: &[&Case],
    own: &[u32],
    tick: &mut dyn FnMut(&str),
) -> Result<(Phase, bool)> {
    loop {
        let quiet = neighbours::wait(own, tick)?;
        let phase = phase(stage, cases)?;
        // One that came and went in the meantime is not noticed; the spread shows it.
        if !quiet || neighbours::watching(own).is_empty() {
            return Ok((phase, quiet));
        }
    }
}

/// Every case once.
fn phase(stage: &Stage<'_>, cases: &[&Case]) -> Result<Phase> {
    let mut costs = vec![f64::NAN; cases.len()];
    for place in [Place::Container, Place::Host] {
        let here = || cases.iter().enumerate().filter(|(_, case)| case.place == place);
        let modes: Vec<&str> = here()
            .flat_map(|(_, case)| std::iter::repeat_n(case.mode, case.weight))
            .collect();
        if modes.is_empty() {
            continue;
        }
        let blocks = stage.load(place).blocks(ROUNDS, BLOCK, &modes)?;
        for (index, case) in here() {
            let of_mode = blocks.iter().filter(|block| block.mode == case.mode);
            costs[index] = Spread::of(of_mode.map(super::load::Block::cost).collect())
                .with_context(|| format!("no block of {}", case.mode))?
                .median;
        }
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::Pairs;

    #[test]
    fn pairs_are_compared_one_by_one() {
        let pairs = Pairs {
            without: vec![vec![100.0], vec![120.0], vec![90.0]],
            with: vec![vec![110.0], vec![128.0], vec![102.0]],
            disturbed: 0,
        };
        let cost = pairs.cost(0).unwrap();
        assert_eq!(cost.added.values, [10.0, 8.0, 12.0]);
        assert_eq!(cost.added.median, 10.0);
        assert_eq!(cost.noise.unwrap().values, [20.0, -30.0]);
        assert!(pairs.cost(1).is_none());
    }
}
