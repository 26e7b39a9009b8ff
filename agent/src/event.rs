//! Normalized events: what leaves the agent.

mod attribute;
mod checkpoint;
mod connections;
mod dns;
mod exec;
mod hash;
mod name;
mod operation;
mod release;
mod resolved;
mod socket;

pub(crate) use attribute::capability as capability_name;
pub use checkpoint::checkpoint_inconsistent;
pub use connections::connections;
pub use hash::{Hashes, Question, file_hash, mark_hashes};
pub use name::ProcessNames;
pub use release::release;
pub use resolved::{Pending, found, identity_resolved};
pub(crate) use socket::{family as socket_family, protocol as socket_protocol};

use crate::clock::WallClock;
use crate::identity::cri::Described;
use crate::identity::{Container, Identified, IdentityState, Process, Session};
use crate::judge::{Incident, PeerNames};
use crate::observation::{Act, Actor, KernelPath, Open, Protocol};
use bytes::Bytes;
use norma_wire::pb::{self, Kind};
use norma_wire::text::printable;
use norma_wire::{Detail, Event};

/// Kind of the event of an act; `None` for what only keeps the agent informed (forks, control groups).
pub fn kind(act: &Act) -> Option<Kind> {
    match act {
        Act::Exec(_) => Some(Kind::Exec),
        Act::Exit(_) => Some(Kind::Exit),
        Act::Open(_) => Some(Kind::Open),
        Act::Connect(_) => Some(Kind::Connect),
        Act::Listen(_) => Some(Kind::Listen),
        Act::Operation(operation) => Some(operation::kind(operation)),
        Act::Socket(_) => Some(Kind::Socket),
        Act::Dns(_) => Some(Kind::Dns),
        Act::Fork(_) | Act::Cgroup(_) => None,
    }
}

/// The event of an observation; `None` for what only keeps the agent informed (forks, control groups).
pub fn from_observation(identified: &Identified, clock: &WallClock) -> Option<Event> {
    let observation = &identified.observation;
    let kind = kind(&observation.act)?;
    let detail = detail(identified)?;
    Some(Event {
        boot_ns: observation.at.0,
        wall_ns: clock.wall_ns(observation.at),
        kind: kind as i32,
        process: Some(process(
            &identified.process,
            &observation.actor,
            identified.lineage,
        )),
        container: identified
            .place
            .container()
            .map(|container| self::container(container)),
        unit: identified.unit.as_deref().unwrap_or_default().to_owned(),
        detail: Some(detail),
        ..Event::default()
    })
}

/// An event about the agent itself.
pub fn own(kind: Kind, detail: Detail) -> Event {
    let now = crate::clock::boot_now();
    Event {
        boot_ns: now.0,
        wall_ns: WallClock::read().wall_ns(now),
        kind: kind as i32,
        detail: Some(detail),
        ..Event::default()
    }
}

/// Says that the file is a sensitive one, by its configured name.
pub fn mark_sensitive(event: &mut Event, name: &str) {
    match &mut event.detail {
        Some(Detail::Open(open)) => name.clone_into(&mut open.sensitive),
        Some(Detail::Operation(operation)) => name.clone_into(&mut operation.sensitive),
        _ => {}
    }
}

/// Says by what name the other end of a connection is known.
pub fn mark_peer(event: &mut Event, peer: &PeerNames) {
    if let (Some(Detail::Connect(connect)), Some((name, kind))) = (&mut event.detail, peer_name(peer)) {
        connect.peer_name = name.to_owned();
        connect.peer_kind = kind.to_owned();
    }
}

/// The most lasting name of a peer, and what that is.
fn peer_name(peer: &PeerNames) -> Option<(&str, &'static str)> {
    match (&peer.workload, &peer.domain) {
        (Some(workload), _) => Some((workload, "workload")),
        (None, Some(domain)) => Some((domain, "domain")),
        (None, None) => None,
    }
}

/// Says that the session is a probe's.
pub fn mark_probe(event: &mut Event) {
    if let Some(process) = &mut event.process {
        process.session = "probe".to_owned();
    }
}

/// Says which incident it is part of.
pub fn mark_incident(event: &mut Event, incident: Incident, clock: &WallClock) {
    event.incident = Some(pb::Incident {
        id: incident.id.to_string(),
        findings: incident.findings,
        repeated: incident.repeated,
        first_wall_ns: clock.wall_ns(incident.first),
        kinds: incident.kinds,
    });
}

/// The admission of a loss.
pub fn loss(loss: pb::Loss) -> Event {
    own(Kind::Loss, Detail::Loss(loss))
}

fn detail(identified: &Identified) -> Option<Detail> {
    let observation = &identified.observation;
    Some(match &observation.act {
        Act::Exec(exec) => Detail::Exec(exec::detail(exec, identified.place.container().is_some())),
        Act::Exit(exit) => {
            let lifetime = observation.at.0.saturating_sub(identified.process.key.start.0);
            Detail::Exit(exec::exit(exit, lifetime))
        }
        Act::Open(open) => Detail::Open(self::open(open)),
        Act::Connect(connect) => Detail::Connect(pb::Connect {
            remote_address: connect.remote.ip().to_string(),
            remote_port: connect.remote.port().into(),
            local_address: connect
                .local
                .map(|local| local.ip().to_string())
                .unwrap_or_default(),
            local_port: connect.local.map_or(0, |local| local.port().into()),
            protocol: protocol(connect.protocol),
            cookie: socket::cookie(connect.cookie),
            ..pb::Connect::default()
        }),
        Act::Listen(listen) => Detail::Listen(pb::Listen {
            address: listen.local.ip().to_string(),
            port: listen.local.port().into(),
            protocol: protocol(listen.protocol),
        }),
        Act::Operation(operation) => Detail::Operation(operation::detail(operation, identified)),
        Act::Socket(socket) => Detail::Socket(socket::detail(socket, observation.at)),
        Act::Dns(dns) => Detail::Dns(dns::detail(dns)),
        Act::Fork(_) | Act::Cgroup(_) => return None,
    })
}

fn protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "tcp".to_owned(),
        Protocol::Udp => "udp".to_owned(),
        Protocol::Other(number) => number.to_string(),
    }
}

fn open(open: &Open) -> pb::Open {
    let KernelPath {
        bytes,
        truncated,
        disconnected,
        deleted,
    } = &open.path;
    pb::Open {
        path: printable(bytes),
        flags: flag_names(open.flags),
        read: open.read,
        write: open.write,
        created: open.created,
        file_type: file_type(open.mode).to_owned(),
        path_truncated: *truncated,
        path_disconnected: *disconnected,
        file_deleted: *deleted,
        inode: open.file.inode,
        dev: open.file.dev,
        sensitive: String::new(),
    }
}

/// Type bits of a mode (inode(7)) in words.
fn file_type(mode: u32) -> &'static str {
    match mode & 0o170_000 {
        0o100_000 => "file",
        0o040_000 => "directory",
        0o020_000 => "character device",
        0o060_000 => "block device",
        0o010_000 => "pipe",
        0o140_000 => "socket",
        _ => "other",
    }
}

/// Names of O_* flags (asm-generic/fcntl.h; O_DIRECT and O_DIRECTORY differ on arm64).
fn flag_names(flags: u32) -> Vec<String> {
    const DIRECT: u32 = if cfg!(target_arch = "aarch64") {
        0o200_000
    } else {
        0o40_000
    };
    const DIRECTORY: u32 = if cfg!(target_arch = "aarch64") {
        0o40_000
    } else {
        0o200_000
    };
    const NOFOLLOW: u32 = if cfg!(target_arch = "aarch64") {
        0o100_000
    } else {
        0o400_000
    };
    const NAMES: [(u32, &str); 14] = [
        (0o100, "O_CREAT"),
        (0o200, "O_EXCL"),
        (0o400, "O_NOCTTY"),
        (0o1_000, "O_TRUNC"),
        (0o2_000, "O_APPEND"),
        (0o4_000, "O_NONBLOCK"),
        (0o10_000, "O_DSYNC"),
        (0o20_000, "O_ASYNC"),
        (DIRECT, "O_DIRECT"),
        (DIRECTORY, "O_DIRECTORY"),
        (NOFOLLOW, "O_NOFOLLOW"),
        (0o1_000_000, "O_NOATIME"),
        (0o2_000_000, "O_CLOEXEC"),
        (0o10_000_000, "O_PATH"),
    ];
    let access = match flags & 3 {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        _ => "O_ACCMODE",
    };
    std::iter::once(access)
        .chain(
            NAMES
                .iter()
                .filter(|(bit, _)| flags & bit != 0)
                .map(|(_, name)| *name),
        )
        .map(str::to_owned)
        .collect()
}

fn process(process: &Process, actor: &Actor, lineage: usize) -> pb::Process {
    let ancestors = process
        .ancestors
        .iter()
        .take(lineage)
        .map(|ancestor| pb::Ancestor {
            pid: ancestor.key.pid,
            start_boot_ns: ancestor.key.start.0,
            exe: ancestor.exe.to_string(),
            id: Bytes::new(),
        })
        .collect();
    pb::Process {
        pid: actor.process.pid,
        start_boot_ns: actor.process.start.0,
        exe: process.exe.to_string(),
        comm: printable(&actor.comm),
        argv: process.argv.to_vec(),
        uid: actor.uid,
        gid: actor.gid,
        euid: actor.euid,
        namespaces: Some(pb::Namespaces {
            mnt: actor.namespaces.mnt,
            pid: actor.namespaces.pid,
            net: actor.namespaces.net,
            user: actor.namespaces.user,
        }),
        ancestors,
        from_proc: process.from_proc,
        id: Bytes::new(),
        session: match process.session {
            Session::Own => String::new(),
            Session::Exec => "exec".to_owned(),
        },
    }
}

/// The part of a container that only its runtime's socket tells.
fn described(told: Option<&Described>) -> pb::Container {
    let Some(told) = told else {
        return pb::Container::default();
    };
    pb::Container {
        attempt: told.attempt,
        pod_uid: told.pod.uid.clone(),
        r#type: told.kind.name().to_owned(),
        revision: told.revision.clone(),
        started_wall_ns: told.started_ns,
        ..pb::Container::default()
    }
}

/// A container as the wire has it.
pub fn container(container: &Container) -> pb::Container {
    let identity = match container.state {
        IdentityState::Known => pb::IdentityState::Known,
        IdentityState::Pending => pb::IdentityState::Pending,
    };
    pb::Container {
        id: container.id.0.clone(),
        name: container.name.clone(),
        runtime: container.runtime.clone(),
        image: container.image.clone(),
        image_digest: container.image_digest.clone(),
        workload: container.workload.0.clone(),
        pod: container.pod.clone(),
        namespace: container.namespace.clone(),
        cgroup_id: container.cgroup.0,
        cgroup_path: container.cgroup_path.clone(),
        identity: identity as i32,
        init_pid: container.init_pid,
        ..described(container.described.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_named() {
        assert_eq!(flag_names(0o2_000_101), ["O_WRONLY", "O_CREAT", "O_CLOEXEC"]);
    }
}
