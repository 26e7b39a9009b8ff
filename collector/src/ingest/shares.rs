//! What a single node may take of the collector, so that no node takes what others need.
//!
//! A node that delivers faster than it may, or faster than can be stored, is not read on: flow control holds it back, and
//! nothing is dropped. Waiting for memory is served in the order of asking, and no node may hold more than its share of
//! it; the log's writer is asked by each stream for one thing at a time.

use crate::config::NodeLimits;
use crate::pki::NodeName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So much may come at once after a pause, in time at the full rate.
const BURST: Duration = Duration::from_secs(1);
/// How often it is logged that a node is held back.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Shares of nodes that are kept before those that nobody uses are dropped.
const NODES_KEPT: usize = 1024;
/// Unit in which memory is counted, in bytes.
const UNIT: usize = 1024;

/// The shares of all nodes.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: NodeLimits,
    memory: Arc<Semaphore>,
    /// One for each node that was seen of late: a new connection is no new share.
    nodes: Mutex<HashMap<NodeName, Arc<Node>>>,
}

#[derive(Debug)]
struct Node {
    memory: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

/// When the node is through with what it delivered, at the rate that it may have.
#[derive(Debug)]
struct Pace {
    through: Instant,
    logged: Option<Instant>,
}

/// A stream's part in its node's share.
#[derive(Debug)]
pub struct Share {
    name: NodeName,
    node: Arc<Node>,
    all: Arc<Inner>,
    _stream: OwnedSemaphorePermit,
}

/// Memory that a batch takes until it is stored.
#[derive(Debug)]
pub struct Held {
    _of_node: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Shares {
    /// Shares of this size.
    pub fn new(limits: NodeLimits) -> Self {
        Self(Arc::new(Inner {
            memory: Arc::new(Semaphore::new(units(limits.all_in_flight_bytes) as usize)),
            limits,
            nodes: Mutex::default(),
        }))
    }

    /// The part of one more stream of a node; `None` where it has as many as it may.
    pub fn stream(&self, name: &NodeName) -> Option<Share> {
        let limits = &self.0.limits;
        let mut nodes = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if nodes.len() >= NODES_KEPT && !nodes.contains_key(name) {
            nodes.retain(|_, node| !node.is_at_rest());
        }
        let node = nodes.entry(name.clone()).or_insert_with(|| {
            Arc::new(Node {
                memory: Arc::new(Semaphore::new(units(limits.in_flight_bytes) as usize)),
                streams: Arc::new(Semaphore::new(limits.streams)),
                pace: Mutex::new(Pace {
                    through: Instant::now(),
                    logged: None,
                }),
            })
        });
        let stream = Arc::clone(&node.streams).try_acquire_owned().ok()?;
        Some(Share {
            name: name.clone(),
            node: Arc::clone(node),
            all: Arc::clone(&self.0),
            _stream: stream,
        })
    }
}

impl Node {
    /// Nobody delivers for it, and it owes no time: a new one would be the same.
    fn is_at_rest(self: &Arc<Self>) -> bool {
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::strong_count(self) == 1 && pace.through <= Instant::now()
    }
}

impl Share {
    /// Waits until so much may be taken; it counts as taken until the answer is dropped.
    pub async fn take(&self, events: usize, bytes: usize) -> Held {
        let until = self.delay(events, bytes);
        tokio::time::sleep_until(until).await;
        let limits = &self.all.limits;
        // One message may be more than all of a share, and waits for all of it then.
        let of_node = units(bytes).min(units(limits.in_flight_bytes));
        let of_all = units(bytes).min(units(limits.all_in_flight_bytes));
        Held {
            _of_node: acquire(&self.node.memory, of_node).await,
            _of_all: acquire(&self.all.memory, of_all).await,
        }
    }

    /// Counts a batch, and says from when on the node may deliver it.
    fn delay(&self, events: usize, bytes: usize) -> Instant {
        let limits = &self.all.limits;
        let cost = (events as f64 / limits.events_per_second as f64)
            .max(bytes as f64 / limits.bytes_per_second as f64);
        let now = Instant::now();
        let mut pace = self.node.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let from = pace.through.checked_sub(BURST).unwrap_or(now).max(now);
        pace.through = pace.through.max(now) + Duration::from_secs_f64(cost);
        if from > now && pace.logged.is_none_or(|logged| logged.elapsed() > LOG_INTERVAL) {
            pace.logged = Some(now);
            tracing::warn!(node = %self.name, "the node delivers more than it may (limits.node_…_per_second) and is held back");
        }
        from
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(1)
}

async fn acquire(memory: &Arc<Semaphore>, units: u32) -> OwnedSemaphorePermit {
    loop {
        // It is never closed.
        if let Ok(permit) = Arc::clone(memory).acquire_many_owned(units).await {
            return permit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: NodeLimits = NodeLimits {
        events_per_second: 10_000,
        bytes_per_second: 1 << 30,
        in_flight_bytes: 64 << 10,
        all_in_flight_bytes: 96 << 10,
        streams: 2,
    };

    /// What would come at once has not come.
    const SHORT: Duration = Duration::from_millis(50);

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_node_is_held_back_to_its_rate_over_all_its_streams_and_others_are_not() {
        let shares = Shares::new(LIMITS);
        let (one, again) = (
            shares.stream(&name("a")).unwrap(),
            shares.stream(&name("a")).unwrap(),
        );
        let begin = Instant::now();
        for _ in 0..5 {
            drop(one.take(2_000, 100).await);
            drop(again.take(2_000, 100).await);
        }
        // When the last comes, 18,000 have come at 10,000 a second, of which a second's worth may be ahead.
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(790), "{took:?}");
        let other = shares.stream(&name("b")).unwrap();
        let begin = Instant::now();
        drop(other.take(2_000, 100).await);
        assert!(begin.elapsed() < took);
    }

    #[tokio::test]
    async fn no_node_holds_more_memory_than_its_share() {
        let shares = Shares::new(LIMITS);
        let (one, other) = (
            shares.stream(&name("a")).unwrap(),
            shares.stream(&name("b")).unwrap(),
        );
        let held = one.take(1, 64 << 10).await;
        let more = tokio::time::timeout(SHORT, one.take(1, 1)).await;
        assert!(more.is_err(), "a node holds more than its share");
        let its = tokio::time::timeout(Duration::from_secs(60), other.take(1, 32 << 10)).await;
        assert!(its.is_ok(), "one node's share is another's");
        drop(held);
        // More than a share waits for all of it, and goes through.
        let large = tokio::time::timeout(SHORT, one.take(1, 1 << 20)).await;
        assert!(large.is_err(), "memory of another node was taken");
        drop(its);
        let large = tokio::time::timeout(Duration::from_secs(60), one.take(1, 1 << 20)).await;
        assert!(large.is_ok());
    }

    #[tokio::test]
    async fn shares_of_nodes_that_are_gone_are_dropped_and_others_are_not() {
        let shares = Shares::new(LIMITS);
        let kept = |shares: &Shares| shares.0.nodes.lock().unwrap().len();
        let open = shares.stream(&name("open")).unwrap();
        let owing = shares.stream(&name("owing")).unwrap();
        drop(owing.take(1_000_000, 1).await);
        drop(owing);
        for number in 0..3 * NODES_KEPT {
            drop(shares.stream(&name(&format!("node-{number}"))));
        }
        assert!(kept(&shares) <= NODES_KEPT, "{}", kept(&shares));
        let nodes = shares.0.nodes.lock().unwrap();
        assert!(nodes.contains_key(&name("open")) && nodes.contains_key(&name("owing")));
        drop(open);
    }

    #[test]
    fn streams_are_counted() {
        let shares = Shares::new(LIMITS);
        let first = shares.stream(&name("a"));
        let _second = shares.stream(&name("a"));
        assert!(shares.stream(&name("a")).is_none());
        drop(first);
        assert!(shares.stream(&name("a")).is_some());
    }
}
