//! Operations on files, privileges and the host, in words.

use crate::pb::{Operation, Outcome, Path};

/// What was done, as a main clause.
pub fn words(exe: &str, operation: &Operation) -> String {
    let mut words = format!("{exe} {}", verb(operation));
    if let Some(path) = &operation.path {
        words += &format!(" {}", path_words(path));
    }
    if let Some(other) = &operation.other {
        words += &format!(" to {}", path_words(other));
    }
    if let Some(target) = &operation.target {
        let exe = if target.exe.is_empty() {
            "a process"
        } else {
            &target.exe
        };
        words += &format!(" on {exe} (pid {})", target.pid);
    }
    let attributes: Vec<_> = operation
        .attributes
        .iter()
        .map(|attribute| format!("{} {}", attribute.name, attribute.value))
        .collect();
    if !attributes.is_empty() {
        words += &format!(" ({})", attributes.join(", "));
    }
    words + &ending(operation.outcome, &operation.error)
}

/// Facts that do not fit into the clause.
pub fn details(operation: &Operation, facts: &mut Vec<(&'static str, String)>) {
    let claimed = |path: &Option<Path>| path.as_ref().is_some_and(|path| path.claimed);
    if claimed(&operation.path) || claimed(&operation.other) {
        facts.push((
            "note",
            "a path is as the program gave it; the kernel did not resolve it".to_owned(),
        ));
    }
    if operation.io_uring {
        facts.push(("note", "done by an io_uring request".to_owned()));
    }
}

/// What came of it, where that is worth words.
pub fn ending(outcome: i32, error: &str) -> String {
    match Outcome::try_from(outcome) {
        Ok(Outcome::Denied) => format!(", which was refused ({error})"),
        Ok(Outcome::Failed) => format!(", which failed ({error})"),
        _ => String::new(),
    }
}

/// The name of the operation as a verb.
fn verb(operation: &Operation) -> String {
    let verb = match operation.name.as_str() {
        "file.unlink" => "removed",
        "file.rmdir" => "removed the directory",
        "file.rename" => "renamed",
        "file.link" => "linked",
        "file.symlink" => "made the symbolic link",
        "file.mkdir" => "made the directory",
        "file.mknod" => "made the node",
        "file.chmod" => "changed the mode of",
        "file.chown" => "changed the owner of",
        "file.setxattr" => "set an attribute of",
        "file.removexattr" => "removed an attribute of",
        "file.truncate" => "truncated",
        "file.map-exec" => "mapped for execution",
        "file.map-write" => "mapped for writing",
        "file.open-failed" => "tried to open",
        "file.open-path" => "opened without access",
        "file.sysctl-write" => "wrote the kernel setting",
        "file.chroot" => "changed its root to",
        "file.receive" => "received",
        "mount.detached" => "made the mount, attached nowhere yet,",
        "mount.attributes" => "changed the attributes of the mount",
        "mount.mount" => "mounted",
        "mount.umount" => "unmounted",
        "mount.move" => "moved the mount",
        "mount.pivot-root" => "made the root of its mounts",
        "privilege.ids" => "changed its ids",
        "privilege.groups" => "changed its groups",
        "privilege.capabilities" => "changed its capabilities",
        "privilege.capability-use" if operation.outcome == i32::from(Outcome::Denied) => {
            "needed a capability"
        }
        "privilege.capability-use" => "used a capability",
        "privilege.no-new-privs" => "gave up new privileges",
        "privilege.seccomp" => "installed a seccomp filter",
        "namespace.unshare" => "left namespaces",
        "namespace.setns" => "entered a namespace",
        "namespace.clone" => "made a child in new namespaces",
        "process.ptrace" => "traced",
        "process.vm-read" => "read memory of another process",
        "process.vm-write" => "wrote memory of another process",
        "process.signal" => "sent a signal",
        "process.exec-memory" => "made memory executable",
        "process.comm" => "changed its name",
        "process.cgroup-move" => "moved a process to another control group",
        "process.exec-failed" => "tried to execute",
        "host.module-load" => "loaded a kernel module",
        "host.module-unload" => "removed a kernel module",
        "host.module-request" => "made the kernel ask for a module",
        "host.bpf-load" => "loaded a BPF program",
        "host.bpf-attach" => "attached a BPF program",
        "host.keyctl" => "used the kernel's keys",
        "host.perf-event" => "opened a performance event",
        "host.userfaultfd" => "made a userfaultfd",
        "host.io-uring-setup" => "made an io_uring",
        "host.io-uring-op" => "submitted io_uring requests",
        "host.kexec" => "loaded a kernel to boot into",
        "host.device" => "accessed a raw device",
        "host.clock-set" => "set the clock",
        other => return format!("did {other}"),
    };
    verb.to_owned()
}

fn path_words(path: &Path) -> String {
    let note = match (path.claimed, path.deleted) {
        (true, _) => " (as given)",
        (false, true) => " (deleted)",
        (false, false) => "",
    };
    format!(
        "{}{note}",
        if path.path.is_empty() {
            "\u{2014}"
        } else {
            &path.path
        }
    )
}
