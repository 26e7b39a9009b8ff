//! What operations weigh, and why they matter: one table.

use super::Expectation;
use norma_wire::pb::Severity;

struct Weight {
    /// Operations whose names begin so.
    prefix: &'static str,
    /// What it was done to, where only that weighs so.
    object: Option<&'static str>,
    severity: Severity,
    score: u32,
    why: &'static str,
    controls: &'static [&'static str],
}

/// The first entry whose prefix fits counts.
const WEIGHTS: &[Weight] = &[
    Weight {
        prefix: "host.",
        object: None,
        severity: Severity::High,
        score: 85,
        why: "the act reaches beyond the container, into the kernel that all containers share",
        controls: &["NIST 800-53 CM-7", "MITRE ATT&CK T1611"],
    },
    Weight {
        prefix: "mount.",
        object: None,
        severity: Severity::High,
        score: 80,
        why: "changing what is mounted is how files of the host come into a container",
        controls: &["NIST 800-53 AC-6", "MITRE ATT&CK T1611"],
    },
    Weight {
        prefix: "namespace.",
        object: None,
        severity: Severity::High,
        score: 80,
        why: "leaving the container's namespaces is a step out of it",
        controls: &["NIST 800-53 SC-39", "MITRE ATT&CK T1611"],
    },
    Weight {
        prefix: "process.exec-failed",
        object: None,
        severity: Severity::Low,
        score: 25,
        why: "trying programs that are not there is how an intruder finds out what there is",
        controls: &["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"],
    },
    Weight {
        prefix: "process.comm",
        object: None,
        severity: Severity::Low,
        score: 25,
        why: "a process that changes its name may want to look like another",
        controls: &["NIST 800-53 SI-4", "MITRE ATT&CK T1036.005"],
    },
    Weight {
        prefix: "process.signal",
        object: None,
        severity: Severity::Medium,
        score: 55,
        why: "signals can stop what watches or protects",
        controls: &["NIST 800-53 AC-6", "MITRE ATT&CK T1489"],
    },
    Weight {
        prefix: "process.",
        object: None,
        severity: Severity::High,
        score: 80,
        why: "code or data of a running process is changed or read past its file",
        controls: &["NIST 800-53 SI-16", "MITRE ATT&CK T1055"],
    },
    Weight {
        prefix: "privilege.",
        object: None,
        severity: Severity::Medium,
        score: 60,
        why: "the process takes other rights than it was started with",
        controls: &["NIST 800-53 AC-6(9)", "MITRE ATT&CK T1548"],
    },
    Weight {
        prefix: "socket.made",
        // NETLINK_ROUTE, by which every resolver asks for the node's addresses.
        object: Some("family 16 protocol 0"),
        severity: Severity::Low,
        score: 20,
        why: "such sockets read the network's configuration and, with the right to do so, change it",
        controls: &["NIST 800-53 SC-7", "MITRE ATT&CK T1016"],
    },
    Weight {
        prefix: "socket.made",
        object: None,
        severity: Severity::High,
        score: 70,
        why: "such sockets see or send packets past the rules for connections, or steer the kernel's network",
        controls: &["NIST 800-53 SC-7", "MITRE ATT&CK T1040"],
    },
    Weight {
        prefix: "socket.",
        object: None,
        severity: Severity::Medium,
        score: 50,
        why: "a new way in or out of the container",
        controls: &["NIST 800-53 SC-7", "MITRE ATT&CK T1571"],
    },
    Weight {
        prefix: "dns.",
        object: None,
        severity: Severity::Low,
        score: 35,
        why: "a name that was not asked for before leads to a new peer, or carries data out by itself",
        controls: &["NIST 800-53 SC-7", "MITRE ATT&CK T1071.004"],
    },
    Weight {
        prefix: "file.open-failed",
        object: None,
        severity: Severity::Low,
        score: 30,
        why: "refused opens show what somebody looks for",
        controls: &["NIST 800-53 AC-6", "MITRE ATT&CK T1083"],
    },
    Weight {
        prefix: "file.open-path",
        object: None,
        severity: Severity::Low,
        score: 20,
        why: "such a descriptor can be opened in full later",
        controls: &["NIST 800-53 AC-6", "MITRE ATT&CK T1083"],
    },
    Weight {
        prefix: "file.map-exec",
        object: None,
        severity: Severity::Medium,
        score: 55,
        why: "code that the program did not load before runs with its rights",
        controls: &["NIST 800-53 SI-7", "MITRE ATT&CK T1574.006"],
    },
    Weight {
        prefix: "file.sysctl",
        object: None,
        severity: Severity::High,
        score: 80,
        why: "settings of the kernel hold for the whole node",
        controls: &["NIST 800-53 CM-5", "MITRE ATT&CK T1562"],
    },
    Weight {
        prefix: "",
        object: None,
        severity: Severity::Low,
        score: 40,
        why: "changing files that were left alone before can hide or plant something",
        controls: &["NIST 800-53 SI-7", "MITRE ATT&CK T1565.001"],
    },
];

fn of(operation: &str, object: &str) -> &'static Weight {
    WEIGHTS
        .iter()
        .find(|weight| {
            operation.starts_with(weight.prefix) && weight.object.is_none_or(|named| named == object)
        })
        // The last prefix fits everything.
        .unwrap_or(&WEIGHTS[WEIGHTS.len() - 1])
}

pub fn weight(operation: &str, object: &str) -> (Severity, u32) {
    let weight = of(operation, object);
    (weight.severity, weight.score)
}

pub fn why(operation: &str, object: &str) -> &'static str {
    of(operation, object).why
}

pub fn controls(operation: &str, object: &str) -> &'static [&'static str] {
    of(operation, object).controls
}

/// What the actor did instead.
pub fn expected(
    operation: &str,
    actor: &str,
    workload: &str,
    span: &str,
    expectation: &Expectation,
) -> String {
    if !expectation.actor_known {
        return format!("{actor} did not run at all in the {span} in which {workload} was learned");
    }
    match expectation.usual_count {
        0 => format!("in the {span} in which {workload} was learned, {actor} never did {operation}"),
        _ => format!(
            "in the {span} in which {workload} was learned, {actor} did other things: {}",
            expectation.usual.join(", ")
        ),
    }
}
