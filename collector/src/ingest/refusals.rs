//! Who was refused: logged and recorded, in a way in which nobody outside can fill the disk.
//!
//! The first refusal of a peer for a reason is logged and recorded at once, its repetitions as one count per
//! window. Only so many peers are told apart in a window; the others are counted together.

use super::counts::{self, Counts};
use crate::audit::AuditLog;
use crate::clock::wall_ns;
use crate::pki::NodeName;
use norma_wire::audit::{Refused, record::Body};
use norma_wire::text::printable;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// Repetitions are counted over this time.
const WINDOW: Duration = Duration::from_secs(60);
/// Peers (with reason) told apart in a window.
const MAX_LISTED: usize = 64;
/// Refusals that wait to be recorded.
const QUEUE: usize = 1024;
/// Reasons quote what peers sent.
const MAX_REASON: usize = 400;

/// Where refusals are reported.
#[derive(Clone, Debug)]
pub struct Refusals {
    queue: mpsc::Sender<Refusal>,
    counts: Arc<Counts>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Refusal {
    peer: String,
    reason: String,
    node: String,
}

#[derive(Default)]
struct Window {
    listed: HashMap<Refusal, Count>,
    others: Count,
}

#[derive(Clone, Copy, Default)]
struct Count {
    count: u64,
    first_wall_ns: u64,
    last_wall_ns: u64,
}

impl Refusals {
    /// Begins to record refusals in `log`.
    pub fn start(log: AuditLog, stop: CancellationToken) -> (Self, JoinHandle<()>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let this = Self {
            queue: sender,
            counts: Arc::default(),
        };
        (this, tokio::spawn(run(queue, log, stop)))
    }

    /// What is counted of refusals and of what is taken in.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Reports that a peer was refused; `node` where its certificate is a valid one.
    pub fn refuse(&self, peer: SocketAddr, reason: &str, node: Option<&NodeName>) {
        let reason = printable(reason.as_bytes()).chars().take(MAX_REASON).collect();
        let peer = peer.ip().to_canonical().to_string();
        let refusal = Refusal {
            peer,
            reason,
            node: node.map(ToString::to_string).unwrap_or_default(),
        };
        counts::add(&self.counts.refused, 1);
        if let Err(error) = self.queue.try_send(refusal) {
            tracing::warn!(%error, "more refusals than can be recorded");
        }
    }
}

async fn run(mut queue: mpsc::Receiver<Refusal>, log: AuditLog, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + WINDOW, WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut window = Window::default();
    loop {
        tokio::select! {
            biased;
            refusal = queue.recv() => match refusal {
                Some(refusal) => {
                    if let Some(first) = window.add(refusal) {
                        record(&log, first).await;
                    }
                }
                None => break,
            },
            _ = ticks.tick() => {
                for summary in std::mem::take(&mut window).summaries() {
                    record(&log, summary).await;
                }
            }
            () = stop.cancelled() => break,
        }
    }
    while let Ok(refusal) = queue.try_recv() {
        if let Some(first) = window.add(refusal) {
            record(&log, first).await;
        }
    }
    for summary in window.summaries() {
        record(&log, summary).await;
    }
}

async fn record(log: &AuditLog, refused: Refused) {
    let (peer, reason, count) = (&refused.peer, &refused.reason, refused.count);
    if refused.node.is_empty() {
        tracing::warn!(peer, reason, count, "refused a client");
    } else {
        tracing::warn!(peer, node = refused.node, reason, count, "refused a client");
    }
    if let Err(error) = log.note(Body::Refused(refused)).await {
        tracing::error!(%error, "a refusal is not in the audit log");
    }
}

impl Window {
    /// Counts a refusal; gives it back to be recorded where it is a new one.
    fn add(&mut self, refusal: Refusal) -> Option<Refused> {
        let now = wall_ns();
        if let Some(count) = self.listed.get_mut(&refusal) {
            count.add(now);
            return None;
        }
        if self.listed.len() >= MAX_LISTED {
            self.others.add(now);
            return None;
        }
        let mut once = Count::default();
        once.add(now);
        let first = once.of(refusal.clone());
        self.listed.insert(refusal, Count::default());
        Some(first)
    }

    /// What was counted and not recorded yet.
    fn summaries(self) -> Vec<Refused> {
        let others = Refusal {
            peer: "others".to_owned(),
            reason: "more peers were refused than are listed".to_owned(),
            node: String::new(),
        };
        let all = self.listed.into_iter().chain([(others, self.others)]);
        all.filter(|(_, count)| count.count > 0)
            .map(|(refusal, count)| count.of(refusal))
            .collect()
    }
}

impl Count {
    fn add(&mut self, now: u64) {
        if self.count == 0 {
            self.first_wall_ns = now;
        }
        self.count += 1;
        self.last_wall_ns = now;
    }

    fn of(self, Refusal { peer, reason, node }: Refusal) -> Refused {
        let Self {
            count,
            first_wall_ns,
            last_wall_ns,
        } = self;
        Refused {
            peer,
            reason,
            count,
            first_wall_ns,
            last_wall_ns,
            node,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(peer: usize) -> Refusal {
        Refusal {
            peer: format!("10.0.{}.{}", peer / 256, peer % 256),
            reason: "r".into(),
            node: String::new(),
        }
    }

    #[test]
    fn a_scanner_makes_few_records_and_every_refusal_is_counted() {
        let mut window = Window::default();
        let mut records = Vec::new();
        for round in 0..100 {
            for peer in 0..200 {
                records.extend(window.add(refusal(peer)));
            }
            assert!(records.len() == MAX_LISTED, "round {round}");
        }
        records.extend(window.summaries());
        assert_eq!(records.len(), 2 * MAX_LISTED + 1);
        assert_eq!(records.iter().map(|record| record.count).sum::<u64>(), 200 * 100);
    }
}
