//! Users, capabilities and what is given up.

use crate::deed::area::Area;
use crate::deed::sys::{self, From, Layout};
use crate::deed::technique::{COMPAT, CREDENTIAL_CHANGE};
use crate::deed::truth::Truth;
use crate::deed::{Deed, deed};
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Nobody in particular.
const USER: u32 = 54_321;
/// "Leave it as it is".
const SAME: u32 = u32::MAX;
const CAP_SYS_NICE: u32 = 23;
const CAP_SYS_TIME: u32 = 25;
const SECCOMP_SET_MODE_FILTER: u32 = 1;
const SECCOMP_MODE_FILTER: u64 = 2;

pub const ALL: &[Deed] = &[
    ids("ids-setuid", "setuid(2)", |_| {
        sys::process::setuid(USER)?;
        identity()
    }),
    ids("ids-setreuid", "setreuid(2)", |_| {
        sys::process::setreuid(SAME, USER)?;
        identity()
    }),
    ids("ids-setresuid", "setresuid(2)", |_| {
        sys::process::setresuid(USER, USER, SAME)?;
        identity()
    }),
    ids("ids-setgid", "setgid(2)", |_| {
        sys::process::setgid(USER)?;
        identity()
    }),
    ids("ids-setresgid", "setresgid(2)", |_| {
        sys::process::setresgid(USER, USER, USER)?;
        identity()
    }),
    deed(
        "groups-setgroups",
        "privilege.groups",
        CREDENTIAL_CHANGE,
        "setgroups(2)",
        |_| {
            let groups = Layout::default().u32(USER).u32(USER + 1).end();
            sys::process::setgroups(2, From(&groups))?;
            Ok(identity()?.fact("count", 2))
        },
    ),
    deed(
        "capset",
        "privilege.capabilities",
        CREDENTIAL_CHANGE,
        "capset(2) without CAP_SYS_TIME",
        capset,
    ),
    deed(
        "capability-use",
        "privilege.capability-use",
        "",
        "setpriority(2) to before others, which takes CAP_SYS_NICE",
        |_| {
            sys::process::setpriority(libc::PRIO_PROCESS, 0, -1)?;
            let namespace = fs::metadata("/proc/self/ns/user")?.ino();
            Ok(Truth::here()
                .fact("capability", 1_u64 << CAP_SYS_NICE)
                .fact("namespace", namespace))
        },
    ),
    deed(
        "no-new-privs",
        "privilege.no-new-privs",
        "",
        "prctl(PR_SET_NO_NEW_PRIVS)",
        |_| {
            sys::process::set_no_new_privs(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
            anyhow::ensure!(status("NoNewPrivs")? == "1", "the bit is not set");
            Ok(Truth::here())
        },
    ),
    deed(
        "no-new-privs-compat",
        "privilege.no-new-privs",
        COMPAT,
        "prctl(PR_SET_NO_NEW_PRIVS), by the 32-bit interface",
        |_| {
            sys::compat::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
                .context("the 32-bit interface of this kernel")?;
            anyhow::ensure!(status("NoNewPrivs")? == "1", "the bit is not set");
            Ok(Truth::here())
        },
    ),
    deed(
        "seccomp",
        "privilege.seccomp",
        "",
        "seccomp(2) with a filter that allows all",
        |_| {
            let filter = allow_all();
            sys::process::seccomp(SECCOMP_SET_MODE_FILTER, 0, From(&program(&filter)))?;
            filtered()
        },
    ),
    deed(
        "seccomp-prctl",
        "privilege.seccomp",
        "",
        "prctl(PR_SET_SECCOMP) with a filter that allows all",
        |_| {
            let filter = allow_all();
            sys::process::seccomp_prctl(libc::PR_SET_SECCOMP, SECCOMP_MODE_FILTER, From(&program(&filter)))?;
            filtered()
        },
    ),
];

const fn ids(name: &'static str, what: &'static str, act: fn(&Area) -> Result<Truth>) -> Deed {
    deed(name, "privilege.ids", CREDENTIAL_CHANGE, what, act)
}

/// A line of /proc/self/status.
fn status(name: &str) -> Result<String> {
    let text = fs::read_to_string("/proc/self/status")?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .with_context(|| format!("/proc/self/status has no {name}"))
}

/// Who this process is now, by real and effective id.
fn identity() -> Result<Truth> {
    let mut truth = Truth::here();
    for (line, real, effective) in [("Uid", "uid", "euid"), ("Gid", "gid", "egid")] {
        let ids = status(line)?;
        let ids: Vec<u32> = ids.split_whitespace().map_while(|id| id.parse().ok()).collect();
        let [first, second, ..] = ids[..] else {
            anyhow::bail!("{line} has no ids");
        };
        truth = truth.fact(real, first).fact(effective, second);
    }
    Ok(truth.fact("groups", status("Groups")?))
}

fn capset(_: &Area) -> Result<Truth> {
    let held = |name| -> Result<u64> { u64::from_str_radix(&status(name)?, 16).context("capabilities") };
    let (permitted, inheritable) = (held("CapPrm")?, held("CapInh")?);
    let effective = held("CapEff")? & !(1 << CAP_SYS_TIME);
    // _LINUX_CAPABILITY_VERSION_3, this process.
    let header = Layout::default().u32(0x2008_0522).u32(0).end();
    let half =
        |mask: u64, high: bool| u32::try_from(mask >> (32 * u32::from(high)) & 0xffff_ffff).unwrap_or(0);
    let mut data = Layout::default();
    for high in [false, true] {
        data = data
            .u32(half(effective, high))
            .u32(half(permitted, high))
            .u32(half(inheritable, high));
    }
    sys::process::capset(From(&header), From(&data.end()))?;
    Ok(Truth::here()
        .fact("effective", held("CapEff")?)
        .fact("permitted", held("CapPrm")?)
        .fact("inheritable", held("CapInh")?))
}

/// BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
fn allow_all() -> Vec<u8> {
    Layout::default().u16(0x06).u16(0).u32(0x7fff_0000).end()
}

/// The header of a filter of one instruction.
fn program(filter: &[u8]) -> Vec<u8> {
    Layout::default().u16(1).up_to(8).address(filter).end()
}

fn filtered() -> Result<Truth> {
    anyhow::ensure!(status("Seccomp")? == "2", "there is no filter");
    Ok(Truth::here())
}
