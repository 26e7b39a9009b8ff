//! What was sent of containers before they were known, until it is completed.

use crate::event::Pending;
use crate::identity::{Container, IdentityState};
use crate::observation::CgroupId;
use foldhash::HashMap;
use norma_wire::Event;
use norma_wire::pb;
use std::sync::Arc;

/// Counts events that were sent as pending, by control group.
#[derive(Default)]
pub(super) struct PendingEvents {
    by_cgroup: HashMap<CgroupId, Pending>,
    /// Containers that were said to be known, by their own control group.
    said: HashMap<CgroupId, Arc<Container>>,
}

impl PendingEvents {
    /// Notes an event that is sent.
    pub fn count(&mut self, event: &Event) {
        if let Some(container) = &event.container
            && container.identity == pb::IdentityState::Pending as i32
        {
            self.by_cgroup
                .entry(CgroupId(container.cgroup_id))
                .or_default()
                .count(event.boot_ns);
        }
    }

    /// What an event is to complete, where one is due: something was sent as pending, or the runtime tells of the
    /// container for the first time.
    pub fn resolve(&mut self, cgroup: CgroupId, container: &Arc<Container>) -> Option<Pending> {
        if container.state == IdentityState::Pending {
            return None;
        }
        let pending = self
            .by_cgroup
            .remove(&cgroup)
            .or_else(|| self.by_cgroup.remove(&container.cgroup));
        let is_told = container.described.is_some();
        let was_told = self
            .said
            .get(&container.cgroup)
            .is_some_and(|said| said.id == container.id);
        if is_told && !was_told {
            self.said.insert(container.cgroup, Arc::clone(container));
            return Some(pending.unwrap_or_default());
        }
        pending
    }

    /// Forgets a control group that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.by_cgroup.remove(&cgroup);
        self.said.remove(&cgroup);
    }
}
