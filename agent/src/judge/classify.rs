//! Of which kind an act is.
//!
//! [`standing`] sees what an act is by itself; [`novel`] also what the baseline knows that comes near it.

use super::baseline::Expectation;
use super::fact::{Access, CAPABILITY_USE, Fact, RUNTIME};
use super::kinds::FindingKind;
use super::places::{self, Changed};
use super::rates;
use crate::identity::{Identified, Session};
use crate::observation::{Act, Operation, Origin};
use norma_baseline::fact::{Access as Done, Fact as Learned};
use std::net::IpAddr;

/// Mode bits that let a file run as its owner or group.
const SET_IDS: u64 = 0o6000;

/// An act with all that is known of it but the baseline.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub identified: &'a Identified,
    pub fact: &'a Fact,
    /// It is about a file of which the configuration says that it is sensitive.
    pub sensitive: bool,
}

impl Scene<'_> {
    fn in_session(&self) -> bool {
        self.identified.process.session == Session::Exec
    }

    fn operation(&self) -> Option<&Operation> {
        match &self.identified.observation.act {
            Act::Operation(operation) => Some(operation),
            _ => None,
        }
    }
}

/// What it is whatever the workload normally does; `None` where that alone says nothing.
pub(super) fn standing(scene: &Scene<'_>) -> Option<FindingKind> {
    match scene.fact {
        Fact::Exec { exe, .. } => executed(scene, exe),
        Fact::Open { path, access, .. } => match access {
            Access::Read => read(scene, path),
            Access::Write | Access::Create => written(path),
        },
        Fact::Connect { peer, .. } => is_metadata_service(*peer).then_some(FindingKind::MetadataService),
        Fact::Listen { .. } | Fact::Accept { .. } => None,
        Fact::Act {
            operation, object, ..
        } => acted(scene, operation, object),
    }
}

/// What it is, given that it is new and what comes near it.
pub(super) fn novel(scene: &Scene<'_>, near: &Expectation) -> FindingKind {
    standing(scene).unwrap_or_else(|| match scene.fact {
        Fact::Exec { by, exe, script, .. } => new_exec(scene, by, exe, script.as_deref(), near),
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } => new_read(path, near),
        Fact::Open { path, .. } => new_change(path, FindingKind::NewWrite),
        Fact::Connect {
            peer, names, port, ..
        } => {
            let name = match (&names.workload, &names.domain) {
                (Some(name), _) | (None, Some(name)) => name.to_string(),
                (None, None) => peer.to_string(),
            };
            let same_peer = near
                .usual
                .iter()
                .any(|usual| usual.split_whitespace().next() == Some(name.as_str()));
            if near.target_known {
                FindingKind::NewClient
            } else if same_peer && *port != 0 {
                FindingKind::NewPort
            } else if names.domain.is_some() {
                FindingKind::NewDomain
            } else {
                FindingKind::NewPeer
            }
        }
        Fact::Listen { .. } => FindingKind::NewListener,
        Fact::Accept { .. } => FindingKind::NewInboundClass,
        Fact::Act {
            operation, object, ..
        } => new_act(scene, operation, object, near),
    })
}

fn executed(scene: &Scene<'_>, exe: &str) -> Option<FindingKind> {
    let Act::Exec(exec) = &scene.identified.observation.act else {
        return None;
    };
    match exec.origin() {
        Origin::Memfd | Origin::Deleted => Some(FindingKind::Fileless),
        Origin::UpperLayer => Some(FindingKind::NotInImage),
        Origin::Tmpfs => Some(FindingKind::OnTmpfs),
        _ if places::is_escape_tool(program(scene, exe)) => Some(FindingKind::EscapeTool),
        Origin::Volume => Some(FindingKind::OnVolume),
        Origin::Image | Origin::Host | Origin::Unknown(_) => None,
    }
}

/// The name of the program, which for one that is many is the one under which it was called.
fn program<'a>(scene: &'a Scene<'_>, exe: &'a str) -> &'a str {
    let called = scene.identified.process.argv.first();
    called
        .and_then(|called| places::applet(exe, called))
        .unwrap_or_else(|| places::name(exe))
}

fn new_exec(scene: &Scene<'_>, by: &str, exe: &str, script: Option<&str>, near: &Expectation) -> FindingKind {
    let name = program(scene, exe);
    let is_applet = script == Some(name);
    if by == RUNTIME && scene.in_session() {
        FindingKind::SessionProgram
    } else if near.edge_known && places::is_shell(name) {
        FindingKind::NewScript
    } else if near.edge_known && !is_applet {
        FindingKind::NewCommandLine
    } else if places::is_shell(name) {
        FindingKind::NewShell
    } else if places::is_package_manager(name) {
        FindingKind::PackageManager
    } else if near.target_known && !is_applet {
        FindingKind::UnknownParent
    } else {
        FindingKind::UnknownExecutable
    }
}

/// A shell or an interpreter, started by a program that is neither one itself nor there to start others. A container's
/// first program is started by the runtime.
pub(super) fn is_shell_from_elsewhere(fact: &Learned<&str>) -> bool {
    let Learned::Exec {
        parent, exe, script, ..
    } = fact
    else {
        return false;
    };
    // Of a program that is many, the name under which it was called is kept in the place of a script.
    let called = script.and_then(|script| places::applet(exe, script));
    let by = places::name(parent);
    *parent != RUNTIME
        && !places::is_shell(by)
        && !places::is_launcher(by)
        && places::is_shell(called.unwrap_or_else(|| places::name(exe)))
}

fn read(scene: &Scene<'_>, path: &str) -> Option<FindingKind> {
    let credentials = scene.sensitive || places::holds_credentials(path);
    credentials.then(|| {
        if scene.in_session() {
            FindingKind::SessionReadsCredentials
        } else {
            FindingKind::ReadsCredentials
        }
    })
}

fn new_read(path: &str, near: &Expectation) -> FindingKind {
    if !near.actor_known && places::is_start_up(path) {
        FindingKind::ReadsAtStart
    } else if near.target_known || !near.actor_known {
        FindingKind::NewReader
    } else {
        FindingKind::NewRead
    }
}

fn written(path: &str) -> Option<FindingKind> {
    match places::changed(path) {
        Changed::Escape => Some(FindingKind::EscapeFile),
        Changed::Persistence => Some(FindingKind::Persistence),
        Changed::Binary => Some(FindingKind::WritesBinary),
        Changed::Library => Some(FindingKind::WritesLibrary),
        Changed::Kernel => Some(FindingKind::KernelSetting),
        Changed::Configuration | Changed::Trace | Changed::Plain => None,
    }
}

fn new_change(path: &str, otherwise: FindingKind) -> FindingKind {
    match places::changed(path) {
        Changed::Configuration => FindingKind::WritesConfiguration,
        _ => otherwise,
    }
}

/// The metadata service of the clouds, by its addresses.
fn is_metadata_service(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(address) => matches!(address.octets(), [169, 254, 169, 254] | [169, 254, 170, 2]),
        IpAddr::V6(address) => address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    }
}

/// What an operation is by itself.
fn acted(scene: &Scene<'_>, operation: &str, object: &str) -> Option<FindingKind> {
    let text = scene
        .operation()
        .map(|operation| String::from_utf8_lossy(&operation.text))
        .unwrap_or_default();
    let argument = |number: usize| {
        scene
            .operation()
            .and_then(|operation| operation.args.get(number))
            .copied()
    };
    Some(match operation {
        "socket.connected" if places::is_runtime_socket(object) => FindingKind::RuntimeSocket,
        "socket.made" if !object.starts_with("netlink route") => FindingKind::RawSocket,
        "file.sysctl-write" => {
            match places::changed(&format!("/proc/sys/{}", text.trim_start_matches('/'))) {
                Changed::Escape => FindingKind::EscapeFile,
                _ => FindingKind::KernelSetting,
            }
        }
        "file.chmod" if argument(0).is_some_and(|mode| mode & SET_IDS != 0) => FindingKind::SetUid,
        "file.setxattr" if text == "security.capability" => FindingKind::SetUid,
        "file.chroot" => FindingKind::Mounts,
        "mount.mount" | "mount.move" | "mount.detached" if places::is_of_host(&text) => {
            FindingKind::HostMount
        }
        "host.module-load" | "host.module-unload" | "host.kexec" => FindingKind::KernelCode,
        "host.device" => FindingKind::RawDevice,
        "host.bpf-load" | "host.bpf-attach" => FindingKind::Bpf,
        "process.ptrace" | "process.vm-read" | "process.vm-write" => FindingKind::Tracing,
        "process.cgroup-move" => FindingKind::ControlGroup,
        "privilege.ids" if gains(scene, argument(1)) => FindingKind::GainsPrivilege,
        _ if operation.starts_with("mount.") => FindingKind::Mounts,
        _ if operation.starts_with("namespace.") => FindingKind::Namespaces,
        _ => return on_file(scene),
    })
}

/// What an operation on a file is by the file.
fn on_file(scene: &Scene<'_>) -> Option<FindingKind> {
    let Learned::File { path, access, .. } = scene.fact.learned() else {
        return None;
    };
    match access {
        Done::Read => read(scene, &path),
        Done::Probe => {
            (scene.sensitive || places::holds_credentials(&path)).then_some(FindingKind::ProbesCredentials)
        }
        Done::Delete if places::changed(&path) == Changed::Trace => Some(FindingKind::RemovesTraces),
        Done::Write | Done::Create | Done::Delete | Done::Attribute => written(&path),
        Done::Execute => None,
    }
}

/// A process of another user becomes root.
fn gains(scene: &Scene<'_>, euid: Option<u64>) -> bool {
    euid == Some(0) && scene.identified.observation.actor.uid != 0
}

fn new_act(scene: &Scene<'_>, operation: &str, object: &str, near: &Expectation) -> FindingKind {
    if let Learned::File { path, access, .. } = scene.fact.learned()
        && operation.starts_with("file.")
    {
        return match access {
            Done::Read => new_read(&path, near),
            Done::Delete => new_change(&path, FindingKind::NewDelete),
            Done::Attribute => new_change(&path, FindingKind::NewAttribute),
            Done::Probe => FindingKind::Probing,
            Done::Write | Done::Create | Done::Execute => new_change(&path, FindingKind::NewWrite),
        };
    }
    match operation {
        "file.map-exec" => FindingKind::NewLibrary,
        "file.open-path" => FindingKind::Probing,
        "dns.query" if rates::looks_made(object) => FindingKind::EncodedName,
        "dns.query" => FindingKind::NewName,
        "socket.made" => FindingKind::RouteSocket,
        "process.exec-memory" => FindingKind::ExecutableMemory,
        "process.signal" => FindingKind::Signals,
        "process.comm" => FindingKind::Renames,
        "process.exec-failed" => FindingKind::ExecFailed,
        CAPABILITY_USE => FindingKind::NewCapability,
        "privilege.no-new-privs" | "privilege.seccomp" => FindingKind::Restricts,
        _ if operation.starts_with("privilege.") => FindingKind::Privilege,
        _ if operation.starts_with("host.") => FindingKind::KernelFacility,
        _ if operation.starts_with("socket.") => FindingKind::LocalSocket,
        _ if operation.starts_with("file.") && object.starts_with('/') => {
            new_change(object, FindingKind::NewWrite)
        }
        _ => FindingKind::Other,
    }
}
