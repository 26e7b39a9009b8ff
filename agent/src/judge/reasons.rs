//! Verdicts in words, with severity and control identifiers.

mod acts;

use super::baseline::Expectation;
use super::fact::{Access, Fact, RUNTIME};
use super::policy::{Hit, Verb};
use super::verdict;
use crate::identity::Container;
use norma_wire::pb::{Reason, Severity, Verdict, VerdictKind};

/// Files whose reading is worth more than most: credentials, keys, other processes' memory and environment.
const SENSITIVE: [&str; 14] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssh/",
    "/root/.ssh/",
    "/.ssh/",
    "/.aws/",
    "/.kube/",
    "/.docker/config.json",
    "/var/run/secrets/kubernetes.io/",
    "/run/secrets/",
    "/environ",
    "/proc/kcore",
    "/docker.sock",
];

/// What touching a sensitive file weighs.
const SENSITIVE_WEIGHT: (Severity, u32) = (Severity::High, 85);

/// Where writing changes what runs, who may log in, or how the kernel behaves.
const CRITICAL_TREES: [&str; 20] = [
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/usr/local/sbin/",
    "/lib/",
    "/lib64/",
    "/usr/lib/",
    "/etc/cron",
    "/var/spool/cron/",
    "/etc/systemd/",
    "/etc/ld.so.preload",
    "/etc/pam.d/",
    "/etc/passwd",
    "/etc/profile",
    "/proc/sys/",
    "/sys/kernel/",
    "/etc/init.d/",
    "/boot/",
];
/// The same wherever they are.
const CRITICAL_NAMES: [&str; 5] = [
    "/.ssh/authorized_keys",
    "/core_pattern",
    "/release_agent",
    "/notify_on_release",
    "/.bashrc",
];

/// Where the loader and libc look when a program starts.
const START_UP: [&str; 14] = [
    "/lib/",
    "/lib64/",
    "/usr/lib/",
    "/usr/lib64/",
    "/usr/share/locale/",
    "/etc/ld.so.",
    "/etc/nsswitch.conf",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/proc/filesystems",
    "/proc/sys/",
    "/dev/null",
    "/dev/tty",
];

/// A behaviour that a complete baseline does not hold.
pub(super) fn novel(
    container: &Container,
    fact: &Fact,
    expectation: &Expectation,
    sensitive: bool,
) -> Verdict {
    let (severity, score) = if sensitive {
        SENSITIVE_WEIGHT
    } else {
        weigh(fact, expectation)
    };
    let reason = Reason {
        code: format!("baseline.{}", fact.kind()),
        expected: expected(container, fact, expectation),
        why: why(fact, expectation).to_owned(),
        policy: String::new(),
        clause: String::new(),
        controls: controls(fact),
    };
    verdict(VerdictKind::Novel, severity, score, vec![reason])
}

/// A behaviour that a policy denies or wants an alert for.
pub(super) fn violation(container: &Container, fact: &Fact, hit: &Hit<'_>) -> Verdict {
    let what = match hit.verb {
        Verb::Deny => "is denied",
        Verb::Alert | Verb::Allow => "raises an alert",
    };
    let reason = Reason {
        code: format!("policy.{}", fact.kind()),
        expected: format!(
            "policy {} says that {} {what} in {}",
            hit.clause.policy, hit.pattern, container.workload.0
        ),
        why: hit
            .why
            .map_or_else(|| why(fact, &Expectation::default()).to_owned(), str::to_owned),
        policy: hit.clause.policy.to_string(),
        clause: hit.clause.place.to_string(),
        controls: controls(fact),
    };
    let score = match hit.severity {
        Severity::Critical => 100,
        Severity::High => 85,
        Severity::Medium => 60,
        _ => 30,
    };
    verdict(VerdictKind::Violation, hit.severity, score, vec![reason])
}

/// A behaviour that a policy declares as expected.
pub(super) fn allowed(hit: &Hit<'_>) -> Verdict {
    let reason = Reason {
        code: "policy.allow".to_owned(),
        expected: format!("policy {} allows {}", hit.clause.policy, hit.pattern),
        policy: hit.clause.policy.to_string(),
        clause: hit.clause.place.to_string(),
        ..Reason::default()
    };
    verdict(VerdictKind::Expected, Severity::Info, 0, vec![reason])
}

fn weigh(fact: &Fact, expectation: &Expectation) -> (Severity, u32) {
    match fact {
        Fact::Exec { .. } if expectation.target_known => (Severity::Medium, 55),
        Fact::Exec { .. } => (Severity::High, 80),
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } if is_sensitive(path) => SENSITIVE_WEIGHT,
        // A new program has been reported as such; that it loads its libraries adds nothing.
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } if !expectation.actor_known && is_start_up(path) => (Severity::Info, 10),
        Fact::Open {
            access: Access::Read, ..
        } if expectation.target_known || !expectation.actor_known => (Severity::Low, 30),
        Fact::Open {
            access: Access::Read, ..
        } => (Severity::Medium, 50),
        Fact::Open { path, .. } if is_critical(path) => (Severity::High, 80),
        Fact::Open { .. } => (Severity::Medium, 60),
        Fact::Connect { .. } if expectation.target_known => (Severity::Medium, 55),
        Fact::Connect { .. } => (Severity::High, 75),
        Fact::Listen { .. } => (Severity::High, 75),
        Fact::Act {
            operation, object, ..
        } if operation.starts_with("file.") && is_critical(object) => (Severity::High, 80),
        Fact::Act {
            operation, object, ..
        } => acts::weight(operation, object),
    }
}

fn is_sensitive(path: &str) -> bool {
    SENSITIVE.iter().any(|part| path.contains(part))
}

fn is_critical(path: &str) -> bool {
    CRITICAL_TREES.iter().any(|tree| path.starts_with(tree))
        || CRITICAL_NAMES.iter().any(|name| path.ends_with(name))
}

fn is_start_up(path: &str) -> bool {
    START_UP.iter().any(|part| path.starts_with(part))
}

fn expected(container: &Container, fact: &Fact, expectation: &Expectation) -> String {
    let actor = match fact.actor().as_ref() {
        RUNTIME => "the container runtime",
        "" => "an unknown executable",
        other => other,
    };
    let span = humantime::format_duration(std::time::Duration::from_secs(
        expectation.learned_for.as_secs().max(1),
    ));
    let workload = &container.workload.0;
    let did = match fact {
        Fact::Exec { .. } => "started",
        Fact::Open { .. } => "opened",
        Fact::Connect { .. } => "connected to",
        Fact::Listen { .. } => "listened on",
        Fact::Act { operation, .. } => {
            return acts::expected(operation, actor, workload, &span.to_string(), expectation);
        }
    };
    if fact.actor().as_ref() == RUNTIME && expectation.usual_count == 0 {
        return format!("in the {span} in which {workload} was learned, nothing was started from outside");
    }
    if !expectation.actor_known {
        return format!("{actor} did not run at all in the {span} in which {workload} was learned");
    }
    match expectation.usual_count {
        0 => format!("in the {span} in which {workload} was learned, {actor} never {did} anything"),
        count => {
            let more = if count > expectation.usual.len() {
                format!(" and {} more", count - expectation.usual.len())
            } else {
                String::new()
            };
            format!(
                "in the {span} in which {workload} was learned, {actor} only {did} {}{more}",
                expectation.usual.join(", ")
            )
        }
    }
}

fn why(fact: &Fact, expectation: &Expectation) -> &'static str {
    match fact {
        Fact::Exec { by, .. } if by.as_ref() == RUNTIME => {
            "the program did not come from the workload itself: somebody entered the container, or it was started \
             with another command"
        }
        Fact::Exec { .. } if expectation.target_known => {
            "the program is known here, but not started by this one: an intruder often drives a container's own tools"
        }
        Fact::Exec { .. } => {
            "a program that the workload never needed is the usual first sign of an intrusion"
        }
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } if is_sensitive(path) => {
            "the file holds credentials or keys, which are what an intruder looks for to get further"
        }
        Fact::Open {
            access: Access::Read, ..
        } => "reading what was never needed can be the search for secrets or for a way on",
        Fact::Open { path, .. } if is_critical(path) => {
            "what lies there decides what runs, who may log in, or how the kernel behaves"
        }
        Fact::Open { .. } => {
            "writing where nothing was written before can plant a program or change a configuration"
        }
        Fact::Connect { .. } => {
            "a new peer can be a command channel, the way out for data, or the next victim"
        }
        Fact::Listen { .. } => "a new listening port can be a back door",
        Fact::Act {
            operation, object, ..
        } => acts::why(operation, object),
    }
}

fn controls(fact: &Fact) -> Vec<String> {
    let specific: &[&str] = match fact {
        Fact::Exec { .. } => &["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"],
        Fact::Open {
            path,
            access: Access::Read,
            ..
        } if is_sensitive(path) => &["NIST 800-53 AC-6", "MITRE ATT&CK T1552.001"],
        Fact::Open {
            access: Access::Read, ..
        } => &["NIST 800-53 AC-6", "MITRE ATT&CK T1005"],
        Fact::Open { .. } => &["NIST 800-53 SI-7", "MITRE ATT&CK T1565.001"],
        Fact::Connect { .. } => &["NIST 800-53 SC-7(5)", "MITRE ATT&CK T1071"],
        Fact::Listen { .. } => &["NIST 800-53 SC-7", "MITRE ATT&CK T1571"],
        Fact::Act {
            operation, object, ..
        } => acts::controls(operation, object),
    };
    std::iter::once("NIST 800-53 SI-4")
        .chain(specific.iter().copied())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_weigh_more_than_other_reads_and_a_new_programs_libraries_less() {
        let read = |path: &str| Fact::Open {
            exe: "/bin/x".into(),
            path: path.into(),
            access: Access::Read,
        };
        let unknown = Expectation::default();
        let severity = |fact: &Fact| weigh(fact, &unknown).0;
        assert_eq!(severity(&read("/etc/shadow")), Severity::High);
        assert_eq!(severity(&read("/srv/data")), Severity::Low);
        assert_eq!(
            severity(&read("/usr/lib/x86_64-linux-gnu/libc.so.6")),
            Severity::Info
        );
        let known = Expectation {
            actor_known: true,
            ..Expectation::default()
        };
        assert_eq!(weigh(&read("/usr/lib/evil.so"), &known).0, Severity::Medium);
        assert_eq!(weigh(&read("/srv/data"), &known).0, Severity::Medium);
    }

    #[test]
    fn a_resolvers_socket_weighs_less_than_one_that_sees_packets() {
        let made = |object: &str| Fact::Act {
            exe: "/bin/x".into(),
            operation: "socket.made".into(),
            object: object.into(),
        };
        let unknown = Expectation::default();
        assert_eq!(weigh(&made("family 16 protocol 0"), &unknown).0, Severity::Low);
        assert_eq!(weigh(&made("family 17 protocol 768"), &unknown).0, Severity::High);
    }
}
