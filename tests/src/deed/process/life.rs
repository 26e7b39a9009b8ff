//! Beginning and end.

use crate::deed::area::{Area, Group, text};
use crate::deed::sys::process::{Child, clone3_with, end, fork, wait_forever};
use crate::deed::technique::{CGROUP_MOVE, COMM_FORGING, SHORT_LIVED};
use crate::deed::truth::{Truth, written};
use crate::deed::{Deed, deed, sys};
use anyhow::{Context as _, Result};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

pub const ALL: &[Deed] = &[
    deed("fork", "fork", "", "fork(2)", |_| forked(fork(|| 0)?)),
    deed("fork-clone3", "fork", "", "clone3(2) without namespaces", |_| {
        forked(clone3_with(0, || 0)?)
    }),
    deed(
        "fork-orphan",
        "fork",
        "",
        "a child makes a child and ends, so that the first process of the namespace inherits it",
        orphan,
    ),
    deed(
        "exit-short-lived",
        "exit",
        SHORT_LIVED,
        "a process that ends as soon as it begins",
        short_lived,
    ),
    deed("exit-code", "exit", "", "a process that ends with code 7", |_| {
        ended(fork(|| 7)?)
    }),
    deed("exit-signal", "exit", "", "a process ended by SIGTERM", |_| {
        let child = fork(|| wait_forever())?;
        sys::process::kill(child.pid(), libc::SIGTERM)?;
        ended(child)
    }),
    deed(
        "comm-prctl",
        "process.comm",
        COMM_FORGING,
        "prctl(PR_SET_NAME) with a kernel thread's name",
        |_| {
            sys::process::set_name(libc::PR_SET_NAME, &text("kworker/0:7")?)?;
            comm("kworker/0:7")
        },
    ),
    deed(
        "comm-proc",
        "process.comm",
        COMM_FORGING,
        "the name is written to /proc/self/comm",
        |_| {
            fs::write("/proc/self/comm", "kworker/0:8")?;
            comm("kworker/0:8")
        },
    ),
    deed(
        "cgroup-move",
        "process.cgroup-move",
        CGROUP_MOVE,
        "a process moves its child to another control group",
        cgroup_move,
    ),
];

fn forked(child: Child) -> Result<Truth> {
    let truth = Truth::here().target(child.pid());
    child.wait()?;
    Ok(truth)
}

fn orphan(_: &Area) -> Result<Truth> {
    let (mut reader, mut writer) = std::io::pipe()?;
    let parent = fork(|| {
        let parent = std::process::id();
        let child = fork(|| {
            while std::os::unix::process::parent_id() == parent {
                std::thread::yield_now();
            }
            let facts = [std::process::id(), std::os::unix::process::parent_id()];
            let bytes: Vec<u8> = facts.iter().flat_map(|fact| fact.to_ne_bytes()).collect();
            i32::from(writer.write_all(&bytes).is_err())
        });
        // Not dropped: that would end the child.
        std::mem::forget(child);
        0
    })?;
    let pid = parent.pid();
    parent.wait()?;
    drop(writer);
    let mut facts = [0; 8];
    reader.read_exact(&mut facts).context("the orphan said nothing")?;
    let fact = |at: usize| u32::from_ne_bytes([facts[at], facts[at + 1], facts[at + 2], facts[at + 3]]);
    Ok(Truth::of(pid).target(fact(0)).fact("new_parent", fact(4)))
}

fn ended(child: Child) -> Result<Truth> {
    let pid = child.pid();
    let status = child.wait()?;
    Ok(Truth::of(pid).fact("status", status.into_raw()))
}

fn short_lived(_: &Area) -> Result<Truth> {
    let begun = Instant::now();
    let child = fork(|| end(3))?;
    let pid = child.pid();
    let status = child.wait()?;
    let lived = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Truth::of(pid)
        .fact("status", status.into_raw())
        .fact("microseconds_at_most", lived))
}

fn comm(name: &str) -> Result<Truth> {
    let now = fs::read_to_string("/proc/self/comm")?;
    anyhow::ensure!(now.trim_end() == name, "the name is {now}");
    Ok(Truth::here().fact("text", name))
}

fn cgroup_move(_: &Area) -> Result<Truth> {
    let group = Group::make()?;
    let child = fork(|| wait_forever())?;
    group.take(child.pid())?;
    let truth = Truth::here().target(child.pid()).fact(
        "text",
        written(group.path().file_name().unwrap_or_default().as_encoded_bytes()),
    );
    drop(child);
    Ok(truth)
}
