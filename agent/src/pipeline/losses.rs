//! What was lost on the way from the kernel: admitted, held against what is known, and made good for where that can be.

use super::{CADENCE, Pipeline};
use crate::event;
use crate::identity::Identified;
use crate::observation::CgroupId;
use norma_abi::{KIND_CGROUP, KIND_EXEC, KIND_EXIT, KIND_FORK};
use norma_wire::Event;
use norma_wire::pb::{self, LossCause};

impl Pipeline {
    /// Takes over what was lost since the last look. With each round, before what came after the loss is judged.
    pub(super) fn look_at_losses(&mut self) {
        let since = std::mem::replace(&mut self.looked_at_losses, self.parts.sensor.now());
        let counted = self.parts.sensor.counters().and_then(|totals| {
            // Whose the losses are stands in a map that is only worth reading where there are new ones.
            let losses = if self.kernel.has_new_losses(&totals) {
                Some(self.parts.sensor.losses()?)
            } else {
                None
            };
            Ok(self.kernel.update(&totals, losses))
        });
        let lost = counted.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the kernel side's counters");
            Vec::new()
        });
        for lost in lost {
            let identity = &mut self.parts.identity;
            if lost.has(&[KIND_CGROUP]) {
                identity.doubt_groups();
            }
            if lost.has(&[KIND_EXEC, KIND_FORK, KIND_EXIT]) {
                identity.doubt_programs(lost.cgroup, since);
            }
            let concerned = match lost.cgroup {
                // Of groups beyond what can be told apart: it can have been anybody's.
                CgroupId(0) if lost.cause == LossCause::RingFull => identity.containers(),
                cgroup => identity.container_of(cgroup).into_iter().collect(),
            };
            for container in concerned {
                self.parts
                    .judge
                    .lost(&container, &lost.counts, self.looked_at_losses);
            }
            match self.unreported.iter_mut().find(|other| other.is_alike(&lost)) {
                Some(other) => other.add(&lost),
                None => self.unreported.push(lost),
            }
        }
    }

    /// Has the programs of processes looked up that may be others than is known, and the records catch up with that.
    pub(super) fn settle_doubts(&mut self, ready: &mut Vec<Identified>) -> std::io::Result<()> {
        let Some(until) = self.parts.identity.inquire(self.parts.sensor.now()) else {
            return Ok(());
        };
        loop {
            let began = self.parts.sensor.now();
            let taken = self.take(CADENCE, &mut |identity, observation| {
                identity.identify(observation, ready);
            });
            taken?;
            // A trace that ends has no later time.
            if began >= until || self.parts.sensor.now() == began {
                break;
            }
        }
        self.parts.identity.settle_doubts(ready);
        Ok(())
    }

    /// Has what was not delivered admitted at once, with exact numbers.
    pub(super) fn report_losses(&mut self) {
        self.look_at_losses();
        for lost in std::mem::take(&mut self.unreported) {
            let container = self.parts.identity.container_of(lost.cgroup);
            self.store(Event {
                container: container.map(|container| event::container(&container)),
                ..event::loss(lost.to_pb())
            });
        }
        let undecodable = std::mem::take(&mut self.undecodable);
        if undecodable > 0 {
            self.parts.identity.doubt_groups();
            self.parts
                .identity
                .doubt_programs(CgroupId(0), self.last_loss_check);
            self.store(event::loss(pb::Loss {
                cause: LossCause::Undecodable as i32,
                counts: vec![pb::KindCount {
                    kind: "unknown".to_owned(),
                    count: undecodable,
                }],
                ..pb::Loss::default()
            }));
        }
    }
}
