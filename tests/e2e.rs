//! The whole line on real containers: kernel, agent, collector, SIEM. Needs root; see CONTRIBUTING.md.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

#[path = "e2e/audit.rs"]
mod audit;
#[path = "e2e/baseline.rs"]
mod baseline;
#[path = "e2e/clock.rs"]
mod clock;
#[path = "e2e/cri.rs"]
mod cri;
#[path = "e2e/deploy.rs"]
mod deploy;
#[path = "e2e/drift.rs"]
mod drift;
#[path = "e2e/engines.rs"]
mod engines;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/existing.rs"]
mod existing;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/fleet.rs"]
mod fleet;
#[path = "e2e/hash.rs"]
mod hash;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/known.rs"]
mod known;
#[path = "e2e/line.rs"]
mod line;
#[path = "e2e/lost.rs"]
mod lost;
#[path = "e2e/metrics.rs"]
mod metrics;
#[path = "e2e/misuse.rs"]
mod misuse;
#[path = "e2e/policy.rs"]
mod policy;
#[path = "e2e/remembered.rs"]
mod remembered;
#[path = "e2e/replay.rs"]
mod replay;
#[path = "e2e/rig.rs"]
mod rig;
#[path = "e2e/standalone.rs"]
mod standalone;
#[path = "e2e/units.rs"]
mod units;
