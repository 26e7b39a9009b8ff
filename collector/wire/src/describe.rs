//! Events in words, for the person who reads an alert at three in the morning.
//!
//! Texts that come from the node are printable already when an agent made the event (see [`crate::text`]), but
//! an event can come from anybody with a certificate: whatever is not printable is escaped here again, so
//! that no line of an event can look like two.

mod act;

use crate::pb::{
    Action, Container, Event, Incident, Kind, Process, Reason, Response, ResponseResult, Severity, Verdict,
    VerdictKind,
};
use crate::text::single_line;
use crate::{id, json};
use std::fmt::Write as _;

/// An event in one line: what happened, where, and for an alert what was expected instead.
pub fn sentence(event: &Event) -> String {
    let mut line = String::new();
    if let Some(verdict) = alerting(event) {
        line = format!(
            "{} ({}): ",
            json::name::<VerdictKind>(verdict),
            severity_name(event)
        );
    }
    line += &act::act(event);
    line += &match &event.container {
        Some(container) => format!(" in {}", container_words(container)),
        None => String::new(),
    };
    if let Some(reason) = event.verdict.as_ref().and_then(|verdict| verdict.reasons.first())
        && alerting(event).is_some()
    {
        if !reason.expected.is_empty() {
            append(&mut line, format_args!("; expected: {}", reason.expected));
        }
        if !reason.policy.is_empty() {
            append(&mut line, format_args!("; policy {}", reason.policy));
        }
    }
    let done: Vec<_> = event.responses.iter().filter_map(response_words).collect();
    if !done.is_empty() {
        append(&mut line, format_args!("; {}", done.join(", ")));
    }
    single_line(&line)
}

/// What an alert on one line says besides its sentence.
const IN_ALERT: [&str; 7] = [
    "who",
    "started by",
    "incident",
    "how unusual",
    "why it matters",
    "look at next",
    "controls",
];

/// An alert on one line, for a receiver that shows nothing else: the sentence, who did it and what started
/// that, why it matters, and the control identifiers, with ` | ` between them.
pub fn alert(event: &Event) -> String {
    let mut parts = vec![sentence(event)];
    for (name, text) in facts(event) {
        if IN_ALERT.contains(&name) && !text.is_empty() {
            parts.push(format!("{name}: {text}"));
        }
    }
    single_line(&parts.join(" | "))
}

/// An event in full, one fact per line, the most important first.
pub fn report(event: &Event) -> Vec<String> {
    let facts = facts(event).into_iter().filter(|(_, text)| !text.is_empty());
    std::iter::once(sentence(event))
        .chain(facts.map(|(name, text)| single_line(&format!("{name}: {text}"))))
        .collect()
}

/// What a node stated of its events, in one line.
pub fn heads(heads: &[crate::pb::SignedHead]) -> String {
    use prost::Message as _;
    let read: Vec<_> = heads
        .iter()
        .filter_map(|signed| crate::pb::BatchHead::decode(&signed.head[..]).ok())
        .collect();
    let (Some(first), Some(last)) = (read.first(), read.last()) else {
        return "heads of batches that cannot be read".to_owned();
    };
    single_line(&format!(
        "node {} epoch {:016x} signed for {} events with sequences {} to {}, in {} batches",
        last.node,
        last.epoch,
        read.iter().map(|head| head.events).fold(0, u64::saturating_add),
        first.first_sequence,
        last.last_sequence,
        heads.len()
    ))
}

/// Where a node comes from, in one line.
pub fn handed_over(handed: &crate::audit::HandedOver) -> String {
    use prost::Message as _;
    let signed = handed.statement.as_ref();
    let Some(Ok(handover)) = signed.map(|signed| crate::pb::Handover::decode(&signed.handover[..])) else {
        return "a hand-over that cannot be read".to_owned();
    };
    let list = |ranges: &[crate::pb::Held]| {
        let elsewhere = ranges.iter().filter(|held| held.logs != [handed.log.as_str()]);
        let words = elsewhere.map(|held| {
            let logs = held.logs.join(" or ");
            format!("{}-{} in {logs}", held.first_sequence, held.last_sequence)
        });
        words.collect::<Vec<_>>().join(", ")
    };
    let (held, in_doubt) = (list(&handover.held), list(&handover.in_doubt));
    let mut words = format!(
        "node {} epoch {:016x} comes from another collector",
        handover.node, handover.epoch
    );
    if !held.is_empty() {
        words.push_str(&format!("; acknowledged: sequences {held}"));
    }
    if !in_doubt.is_empty() {
        words.push_str(&format!("; perhaps in two logs: sequences {in_doubt}"));
    }
    single_line(&words)
}

/// How far a clock can be trusted, in one line.
pub fn clock_state(whose: &str, state: &crate::pb::ClockState) -> String {
    let mut line = format!("the clock of {whose} ");
    line += match state.synchronised {
        Some(true) => "is kept in step with UTC",
        Some(false) => "is NOT kept in step with UTC",
        None => "may or may not be kept in step with UTC",
    };
    // Of a clock that nothing keeps in step the kernel knows no bound, though it tells one.
    if let (Some(error), Some(true)) = (state.max_error_us, state.synchronised) {
        let error = std::time::Duration::from_micros(error);
        append(
            &mut line,
            format_args!(", off by {error:?} at most as the kernel says"),
        );
    }
    if !state.source.is_empty() {
        append(&mut line, format_args!(", and counted by {}", state.source));
    }
    match state.tai_offset_s {
        Some(offset) if offset != 0 => append(&mut line, format_args!("; TAI is {offset} s ahead")),
        _ => {}
    }
    if !state.leap.is_empty() {
        append(&mut line, format_args!("; a leap second is due: {}", state.leap));
    }
    if !state.unknown.is_empty() {
        append(&mut line, format_args!("; not known: {}", state.unknown));
    }
    single_line(&line)
}

/// The name of what was done at a collector, as people write it.
pub fn act_name(done: &crate::audit::Administration) -> String {
    json::name::<crate::audit::AdministrativeAct>(done.act).replace('_', " ")
}

/// What was done at a collector, in one line.
pub fn administration(done: &crate::audit::Administration) -> String {
    let mut line = format!("{}: {} {}", done.actor, act_name(done), done.object);
    for fact in &done.facts {
        append(&mut line, format_args!("; {} {}", fact.name, fact.value));
    }
    if !done.peer.is_empty() {
        append(&mut line, format_args!("; from {}", done.peer));
    }
    if !done.refused.is_empty() {
        append(&mut line, format_args!("; REFUSED: {}", done.refused));
    }
    single_line(&line)
}

/// What a person decided on a baseline, in one line.
pub fn decision(decision: &crate::pb::BaselineDecision) -> String {
    single_line(&act::decision::words(decision))
}

/// Everything that is known of an event, by name; what is not known is empty.
fn facts(event: &Event) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(process) = &event.process {
        facts.push(("who", process_words(process)));
        facts.push(("started by", ancestors(process)));
    }
    if let Some(container) = &event.container {
        facts.push(("where", container_words(container)));
        facts.push(("image", image(container)));
        facts.push(("revision", container.revision.clone()));
    }
    facts.push(("unit", event.unit.clone()));
    facts.extend(
        event
            .incident
            .as_ref()
            .map(|incident| ("incident", incident_words(incident))),
    );
    facts.extend(
        event
            .verdict
            .as_ref()
            .map(|verdict| ("how unusual", unusual(verdict))),
    );
    if let Some(verdict) = event
        .verdict
        .as_ref()
        .filter(|verdict| !verdict.behaviour_id.is_empty())
    {
        let words = format!("{} ({})", verdict.behaviour_id, verdict.behaviour);
        facts.push(("behaviour, to approve or reject", words));
    }
    for reason in event.verdict.iter().flat_map(|verdict| &verdict.reasons) {
        facts.push(("expected", reason.expected.clone()));
        facts.push(("why it matters", reason.why.clone()));
        facts.push(("look at next", reason.next.clone()));
        facts.push(("rule", rule(reason)));
        facts.push(("controls", reason.controls.join(", ")));
    }
    for response in &event.responses {
        facts.push(("done", response_words(response).unwrap_or_default()));
    }
    facts.extend(act::details(event));
    if let Some(id) = &event.id {
        facts.push(("event", id.to_string()));
    }
    facts
}

/// The verdict of an event on which somebody should act.
fn alerting(event: &Event) -> Option<i32> {
    event
        .verdict
        .as_ref()
        .filter(|verdict| id::calls_for_action(verdict))
        .map(|verdict| verdict.kind)
}

/// Which incident an alert is part of, and what else belongs to it.
fn incident_words(incident: &Incident) -> String {
    let repeated = match incident.repeated {
        0 => String::new(),
        times => format!(", {times} times repeated"),
    };
    format!(
        "{} (finding {}{repeated}: {})",
        incident.id,
        incident.findings,
        incident.kinds.join(", ")
    )
}

/// The terms of a score; empty where there are none.
fn unusual(verdict: &Verdict) -> String {
    if verdict.terms.is_empty() {
        return String::new();
    }
    let terms = verdict
        .terms
        .iter()
        .map(|term| format!("{} {:+.1} ({})", term.name, term.value, term.words));
    format!(
        "score {} from weight {}; {}",
        verdict.score,
        verdict.weight,
        terms.collect::<Vec<_>>().join("; ")
    )
}

fn severity_name(event: &Event) -> String {
    json::name::<Severity>(id::severity(event).into())
}

fn container_words(container: &Container) -> String {
    let name = if container.name.is_empty() {
        short(&container.id)
    } else {
        &container.name
    };
    let mut words = format!("container {name}");
    if !container.workload.is_empty() && container.workload != container.name {
        append(&mut words, format_args!(" of {}", container.workload));
    }
    if !container.pod.is_empty() {
        append(
            &mut words,
            format_args!(" (pod {}/{})", container.namespace, container.pod),
        );
    }
    words
}

/// As much of a container's id as the container tools print.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn image(container: &Container) -> String {
    match (container.image.as_str(), container.image_digest.as_str()) {
        (image, "") => image.to_owned(),
        ("", digest) => digest.to_owned(),
        (image, digest) => format!("{image} ({digest})"),
    }
}

fn process_words(process: &Process) -> String {
    let mut words = format!(
        "{} (pid {}, uid {}",
        act::exe(Some(process)),
        process.pid,
        process.uid
    );
    if process.euid != process.uid {
        append(&mut words, format_args!(", effective uid {}", process.euid));
    }
    words.push(')');
    words.push_str(match process.session.as_str() {
        "exec" => ", in a session that the container runtime was asked for (exec)",
        "probe" => ", in a session that the container runtime begins at a regular distance (probe)",
        _ => "",
    });
    if !process.argv.is_empty() {
        append(
            &mut words,
            format_args!(", arguments: {}", process.argv.join(" ")),
        );
    }
    words
}

fn ancestors(process: &Process) -> String {
    let chain = process
        .ancestors
        .iter()
        .map(|ancestor| format!("{} (pid {})", ancestor.exe, ancestor.pid));
    chain.collect::<Vec<_>>().join(", by ")
}

fn rule(reason: &Reason) -> String {
    let parts = [
        reason.code.as_str(),
        reason.policy.as_str(),
        reason.clause.as_str(),
    ];
    parts
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

/// What a response did; nothing for one that only raises the alert.
fn response_words(response: &Response) -> Option<String> {
    let what = match Action::try_from(response.action) {
        Ok(Action::Unspecified | Action::Alert) => return None,
        Ok(Action::Deny) => "denied",
        Ok(Action::Kill) => "process killed",
        Err(_) => return Some(format!("response {} of a newer version", response.action)),
    };
    let detail = if response.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", response.detail)
    };
    Some(match ResponseResult::try_from(response.result) {
        Ok(ResponseResult::Prevented) => format!("{what} before it took effect{detail}"),
        Ok(ResponseResult::DoneLate) => format!("{what} after it had begun{detail}"),
        Ok(ResponseResult::Failed) => format!("NOT {what}, it was tried{detail}"),
        _ => format!("{what}{detail}"),
    })
}

/// Whether an act was kept from taking effect.
fn prevented(event: &Event) -> bool {
    event
        .responses
        .iter()
        .any(|response| response.result == ResponseResult::Prevented as i32)
}

fn append(line: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = line.write_fmt(words);
}

/// The name of an event's kind, as people write it.
pub fn kind(event: &Event) -> String {
    json::name::<Kind>(event.kind)
}
