//! Verdicts in words: what was expected instead, why it matters, what to look at next.

use super::baseline::Expectation;
use super::crowd::Standing;
use super::fact::{Fact, RUNTIME};
use super::judgement::verdict;
use super::kinds::{FindingKind, Holds};
use super::policy::{Hit, Verb};
use super::weigh::weigh;
use crate::identity::Container;
use norma_wire::pb::{Reason, Severity, Verdict, VerdictKind};

/// What a new revision does differently is an alert by itself from this weight on; below, it is part of the one report
/// on the revision, and an event until then.
const RELEASE_WEIGHT: u32 = 70;

/// A behaviour that the baseline does not hold, or that a rule for all containers objects to.
pub(super) fn finding(container: &Container, fact: &Fact, kind: FindingKind, near: &Expectation) -> Verdict {
    let row = kind.row();
    let (said, expected) = if row.holds == Holds::Always {
        let rule = format!(
            "no container is to do this, whatever was learned of {}",
            container.workload.0
        );
        (VerdictKind::Violation, rule)
    } else {
        let usual = expected(container, fact, near);
        (VerdictKind::Novel, usual)
    };
    let is_reported_as_one = near.is_of_release && !row.grave && row.weight < RELEASE_WEIGHT;
    let next = if is_reported_as_one {
        "the revision is new: its release delta follows, with all that it does differently (`baseline diff`)"
    } else {
        row.next
    };
    let reason = Reason {
        code: row.code.to_owned(),
        expected,
        why: row.why.to_owned(),
        controls: owned(row.controls),
        next: next.to_owned(),
        ..Reason::default()
    };
    let weighed = weigh(kind, near.score.as_ref());
    let severity = if is_reported_as_one {
        Severity::Info
    } else {
        weighed.severity
    };
    Verdict {
        terms: weighed.terms,
        weight: weighed.weight,
        ..verdict(said, severity, weighed.score, vec![reason])
    }
}

/// A behaviour that a policy denies or wants an alert for; `kind` is what it would be without the policy.
pub(super) fn violation(container: &Container, fact: &Fact, kind: FindingKind, hit: &Hit<'_>) -> Verdict {
    let what = match hit.verb {
        Verb::Deny => "is denied",
        Verb::Alert | Verb::Allow => "raises an alert",
    };
    let row = kind.row();
    let reason = Reason {
        code: format!("policy.{}", fact.kind()),
        expected: format!(
            "policy {} says that {} {what} in {}",
            hit.clause.policy, hit.pattern, container.workload.0
        ),
        why: hit.why.unwrap_or(row.why).to_owned(),
        policy: hit.clause.policy.to_string(),
        clause: hit.clause.place.to_string(),
        controls: owned(row.controls),
        next: row.next.to_owned(),
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

/// So many names below one domain that they carry data.
pub(super) fn tunnel(
    container: &Container,
    fact: &Fact,
    near: &Expectation,
    domain: &str,
    names: usize,
) -> Verdict {
    let mut verdict = finding(container, fact, FindingKind::DnsTunnel, near);
    for reason in &mut verdict.reasons {
        reason.expected = format!(
            "few names below one domain; {} asked for {names} distinct ones below {domain} within an hour",
            container.workload.0
        );
    }
    verdict
}

/// Far more names of an open field than were to be expected.
pub(super) fn burst(
    container: &Container,
    fact: &Fact,
    near: &Expectation,
    count: u64,
    per_day: f64,
) -> Verdict {
    let mut verdict = finding(container, fact, FindingKind::Burst, near);
    for reason in &mut verdict.reasons {
        reason.expected = format!(
            "about {:.1} new names an hour of {}, which never stops bringing new ones; {count} came within an hour",
            per_day / 24.0,
            container.workload.0
        );
    }
    verdict
}

/// What a probe does, in a session that comes like clockwork.
pub(super) fn of_probe() -> Verdict {
    let reason = Reason {
        code: "session.probe".to_owned(),
        expected:
            "the container runtime starts this command at a regular distance, and it did the same each time"
                .to_owned(),
        ..Reason::default()
    };
    verdict(VerdictKind::Expected, Severity::Info, 0, vec![reason])
}

/// Marks a finding that is one of a crowd of made-up names: recorded as information, unless it is the crowd's sign.
pub(super) fn put_into_crowd(verdict: &mut Verdict, standing: &Standing) {
    let row = FindingKind::Burst.row();
    let (directory, count) = match standing {
        Standing::Alone => return,
        Standing::OneOfMany(directory) => (directory, None),
        Standing::Sign(directory, count) => (directory, Some(*count)),
    };
    let many = match count {
        None => "its further names are recorded without an alert of their own".to_owned(),
        Some(1) => "from here on its names are recorded without an alert of their own".to_owned(),
        Some(count) => format!("{count} of its names were recorded without an alert of their own"),
    };
    let reason = Reason {
        code: row.code.to_owned(),
        expected: format!("this program makes a crowd of new names below {directory}: {many}"),
        why: row.why.to_owned(),
        controls: owned(row.controls),
        next: row.next.to_owned(),
        ..Reason::default()
    };
    if count.is_some() {
        verdict.reasons.insert(0, reason);
        verdict.severity = FindingKind::Burst.severity(row.weight) as i32;
        verdict.score = row.weight;
        verdict.weight = row.weight;
    } else {
        verdict.reasons.push(reason);
        verdict.severity = Severity::Info as i32;
    }
}

fn owned(controls: &[&str]) -> Vec<String> {
    controls.iter().map(|control| (*control).to_owned()).collect()
}

/// What was normal instead.
fn expected(container: &Container, fact: &Fact, near: &Expectation) -> String {
    let actor = match fact.actor().as_ref() {
        RUNTIME => "the container runtime",
        "" => "an unknown executable",
        other => other,
    };
    let span = humantime::format_duration(std::time::Duration::from_secs(near.learned_for.as_secs().max(1)));
    let workload = &container.workload.0;
    let learned = format!("in the {span} in which {workload} was learned");
    let did = match fact {
        Fact::Exec { .. } => "started",
        Fact::Open { .. } => "opened",
        Fact::Connect { .. } => "connected to",
        Fact::Listen { .. } => "listened on",
        Fact::Accept { .. } => "accepted",
        Fact::Act { operation, .. } => return expected_act(operation, actor, &learned, near),
    };
    if fact.actor().as_ref() == RUNTIME && near.usual_count == 0 {
        return format!("{learned}, nothing was started from outside");
    }
    if !near.actor_known {
        return format!("{learned}, {actor} did not run at all");
    }
    match near.usual_count {
        0 => format!("{learned}, {actor} never {did} anything"),
        count => {
            let more = if count > near.usual.len() {
                format!(" and {} more", count - near.usual.len())
            } else {
                String::new()
            };
            format!("{learned}, {actor} only {did} {}{more}", near.usual.join(", "))
        }
    }
}

fn expected_act(operation: &str, actor: &str, learned: &str, near: &Expectation) -> String {
    if !near.actor_known {
        return format!("{learned}, {actor} did not run at all");
    }
    match near.usual_count {
        0 => format!("{learned}, {actor} never did {operation}"),
        _ => format!("{learned}, {actor} did other things: {}", near.usual.join(", ")),
    }
}
