//! A seccomp profile in the form that container runtimes read.
//!
//! Norma records no system calls, so there is no list of those that a workload needs, and none is made up.
//! What is known is which privileged operations and capabilities it used. So everything is allowed, except the
//! system calls that serve only such operations as were never seen.

use super::apparmor::capability_name;
use super::{ExportError, head};
use crate::fact::{Fact, Field};
use crate::norm::Norm;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// System calls that serve one purpose, and what shows that a workload has it.
struct Purpose {
    what: &'static str,
    /// Beginnings of names of privileged operations.
    operations: &'static [&'static str],
    capabilities: &'static [&'static str],
    calls: &'static [&'static str],
}

const PURPOSES: [Purpose; 9] = [
    Purpose {
        what: "mounting",
        operations: &["mount", "fs."],
        capabilities: &["sys_admin"],
        calls: &[
            "mount",
            "umount",
            "umount2",
            "pivot_root",
            "move_mount",
            "open_tree",
            "fsopen",
            "fsmount",
            "fsconfig",
            "fspick",
            "mount_setattr",
        ],
    },
    Purpose {
        what: "namespaces",
        operations: &["namespace", "ns."],
        capabilities: &["sys_admin"],
        calls: &["setns", "unshare"],
    },
    Purpose {
        what: "tracing other processes",
        operations: &["ptrace", "process.trace", "process.memory"],
        capabilities: &["sys_ptrace"],
        calls: &[
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "kcmp",
            "pidfd_getfd",
        ],
    },
    Purpose {
        what: "BPF",
        operations: &["bpf"],
        capabilities: &["bpf", "sys_admin"],
        calls: &["bpf"],
    },
    Purpose {
        what: "kernel modules",
        operations: &["module", "kernel.module"],
        capabilities: &["sys_module"],
        calls: &["init_module", "finit_module", "delete_module", "create_module"],
    },
    Purpose {
        what: "starting another kernel",
        operations: &["kexec", "reboot", "kernel.reboot"],
        capabilities: &["sys_boot"],
        calls: &["kexec_load", "kexec_file_load", "reboot"],
    },
    Purpose {
        what: "performance events",
        operations: &["perf"],
        capabilities: &["perfmon", "sys_admin"],
        calls: &["perf_event_open"],
    },
    Purpose {
        what: "the kernel's keyrings",
        operations: &["key"],
        capabilities: &[],
        calls: &["add_key", "keyctl", "request_key"],
    },
    Purpose {
        what: "clocks, swap and accounting",
        operations: &["clock", "swap", "acct"],
        capabilities: &["sys_time", "sys_admin", "sys_pacct"],
        calls: &[
            "clock_settime",
            "clock_settime64",
            "settimeofday",
            "stime",
            "adjtimex",
            "clock_adjtime",
            "swapon",
            "swapoff",
            "acct",
        ],
    },
];

/// Denies system calls that serve only privileged operations that were never seen.
pub fn seccomp(norm: &Norm) -> Result<String, ExportError> {
    let mut operations = BTreeSet::new();
    let mut capabilities = BTreeSet::new();
    for fact in norm.expected() {
        match &fact {
            Fact::Privilege { operation, .. } => drop(operations.insert(operation.to_string())),
            Fact::Capability { capability, .. } => capabilities.extend(capability_name(capability)),
            _ => {}
        }
    }
    let denied: Vec<Value> = PURPOSES
        .iter()
        .filter(|purpose| {
            let operated = operations.iter().any(|operation| {
                purpose
                    .operations
                    .iter()
                    .any(|beginning| operation.starts_with(beginning))
            });
            let capable = purpose
                .capabilities
                .iter()
                .any(|capability| capabilities.contains(*capability));
            !operated && !capable
        })
        .map(|purpose| {
            json!({
                "names": purpose.calls,
                "action": "SCMP_ACT_ERRNO",
                // EPERM
                "errnoRet": 1,
                "comment": format!("no {} was seen", purpose.what),
            })
        })
        .collect();
    let head = head(
        norm,
        &[Field::Privilege, Field::Capability],
        "privileged operations and capabilities; no system calls were recorded, so all others are allowed",
    );
    let profile = json!({
        "comment": head,
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": denied,
    });
    Ok(serde_json::to_string_pretty(&profile)? + "\n")
}
