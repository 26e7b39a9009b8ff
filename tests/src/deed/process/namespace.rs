//! Namespaces.

use crate::deed::area::Area;
use crate::deed::sys::process::{Child, clone_with, clone3_with, fork, setns, unshare, wait_forever};
use crate::deed::technique::{COMPAT, NAMESPACE_CHANGE};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed, lacking, sys};
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

const CLONE_NEWTIME: i32 = 0x80;

pub const ALL: &[Deed] = &[
    unshared("unshare-mount", "a mount namespace of its own", |_| {
        own(libc::CLONE_NEWNS, "mnt")
    }),
    unshared("unshare-uts", "a UTS namespace of its own", |_| {
        own(libc::CLONE_NEWUTS, "uts")
    }),
    unshared("unshare-ipc", "an IPC namespace of its own", |_| {
        own(libc::CLONE_NEWIPC, "ipc")
    }),
    unshared("unshare-net", "a network namespace of its own", |_| {
        own(libc::CLONE_NEWNET, "net")
    }),
    unshared("unshare-pid", "a pid namespace for its children", |_| {
        own(libc::CLONE_NEWPID, "pid_for_children")
    }),
    unshared("unshare-user", "a user namespace of its own", |_| {
        own(libc::CLONE_NEWUSER, "user")
    }),
    unshared("unshare-cgroup", "a control group namespace of its own", |_| {
        own(libc::CLONE_NEWCGROUP, "cgroup")
    }),
    unshared("unshare-time", "a time namespace for its children", |_| {
        own(CLONE_NEWTIME, "time_for_children")
    }),
    deed(
        "unshare-compat",
        "namespace.unshare",
        COMPAT,
        "a UTS namespace of its own, by the 32-bit interface",
        |_| {
            sys::compat::unshare(libc::CLONE_NEWUTS).context("the 32-bit interface of this kernel")?;
            Ok(Truth::here().fact("flags", libc::CLONE_NEWUTS))
        },
    ),
    deed(
        "setns",
        "namespace.setns",
        NAMESPACE_CHANGE,
        "enters the UTS namespace of another process",
        |_| {
            let child = elsewhere()?;
            let namespace = File::open(format!("/proc/{}/ns/uts", child.pid()))?;
            entered(&OwnedFd::from(namespace), &child)
        },
    ),
    deed(
        "setns-pidfd",
        "namespace.setns",
        NAMESPACE_CHANGE,
        "enters the UTS namespace of another process by its pidfd",
        |_| {
            let child = elsewhere()?;
            let process = sys::process::pidfd_open(child.pid(), 0)?;
            match entered(&process, &child) {
                // Before 5.8.
                Err(error) if error.root_cause().to_string().contains("EINVAL") => {
                    Err(lacking("this kernel's setns does not take a pidfd"))
                }
                other => other,
            }
        },
    ),
    deed(
        "clone-namespaces",
        "namespace.clone",
        NAMESPACE_CHANGE,
        "clone(2) of a child with UTS and IPC namespaces of its own",
        |_| {
            let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
            born(clone_with(flags, || 0)?, flags)
        },
    ),
    deed(
        "clone3-namespaces",
        "namespace.clone",
        NAMESPACE_CHANGE,
        "clone3(2) of a child with mount and pid namespaces of its own",
        |_| {
            let flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID;
            born(clone3_with(u64::from(flags.unsigned_abs()), || 0)?, flags)
        },
    ),
];

const fn unshared(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "namespace.unshare", NAMESPACE_CHANGE, what, act)
}

fn namespace(of: &str, name: &str) -> Result<String> {
    let path = format!("/proc/{of}/ns/{name}");
    let link = fs::read_link(&path).map_err(|error| lacking(format!("{path}: {error}")))?;
    Ok(link.display().to_string())
}

fn own(flags: i32, name: &str) -> Result<Truth> {
    let before = namespace("self", name)?;
    unshare(flags)?;
    // A pid namespace without a process has no name yet.
    let after = namespace("self", name).unwrap_or_default();
    ensure!(before != after, "the namespace is still {before}");
    Ok(Truth::here()
        .fact("flags", flags)
        .fact("before", before)
        .fact("after", after))
}

/// A child in a UTS namespace of its own.
fn elsewhere() -> Result<Child> {
    let (mut reader, mut writer) = std::io::pipe()?;
    let child = fork(|| {
        if unshare(libc::CLONE_NEWUTS).is_err() || writer.write_all(b"x").is_err() {
            return 1;
        }
        wait_forever()
    })?;
    drop(writer);
    let ready = reader.read(&mut [0])?;
    if ready == 0 {
        return Err(lacking("no UTS namespace is to be had"));
    }
    Ok(child)
}

fn entered(by: &OwnedFd, child: &Child) -> Result<Truth> {
    setns(by, libc::CLONE_NEWUTS).context("setns")?;
    let (own, other) = (namespace("self", "uts")?, namespace(&child.to_string(), "uts")?);
    ensure!(own == other, "{own} is not {other}");
    Ok(Truth::here().fact("flags", libc::CLONE_NEWUTS).fact("after", own))
}

fn born(child: Child, flags: i32) -> Result<Truth> {
    let truth = Truth::here().target(child.pid()).fact("flags", flags);
    child.wait()?;
    Ok(truth)
}
