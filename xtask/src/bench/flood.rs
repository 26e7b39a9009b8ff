//! More opens than anybody can read, from two threads, with everything at its default: what is delivered
//! and what is counted as lost must add up to what was done.

use super::counters::Counters;
use super::stage::Stage;
use anyhow::Result;
use norma_rig::wait_until;
use serde_json::{Value, json};
use std::time::Duration;

const OPENS: u64 = 1_200_000;
const THREADS: u64 = 2;
const LIMIT: Duration = Duration::from_secs(20);
/// Times that it is tried where more was counted than done: other containers of the machine opened files.
const TRIES: usize = 4;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Opens that were done.
    pub done: u64,
    /// How long that took.
    pub wall: Duration,
    /// Records of opens that reached the ring.
    pub delivered: u64,
    /// Records of opens that found it full.
    pub lost: u64,
    /// Opens that were known and only counted.
    pub recognised: u64,
    /// Every record that was delivered has been read by the agent.
    pub all_read: bool,
    /// Losses that the collector was told of meanwhile.
    pub told: u64,
}

impl Flood {
    /// With the agent running. Nothing is pinned: the threads take both processors from the agent.
    pub fn measure(stage: &mut Stage<'_>) -> Result<Self> {
        stage.placement.anywhere(Some(stage.container.pid()))?;
        let mut flood = Self::once(stage)?;
        for _ in 1..TRIES {
            if flood.sum() <= flood.done {
                break;
            }
            flood = Self::once(stage)?;
        }
        stage.placement.load(stage.container.pid())?;
        Ok(flood)
    }

    fn once(stage: &mut Stage<'_>) -> Result<Self> {
        let told = losses(stage)?;
        let before = Counters::read(stage.agent())?;
        let block = stage.container.burst("open", OPENS, THREADS)?;
        let mut since = Counters::read(stage.agent())?.since(&before);
        // What the agent tells of itself is some time old, and it may have more to read.
        let has_read = |since: &Counters| since.read >= since.all().seen - since.all().lost;
        wait_until("the agent to have read everything", LIMIT, || {
            let open = since.of("open");
            let over = open.seen + open.recognised >= block.operations && has_read(&since);
            if !over {
                since = Counters::read(stage.agent())?.since(&before);
            }
            Ok(over.then_some(()))
        })
        // What is missing then is what is reported.
        .ok();
        let all_read = has_read(&since);
        let opens = since.of("open");
        let all_lost = since.all().lost;
        let told = wait_until("the losses to reach the collector", LIMIT, || {
            let now = losses(stage)? - told;
            Ok((now >= all_lost).then_some(now))
        })
        .unwrap_or(losses(stage)? - told);
        Ok(Self {
            done: block.operations,
            wall: block.wall,
            delivered: opens.seen - opens.lost,
            lost: opens.lost,
            recognised: opens.recognised,
            all_read,
            told,
        })
    }

    /// What became of opens, in any way.
    pub fn sum(&self) -> u64 {
        self.delivered + self.lost + self.recognised
    }

    /// That makes up what was done, exactly.
    pub fn adds_up(&self) -> bool {
        self.sum() == self.done && self.all_read
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "done": self.done, "seconds": self.wall.as_secs_f64(), "threads": THREADS,
            "delivered": self.delivered, "lost": self.lost, "recognised": self.recognised, "adds_up": self.adds_up(),
            "all_delivered_read": self.all_read, "losses_told_to_collector": self.told,
        })
    }
}

/// Records that loss events in the collector's log say were lost in the kernel.
fn losses(stage: &Stage<'_>) -> Result<u64> {
    let events = stage.collector.audit().events_of("loss")?;
    Ok(events.iter().map(count).sum())
}

fn count(event: &Value) -> u64 {
    let counts = event.pointer("/loss/counts").and_then(Value::as_array);
    counts
        .into_iter()
        .flatten()
        // protobuf's JSON form writes numbers of 64 bits as strings.
        .filter_map(|count| {
            let count = &count["count"];
            count.as_u64().or_else(|| count.as_str()?.parse().ok())
        })
        .sum()
}
