//! Attempts to gain privileges by a process that may not.

use crate::deed::area::Area;
use crate::deed::sys::{self, Errno, Sys};
use crate::deed::technique::COMPAT;
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result, ensure};

/// Nobody in particular.
const USER: u32 = 54_321;
const PTRACE_ATTACH: u32 = 16;
/// The first process, which nobody may trace but root.
const FIRST: u32 = 1;

pub const ALL: &[Deed] = &[
    ids("refused-setuid", "", "setuid(2) to root", |_| {
        became_root(|| sys::process::setuid(0))
    }),
    ids("refused-setreuid", "", "setreuid(2) to root", |_| {
        became_root(|| sys::process::setreuid(0, 0))
    }),
    ids("refused-setresuid", "", "setresuid(2) to root", |_| {
        became_root(|| sys::process::setresuid(0, 0, 0))
    }),
    ids(
        "refused-setuid-compat",
        COMPAT,
        "setuid(2) to root, by the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            became_root(|| sys::compat::setuid(0))
        },
    ),
    ids(
        "refused-setuid16-compat",
        COMPAT,
        "setuid(2) to root by an id of 16 bits",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            became_root(|| sys::compat::setuid16(0))
        },
    ),
    deed(
        "refused-ptrace",
        "process.ptrace",
        "",
        "ptrace(PTRACE_ATTACH) of the first process",
        |_| traced(|| sys::process::ptrace(PTRACE_ATTACH, FIRST, 0, 0)),
    ),
    deed(
        "refused-ptrace-compat",
        "process.ptrace",
        COMPAT,
        "ptrace(PTRACE_ATTACH) of the first process, by the 32-bit interface",
        |_| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            traced(|| sys::compat::ptrace(PTRACE_ATTACH, FIRST))
        },
    ),
];

const fn ids(
    name: &'static str,
    technique: &'static str,
    what: &'static str,
    act: fn(&Area) -> Result<Truth>,
) -> Deed {
    deed(name, "privilege.ids", technique, what, act)
}

fn became_root(attempt: impl FnOnce() -> Sys<()>) -> Result<Truth> {
    sys::process::setresuid(USER, USER, USER)?;
    let result = attempt();
    ensure!(result == Err(Errno::EPERM), "it gave {result:?}");
    Ok(Truth::here().fact("euid", 0).result(&result))
}

fn traced(attempt: impl FnOnce() -> Sys<()>) -> Result<Truth> {
    sys::process::setresuid(USER, USER, USER)?;
    let result = attempt();
    ensure!(result == Err(Errno::EPERM), "it gave {result:?}");
    Ok(Truth::here().fact("request", PTRACE_ATTACH).result(&result))
}
