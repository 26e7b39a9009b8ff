//! Changes of files, mappings and mounts: each deed, and each evasive way of doing it, on the tier that this
//! kernel has.

use crate::watch::{Watch, directory};
use norma_agent::observation::{Act, Name, Observation, Open, Operation, Outcome};
use norma_agent::sensor::{SensorConfig, Sight, Technique, Tier, Wanted};
use norma_rig::deed::{Deed, FileTruth, Truth};
use norma_rig::skip::skipped;
use rustix::io::Errno;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Operations of this family, besides opens.
const FAMILIES: &[&str] = &["file.", "mount.", "process.exec-memory"];

/// A sensor with what these tests need, which is there sooner than one with everything.
fn watch(capabilities: &[&'static str]) -> Option<Watch> {
    Watch::with(&SensorConfig {
        wanted: Wanted::Only(capabilities.iter().map(|name| (*name).to_owned()).collect()),
        ..SensorConfig::default()
    })
}

/// Does a deed; `None` where this machine lacks what it takes.
fn perform(name: &str, directory: &Path) -> Option<Truth> {
    let output = Command::new(env!("CARGO_BIN_EXE_norma-deed"))
        .arg(name)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let truth: Truth = serde_json::from_slice(&output.stdout).unwrap();
    match &truth.skipped {
        Some(why) => {
            skipped("kernel", &format!("{name}: {why}"));
            None
        }
        None => Some(truth),
    }
}

/// Whether this kernel's tier sees a technique at all; no technique is seen by whoever has the capability.
fn sees(watch: &Watch, technique: &str) -> bool {
    technique.is_empty()
        || watch
            .report
            .techniques
            .iter()
            .find(|report| report.technique.name() == technique)
            .is_none_or(|report| report.sight.is_some())
}

fn tier(watch: &Watch, capability: &str) -> Option<Tier> {
    watch
        .report
        .capabilities
        .iter()
        .find(|report| report.name == capability)
        .and_then(|report| report.tier)
}

/// The capability by which an operation is seen.
fn capability(operation: &str) -> &'static str {
    match operation {
        "open" => "open",
        "file.open-failed" => "open-failed",
        "file.open-path" => "open-path",
        "file.unlink" | "file.rmdir" => "unlink",
        "file.rename" | "file.link" => "rename",
        "file.mkdir" | "file.mknod" | "file.symlink" => "create",
        "file.chmod" => "chmod",
        "file.chown" => "chown",
        "file.setxattr" | "file.removexattr" => "xattr",
        "file.truncate" => "truncate",
        "file.chroot" => "chroot",
        "file.map-exec" | "file.map-write" => "map",
        "file.receive" => "receive",
        "file.sysctl-write" => "sysctl",
        "process.exec-memory" => "exec-memory",
        "mount.attributes" | "mount.detached" => "mount-detached",
        _ => "mount",
    }
}

/// What a truth has as text.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Whether a name is that of a file: by its real path where the kernel walked it, else as it was given.
fn names(name: Option<&Name>, truth: &FileTruth) -> bool {
    match name {
        Some(Name::Walked(path)) if path.disconnected => truth
            .real
            .contains(escaped(&path.bytes).rsplit('/').next().unwrap_or_default()),
        Some(Name::Walked(path)) if path.truncated => {
            let path = escaped(&path.bytes);
            let end = path.split_once('/').map_or("", |(_, end)| end);
            truth.real.ends_with(end)
        }
        Some(Name::Walked(path)) => escaped(&path.bytes) == truth.real.trim_end_matches(" (deleted)"),
        Some(Name::Claimed(bytes)) => escaped(bytes) == truth.given || escaped(bytes) == truth.real,
        None => false,
    }
}

fn argument(operation: &Operation, name: &str) -> Option<u64> {
    let index = operation
        .op
        .definition()
        .args
        .iter()
        .position(|(argument, _)| *argument == name)?;
    Some(operation.args[index]).filter(|value| *value != norma_abi::ARG_UNKNOWN)
}

/// Whether the arguments are those of the truth, as far as both tell them.
fn arguments(operation: &Operation, truth: &Truth) -> bool {
    truth.facts.iter().all(|(name, value)| {
        if name == "text" {
            return value.as_str() == Some(escaped(&operation.text).as_str());
        }
        match (name.as_str(), value.as_u64(), argument(operation, name)) {
            // A check sees the whole mapping, of which this may be a part.
            ("address" | "length", Some(_), Some(_)) if operation.outcome == Outcome::Permitted => true,
            ("mode", Some(value), Some(seen)) => seen & 0o7777 == value & 0o7777,
            (_, Some(value), Some(seen)) => seen == value,
            _ => true,
        }
    })
}

fn is_operation(seen: &Observation, truth: &Truth) -> Option<Operation> {
    let Act::Operation(operation) = &seen.act else {
        return None;
    };
    let by_it = seen.actor.process.pid == truth.pid && operation.op.name() == truth.operation;
    let path = match &truth.path {
        // A mount has no path of its own while it is attached nowhere, and a setting has a name instead.
        Some(_)
            if matches!(
                truth.deed.as_str(),
                "mount-fsopen" | "mount-open-tree" | "write-sysctl"
            ) =>
        {
            true
        }
        Some(path) => names(operation.path.as_ref(), path),
        None => true,
    };
    let other = truth
        .other
        .as_ref()
        .is_none_or(|other| truth.deed == "exec-ld-so" || names(operation.other.as_ref(), other));
    (by_it && path && other && arguments(operation, truth)).then(|| (**operation).clone())
}

fn is_open(seen: &Observation, truth: &Truth) -> Option<Open> {
    let Act::Open(open) = &seen.act else { return None };
    let path = truth.path.as_ref()?;
    let named = names(Some(&Name::Walked(open.path.clone())), path) && open.file.inode == path.inode;
    let access = [
        ("read", open.read),
        ("write", open.write),
        ("created", open.created),
    ];
    let as_told = access.iter().all(|(name, seen)| {
        truth
            .facts
            .get(*name)
            .is_none_or(|value| value.as_bool() == Some(*seen))
    });
    (seen.actor.process.pid == truth.pid && named && as_told).then(|| open.clone())
}

/// Does all deeds of an operation, or the ones that `pick` picks, and looks for each; checks what is the same for
/// all.
fn prove(pick: impl Fn(&Deed) -> bool, check: impl Fn(&Watch, &Truth, &Operation)) {
    let deeds: Vec<Deed> = norma_rig::deed::deeds().filter(pick).collect();
    let wanted: Vec<&str> = deeds.iter().map(|deed| capability(deed.operation)).collect();
    let Some(mut watch) = watch(&wanted) else { return };
    let (_keep, directory) = directory();
    let mut proven = 0;
    for deed in deeds {
        if !sees(&watch, deed.technique) || tier(&watch, capability(deed.operation)).is_none() {
            eprintln!("{}: not seen on this kernel, and the report says so", deed.name);
            continue;
        }
        // What an mprotect makes executable is not known to be a file's there, and bind makes its file unseen.
        let unknown = ["io-uring-file", "fd-passing", "map-exec-mprotect", "mknod-socket"];
        let tracepoint = tier(&watch, capability(deed.operation)) == Some(Tier::SyscallTracepoint);
        if tracepoint && (unknown.contains(&deed.technique) || unknown.contains(&deed.name)) {
            eprintln!("{}: not seen at this tier, and the report says so", deed.name);
            continue;
        }
        watch.drain();
        watch.seen.clear();
        let Some(truth) = perform(deed.name, &directory) else {
            continue;
        };
        if truth.operation == "open" {
            watch.find(deed.name, |seen| is_open(seen, &truth));
        } else {
            let operation = watch.find(deed.name, |seen| is_operation(seen, &truth));
            assert_operation(&truth, &operation);
            check(&watch, &truth, &operation);
        }
        proven += 1;
    }
    assert!(proven > 0, "no deed could be done");
}

/// What the truth says besides the names.
fn assert_operation(truth: &Truth, operation: &Operation) {
    let expected = match truth.result.as_str() {
        "ok" => None,
        error => Some(error),
    };
    match (expected, operation.outcome) {
        (None, Outcome::Permitted | Outcome::Succeeded) => {}
        (Some("ENOENT"), Outcome::Failed(errno)) => assert_eq!(errno, Errno::NOENT.raw_os_error() as u32),
        (Some("EACCES"), Outcome::Failed(errno)) => assert_eq!(errno, Errno::ACCESS.raw_os_error() as u32),
        (expected, seen) => panic!("{}: {expected:?} is told as {seen:?}", truth.deed),
    }
    if let (Some(Name::Walked(_)), Some(path)) = (&operation.path, &truth.path)
        && operation.file.inode != 0
        && path.inode != 0
        && !truth.operation.starts_with("mount.")
    {
        assert_eq!(operation.file.inode, path.inode, "{}", truth.deed);
    }
}

/// At the better tiers every name comes from the kernel.
fn walked(watch: &Watch, truth: &Truth, operation: &Operation) {
    if matches!(
        tier(watch, capability(&truth.operation)),
        Some(Tier::Lsm | Tier::Fentry)
    ) && truth.operation != "file.open-failed"
        && !truth.operation.starts_with("mount.")
        && truth.path.is_some()
    {
        assert!(
            matches!(operation.path, Some(Name::Walked(_))),
            "{}: {operation:?}",
            truth.deed
        );
    }
}

/// Deeds of one operation; none of an operation that only another configuration shows.
fn prove_operations(operations: &[&str]) {
    prove(
        |deed| operations.contains(&deed.operation) && !deed.name.starts_with("open-failed-"),
        walked,
    );
}

#[test]
fn every_deed_of_this_family_is_proven_by_one_of_these_tests() {
    let proven = [
        "file.unlink",
        "file.rmdir",
        "file.rename",
        "file.link",
        "file.mkdir",
        "file.mknod",
        "file.symlink",
        "file.chmod",
        "file.chown",
        "file.setxattr",
        "file.removexattr",
        "file.truncate",
        "file.chroot",
        "file.open-failed",
        "file.receive",
        "file.open-path",
        "file.map-exec",
        "file.map-write",
        "file.sysctl-write",
        "process.exec-memory",
        "mount.mount",
        "mount.umount",
        "mount.move",
        "mount.pivot-root",
        "mount.attributes",
    ];
    for deed in norma_rig::deed::deeds() {
        let ours = FAMILIES.iter().any(|family| deed.operation.starts_with(family));
        assert!(
            !ours || proven.contains(&deed.operation),
            "{} is proven nowhere",
            deed.operation
        );
    }
}

#[test]
fn names_that_are_removed() {
    prove_operations(&["file.unlink", "file.rmdir"]);
}

#[test]
fn names_that_are_given() {
    prove_operations(&["file.rename", "file.link"]);
}

#[test]
fn directories_nodes_and_symbolic_links() {
    prove_operations(&["file.mkdir", "file.mknod", "file.symlink"]);
}

#[test]
fn permissions_and_owners() {
    prove_operations(&["file.chmod", "file.chown"]);
}

#[test]
fn attributes() {
    prove_operations(&["file.setxattr", "file.removexattr"]);
}

#[test]
fn lengths_and_roots() {
    prove_operations(&["file.truncate", "file.chroot"]);
}

#[test]
fn mappings_of_files() {
    prove_operations(&["file.map-exec", "file.map-write"]);
}

#[test]
fn memory_that_becomes_executable() {
    prove(
        |deed| deed.operation == "process.exec-memory",
        |_, truth, operation| {
            let protection = truth.facts["protection"].as_u64();
            assert_eq!(argument(operation, "protection"), protection, "{}", truth.deed);
        },
    );
}

#[test]
fn mounts() {
    prove_operations(&[
        "mount.mount",
        "mount.umount",
        "mount.move",
        "mount.pivot-root",
        "mount.attributes",
    ]);
}

#[test]
fn settings_of_the_kernel() {
    prove_operations(&["file.sysctl-write"]);
}

#[test]
fn opens_without_access() {
    prove_operations(&["file.open-path"]);
}

#[test]
fn opens_by_whatever_way() {
    // A file received is opened by the sender; who holds it then is told by file.receive. Of a race the many
    // opens are told one by one.
    let other = ["open-received", "open-toctou"];
    prove(
        |deed| deed.operation == "open" && deed.family == "file" && !other.contains(&deed.name),
        |_, _, _| {},
    );
}

#[test]
fn a_race_over_the_name_hides_no_open() {
    let Some(mut watch) = watch(&["open"]) else { return };
    let (_keep, directory) = directory();
    let Some(truth) = perform("open-toctou", &directory) else {
        return;
    };
    let opens = |seen: &[Observation], path: &str| {
        seen.iter()
            .filter(|seen| seen.actor.process.pid == truth.pid)
            .filter(|seen| {
                matches!(&seen.act, Act::Open(open) if !open.write && escaped(&open.path.bytes) == path)
            })
            .count() as u64
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    for (path, count) in truth.facts["opened"].as_object().unwrap() {
        while opens(&watch.seen, path) < count.as_u64().unwrap() {
            assert!(
                Instant::now() < deadline,
                "{path}: {} of {count}",
                opens(&watch.seen, path)
            );
            watch.drain();
        }
        assert_eq!(Some(opens(&watch.seen, path)), count.as_u64(), "{path}");
    }
}

#[test]
fn files_that_are_received() {
    let Some(watch) = watch(&["receive"]) else { return };
    if tier(&watch, "receive") == Some(Tier::SyscallTracepoint) {
        skipped(
            "kernel",
            "files received over Unix sockets are not seen on this kernel",
        );
        return;
    }
    drop(watch);
    prove_operations(&["file.receive"]);
}

#[test]
fn refused_opens_are_told_and_missing_files_are_not() {
    let Some(mut watch) = watch(&["open-failed", "open-path"]) else {
        return;
    };
    let (_keep, directory) = directory();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let missing = perform("open-failed-enoent", &directory);
    let Some(truth) = perform("open-failed-eacces", &directory) else {
        return;
    };
    let operation = watch.find("the refused open", |seen| is_operation(seen, &truth));
    assert_operation(&truth, &operation);
    if let Some(missing) = missing {
        assert!(
            !watch
                .seen
                .iter()
                .any(|seen| is_operation(seen, &missing).is_some()),
            "the default is to report refusals only"
        );
    }
}

#[test]
fn an_exec_is_no_mapping_and_no_open_of_its_program() {
    let Some(mut watch) = watch(&["open", "map", "exec"]) else {
        return;
    };
    let (_keep, directory) = directory();
    let program = directory.join("program");
    fs::copy(env!("CARGO_BIN_EXE_norma-deed"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        Command::new(&program)
            .arg("list")
            .output()
            .unwrap()
            .status
            .success()
    );
    let marker = directory.join("marker");
    File::create(&marker).unwrap();
    watch.open(&marker);
    let text = program.to_str().unwrap();
    let extra = watch.seen.iter().find(|seen| match &seen.act {
        Act::Operation(operation) if operation.op.name() == "file.map-exec" => operation
            .path
            .as_ref()
            .is_some_and(|path| path.bytes() == text.as_bytes()),
        Act::Open(open) => {
            !open.write && open.path.bytes == text.as_bytes() && seen.actor.comm.as_slice() == b"program"
        }
        _ => false,
    });
    assert!(extra.is_none(), "{extra:?}");
}

#[test]
fn the_better_tiers_see_every_technique_of_this_family() {
    let Some(watch) = Watch::start() else { return };
    if tier(&watch, "open") != Some(Tier::Lsm) {
        skipped("kernel", "BPF-LSM is not to be had here");
        return;
    }
    for technique in [
        Technique::Toctou,
        Technique::Symlink,
        Technique::HardLink,
        Technique::ProcRoot,
        Technique::BindMount,
        Technique::RelativePath,
        Technique::Chroot,
        Technique::OpenByHandle,
        Technique::FdPassing,
        Technique::PathOperation,
        Technique::FailedOpen,
        Technique::OpenPath,
        Technique::IoUringFile,
        Technique::LdSo,
        Technique::MappedCode,
        Technique::AnonymousCode,
        Technique::GarbageNames,
    ] {
        assert_eq!(watch.report.sight(technique), Some(Sight::Fully), "{technique}");
    }
    // Hooks of other families may miss it, which limits the whole.
    assert!(watch.report.sight(Technique::Compat32).is_some());
}
