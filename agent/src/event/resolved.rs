//! What a container is, once that is known: completes what was sent before.

use crate::identity::cri::{Described, Privileges};
use crate::identity::{Container, Found};
use norma_wire::pb::{self, Kind};
use norma_wire::{Detail, Event};
use std::collections::BTreeMap;

/// Events of a control group that went out before its container was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// How many.
    pub events: u64,
    /// Boot time of the first.
    pub first_ns: u64,
    /// Boot time of the last.
    pub last_ns: u64,
}

impl Pending {
    /// Counts one more.
    pub fn count(&mut self, boot_ns: u64) {
        self.first_ns = if self.events == 0 {
            boot_ns
        } else {
            self.first_ns.min(boot_ns)
        };
        self.last_ns = self.last_ns.max(boot_ns);
        self.events += 1;
    }
}

/// The event that says what the container is.
pub fn identity_resolved(container: &Container, pending: Pending) -> Event {
    Event {
        container: Some(super::container(container)),
        ..super::own(
            Kind::IdentityResolved,
            Detail::IdentityResolved(pb::IdentityResolved {
                events: pending.events,
                first_boot_ns: pending.first_ns,
                last_boot_ns: pending.last_ns,
                facts: container.described.as_deref().map(facts),
            }),
        )
    }
}

/// The event that says that a container was found, or missed, where the control groups are, and not by a record.
pub fn found(found: &Found) -> Event {
    let (container, what) = match found {
        Found::Begun(container) => (
            container,
            "was there already when it was found in the tree of control groups: the record of its creation did not \
             come, and what it did before may be missing",
        ),
        Found::Ended(container) => (
            container,
            "is not in the tree of control groups any more: it has ended, and the record of that did not come",
        ),
    };
    Event {
        container: Some(super::container(container)),
        ..super::own(
            Kind::Recovery,
            Detail::Recovery(pb::Recovery {
                what: format!("container {} of {} {what}", container.id.0, container.workload.0),
                bytes_dropped: 0,
            }),
        )
    }
}

fn facts(told: &Described) -> pb::ContainerFacts {
    pb::ContainerFacts {
        labels: attributes(&told.pod.labels),
        annotations: attributes(&told.pod.annotations),
        mounts: told
            .mounts
            .iter()
            .map(|mount| pb::Mount {
                source: mount.source.clone(),
                destination: mount.destination.clone(),
                read_only: mount.read_only,
            })
            .collect(),
        privileges: told.privileges.as_ref().map(privileges),
        command: told.command.clone(),
        sandbox: told.sandbox.clone(),
    }
}

fn attributes(map: &BTreeMap<String, String>) -> Vec<pb::Attribute> {
    map.iter()
        .map(|(name, value)| pb::Attribute {
            name: name.clone(),
            value: value.clone(),
        })
        .collect()
}

fn privileges(privileges: &Privileges) -> pb::Privileges {
    pb::Privileges {
        uid: privileges.uid,
        privileged: privileges.privileged,
        added_capabilities: privileges.added_capabilities.clone(),
        read_only_root: privileges.read_only_root,
        host_namespaces: privileges.host.names().into_iter().map(str::to_owned).collect(),
        cpu_limit_us: privileges.cpu_limit_us,
        memory_limit_bytes: privileges.memory_limit,
    }
}
