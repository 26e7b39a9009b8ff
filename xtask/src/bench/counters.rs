//! What the agent says that the kernel side has counted.

use anyhow::Result;
use norma_rig::{Agent, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(30);
/// The agent reads its counters a moment before it writes the time into the file.
const WRITING: u64 = 50;

/// The file that `norma-agent status` reads. To start that program each time would take processor time from
/// the agent just when its own is measured.
const STATUS_FILE: &str = "status.json";

/// Records of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Made.
    pub seen: u64,
    /// Not delivered.
    pub lost: u64,
    /// Acts for which none was made, because they are known.
    pub recognised: u64,
}

/// Records by kind.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// By the kind's name.
    pub kinds: BTreeMap<String, Count>,
    /// Records that the agent has taken out of the ring.
    pub read: u64,
}

impl Counters {
    /// As they are now or a little later.
    pub fn read(agent: &Agent) -> Result<Self> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let path = agent.state().join(STATUS_FILE);
        let status = wait_until("a status file that was written after now", LIMIT, || {
            let text = std::fs::read(&path).unwrap_or_default();
            let status: Value = serde_json::from_slice(&text).unwrap_or_default();
            let fresh = status["updated_unix_ms"].as_u64().unwrap_or(0) > now + WRITING;
            Ok(fresh.then_some(status))
        })?;
        Ok(Self::parse(&status))
    }

    fn parse(status: &Value) -> Self {
        let kinds = status["kernel"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(kind, totals)| {
                let of = |name: &str| totals[name].as_u64().unwrap_or(0);
                (
                    kind.clone(),
                    Count {
                        seen: of("seen"),
                        lost: of("lost"),
                        recognised: of("recognised"),
                    },
                )
            })
            .collect();
        Self {
            kinds,
            read: status["delivered"].as_u64().unwrap_or(0),
        }
    }

    /// What came since.
    pub fn since(&self, before: &Self) -> Self {
        let difference = |(kind, now): (&String, &Count)| {
            let before = before.kinds.get(kind).copied().unwrap_or_default();
            (
                kind.clone(),
                Count {
                    seen: now.seen - before.seen,
                    lost: now.lost - before.lost,
                    recognised: now.recognised - before.recognised,
                },
            )
        };
        Self {
            kinds: self.kinds.iter().map(difference).collect(),
            read: self.read - before.read,
        }
    }

    /// Of one kind.
    pub fn of(&self, kind: &str) -> Count {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    /// Of all kinds.
    pub fn all(&self) -> Count {
        self.kinds.values().fold(Count::default(), |sum, count| Count {
            seen: sum.seen + count.seen,
            lost: sum.lost + count.lost,
            recognised: sum.recognised + count.recognised,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Counters};
    use serde_json::json;

    #[test]
    fn counters_are_compared_by_kind() {
        let counters = |open: u64| {
            Counters::parse(&json!({
                "delivered": 5, "kernel": { "open": { "seen": open, "lost": 1, "recognised": 2 * open }, "exec": { "seen": 3, "lost": 0 } },
            }))
        };
        let since = counters(9).since(&counters(4));
        let more = Count {
            seen: 5,
            lost: 0,
            recognised: 10,
        };
        assert_eq!((since.of("open"), since.all()), (more, more));
        assert_eq!(since.of("nothing"), Count::default());
    }
}
