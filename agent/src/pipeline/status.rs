//! What the pipeline tells of itself.

use super::Pipeline;
use crate::identity::Container;
use crate::telemetry::{OutboxSnapshot, RuntimeSnapshot, Snapshot};

impl Pipeline {
    pub(super) fn write_status(&mut self) {
        let now = self.parts.sensor.now();
        let outbox = self.parts.outbox.as_mut();
        let containers = self.parts.identity.containers();
        let snapshot = Snapshot {
            delivered: self.delivered,
            alerts: self.alerts,
            kernel: self.kernel.by_kind(),
            rings: self.parts.sensor.fills(),
            outbox: outbox.map(|outbox| OutboxSnapshot {
                oldest_seconds: outbox.oldest(now).map_or(0.0, |age| age.as_secs_f64()),
                epoch: outbox.epoch(),
                next_sequence: outbox.next_sequence(),
                acknowledged: outbox.acked(),
                bytes: outbox.bytes(),
                refused: outbox.refused(),
            }),
            runtime: self.parts.identity.told().map(|told| RuntimeSnapshot {
                name: told.runtime.clone(),
                answers: told.live,
                told: told.containers.len(),
                engines: told.engines.clone(),
            }),
            containers: containers.iter().map(|container| name(container)).collect(),
            baselines: self.parts.judge.baselines().summaries(),
            known: self.parts.known.usage(),
        };
        self.parts.status.write(snapshot);
    }
}

fn name(container: &Container) -> String {
    format!("{} ({})", container.id.0, container.workload.0)
}
