//! What the log says of each rule. Where it cannot decide, nobody has: `not reviewed`, with what is known.

use super::rules::{Check, RULES, Rule};
use super::{Evidence, facts::Facts};
use crate::au3::QUESTIONS;
use crate::au3::coverage::percent;
use norma_wire::pb::ClockState;

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Met, as far as the log can tell.
    Met,
    /// Not met.
    Open,
    /// Somebody has to look.
    NotReviewed,
}

impl Status {
    /// As checklists write it.
    pub fn cklb(self) -> &'static str {
        match self {
            Self::Met => "not_a_finding",
            Self::Open => "open",
            Self::NotReviewed => "not_reviewed",
        }
    }
}

/// A rule, decided or not.
#[derive(Debug)]
pub struct Assessed {
    pub rule: &'static Rule,
    pub status: Status,
    /// What that rests on.
    pub details: String,
}

/// All rules.
pub fn all(evidence: &Evidence) -> Vec<Assessed> {
    let decided = |rule: &'static Rule| {
        let (status, details) = assess(rule.check, evidence);
        Assessed {
            rule,
            status,
            details,
        }
    };
    RULES.iter().map(decided).collect()
}

pub fn assess(check: Check, evidence: &Evidence) -> (Status, String) {
    let facts = &evidence.facts;
    match check {
        Check::Answer(question) => {
            let total = facts.au3.total();
            share(
                total.answered[question],
                total.records,
                &format!("records say it ({})", QUESTIONS[question]),
            )
        }
        Check::Commands => share(facts.commands.0, facts.commands.1, "commands are there in full"),
        Check::Intact => (
            Status::Met,
            format!(
                "`audit verify` found every record of the log as it was written: {} records under a checkpoint of {} \
                 entries, signed by {}",
                evidence.report.records,
                evidence.checkpoint.size,
                evidence
                    .report
                    .log
                    .as_ref()
                    .and_then(|log| log.signed_by.as_deref())
                    .unwrap_or("the key of the trust policy")
            ),
        ),
        Check::Complete => complete(evidence),
        Check::Signed => signed(evidence),
        Check::Sensors => sensors(facts),
        Check::Clocks => clocks(facts),
        Check::Posture(names) => posture(facts, names),
        Check::Assessor(hint) => (
            Status::NotReviewed,
            format!("The log cannot decide this. {hint}."),
        ),
    }
}

fn share(part: u64, all: u64, what: &str) -> (Status, String) {
    if all == 0 {
        return (
            Status::NotReviewed,
            format!("There is nothing of it in scope ({what})."),
        );
    }
    let status = if part == all {
        Status::Met
    } else {
        Status::NotReviewed
    };
    let rest = if part == all {
        ""
    } else {
        "; each other one says why not"
    };
    (
        status,
        format!("{part} of {all} {what}: {}{rest}", percent(part, all)),
    )
}

fn complete(evidence: &Evidence) -> (Status, String) {
    let outboxes = &evidence.report.outboxes;
    let missing: u64 = outboxes.iter().map(|outbox| outbox.missing).sum();
    let unexplained: Vec<String> = outboxes
        .iter()
        .flat_map(|outbox| {
            let name = |range| format!("node {} epoch {}: {range}", outbox.node, outbox.epoch);
            outbox.unexplained.iter().map(name)
        })
        .collect();
    if outboxes.is_empty() {
        (Status::NotReviewed, "No node has sent anything.".to_owned())
    } else if unexplained.is_empty() {
        (
            Status::Met,
            format!(
                "The sequences of {} outboxes go on without a gap, but {missing} events that loss events account for.",
                outboxes.len()
            ),
        )
    } else {
        (
            Status::Open,
            format!(
                "Sequences that did not arrive and nothing accounts for: {}",
                unexplained.join(", ")
            ),
        )
    }
}

fn signed(evidence: &Evidence) -> (Status, String) {
    let chains = &evidence.report.batches;
    let signed: u64 = chains.iter().map(|chain| chain.signed).sum();
    let unsigned: u64 = chains.iter().map(|chain| chain.unsigned).sum();
    let broken: Vec<String> = chains
        .iter()
        .filter(|chain| !chain.breaks.is_empty() || !chain.faults.is_empty())
        .map(|chain| format!("node {} epoch {}", chain.node, chain.epoch))
        .collect();
    let details = format!(
        "Nodes signed for {signed} of {} events with the keys of their certificates{}{}.",
        signed + unsigned,
        if broken.is_empty() {
            ""
        } else {
            "; what was signed does not fit together: "
        },
        broken.join(", ")
    );
    let status = match (broken.is_empty(), signed, unsigned) {
        (false, ..) => Status::Open,
        (true, 1.., 0) => Status::Met,
        _ => Status::NotReviewed,
    };
    (status, details)
}

fn sensors(facts: &Facts) -> (Status, String) {
    let blind: Vec<String> = facts
        .agents
        .iter()
        .filter(|(_, agent)| !agent.blind.is_empty())
        .map(|(node, agent)| format!("node {node} cannot see {}", agent.blind.join(", ")))
        .collect();
    let lost: u64 = facts.lost.values().sum();
    if facts.agents.values().all(|agent| agent.kernel.is_empty()) {
        (
            Status::NotReviewed,
            "No agent has said what it can see.".to_owned(),
        )
    } else if blind.is_empty() && lost == 0 {
        (
            Status::Met,
            format!(
                "Every wanted sensor of {} nodes works, and nothing was lost.",
                facts.agents.len()
            ),
        )
    } else {
        let lost = if lost == 0 {
            String::new()
        } else {
            format!("{lost} events were lost and counted. ")
        };
        (Status::Open, format!("{lost}{}", blind.join("; ")))
    }
}

fn clocks(facts: &Facts) -> (Status, String) {
    let mut all: Vec<(String, Option<&ClockState>)> = facts
        .agents
        .iter()
        .map(|(node, agent)| (format!("node {node}"), agent.clock.as_ref()))
        .collect();
    all.push(("the collector".to_owned(), facts.collector.clock.as_ref()));
    let words = |(whose, clock): &(String, Option<&ClockState>)| match clock {
        Some(state) => norma_wire::describe::clock_state(whose, state),
        None => format!("{whose} has not said how its clock is"),
    };
    let details = all.iter().map(words).collect::<Vec<_>>().join("; ");
    let synchronised =
        |(_, clock): &(String, Option<&ClockState>)| clock.and_then(|state| state.synchronised);
    let status = if all.iter().any(|clock| synchronised(clock) == Some(false)) {
        Status::Open
    } else if all.iter().all(|clock| synchronised(clock) == Some(true)) {
        Status::Met
    } else {
        Status::NotReviewed
    };
    (status, details)
}

fn posture(facts: &Facts, names: &[&str]) -> (Status, String) {
    let open: Vec<String> = facts
        .postures
        .iter()
        .filter(|((_, name), _)| names.contains(&name.as_str()))
        .map(|((container, _), posture)| format!("{container}: {} (event {})", posture.value, posture.event))
        .collect();
    // Without a list of registries none is looked at.
    let by_configuration = names.iter().any(|name| name.contains("registry"));
    match (open.is_empty(), facts.described_containers) {
        (false, _) => (Status::Open, open.join("\n")),
        (true, 0) => (
            Status::NotReviewed,
            "No container runtime has told how containers are set up.".to_owned(),
        ),
        (true, containers) if by_configuration => (
            Status::NotReviewed,
            format!(
                "Nothing was found in {containers} containers; whether agents look at all depends on \
                 `posture.approved_registries` of their configuration."
            ),
        ),
        (true, containers) => (
            Status::Met,
            format!("Nothing was found in {containers} containers whose setting agents were told."),
        ),
    }
}
