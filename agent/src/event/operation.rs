//! Operations on files, privileges and the host.

use super::attribute;
use super::file_type;
use crate::identity::Identified;
use crate::observation::{KernelPath, Name, Operation, Outcome};
use norma_abi::{KIND_FILE, KIND_PRIVILEGE};
use norma_wire::pb::{self, Kind};
use norma_wire::text::printable;

/// Kind of the event of an operation.
pub fn kind(operation: &Operation) -> Kind {
    match operation.op.definition().kind {
        KIND_FILE => Kind::File,
        KIND_PRIVILEGE => Kind::Privilege,
        _ => Kind::Host,
    }
}

pub fn detail(operation: &Operation, identified: &Identified) -> pb::Operation {
    let definition = operation.op.definition();
    let mut attributes: Vec<pb::Attribute> = definition
        .args
        .iter()
        .zip(operation.args)
        .filter_map(|((name, form), value)| {
            Some(pb::Attribute {
                name: (*name).to_owned(),
                value: attribute::text(*form, value)?,
            })
        })
        .collect();
    if !definition.text.is_empty() && !operation.text.is_empty() {
        let cut = if operation.text_truncated { "\u{2026}" } else { "" };
        attributes.push(pb::Attribute {
            name: definition.text.to_owned(),
            value: format!("{}{cut}", printable(&operation.text)),
        });
    }
    if operation.at_descriptor {
        attributes.push(pb::Attribute {
            name: "relative-to".to_owned(),
            value: "a directory descriptor".to_owned(),
        });
    }
    let (outcome, error) = outcome(operation.outcome);
    pb::Operation {
        name: definition.name.to_owned(),
        outcome: outcome as i32,
        error,
        path: operation.path.as_ref().map(path),
        other: operation.other.as_ref().map(path),
        target: operation.target.map(|target| pb::Target {
            id: bytes::Bytes::new(),
            pid: target.process.pid,
            start_boot_ns: target.process.start.0,
            exe: identified.target_exe.as_deref().unwrap_or_default().to_owned(),
            cgroup_id: target.cgroup.0,
            container_id: identified.target_container.clone().unwrap_or_default(),
        }),
        attributes,
        inode: operation.file.inode,
        dev: operation.file.dev,
        file_type: if operation.mode == 0 {
            String::new()
        } else {
            file_type(operation.mode).to_owned()
        },
        io_uring: operation.io_uring,
        sensitive: String::new(),
    }
}

/// An outcome, with the name of the error.
pub fn outcome(outcome: Outcome) -> (pb::Outcome, String) {
    const EPERM: u32 = 1;
    const EACCES: u32 = 13;
    const EROFS: u32 = 30;
    match outcome {
        Outcome::Permitted => (pb::Outcome::Permitted, String::new()),
        Outcome::Succeeded => (pb::Outcome::Succeeded, String::new()),
        Outcome::Failed(error @ (EPERM | EACCES | EROFS)) => (pb::Outcome::Denied, attribute::errno(error)),
        Outcome::Failed(error) => (pb::Outcome::Failed, attribute::errno(error)),
    }
}

/// A path as the wire has it.
pub fn path(name: &Name) -> pb::Path {
    match name {
        Name::Walked(KernelPath {
            bytes,
            truncated,
            disconnected,
            deleted,
        }) => pb::Path {
            path: printable(bytes),
            claimed: false,
            truncated: *truncated,
            disconnected: *disconnected,
            deleted: *deleted,
        },
        Name::Claimed(bytes) => pb::Path {
            path: printable(bytes),
            claimed: true,
            ..pb::Path::default()
        },
    }
}
