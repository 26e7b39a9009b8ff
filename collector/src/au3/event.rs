//! The answers of what agents report.

use super::{Answer, Answers, known, unknown, when};
use norma_wire::pb::{Container, Event, Hash, IdentityState, Outcome, Process, ResponseResult};
use norma_wire::{Detail, describe};

const NEWER: &str = "an event of a kind that only a newer norma-collector knows";

/// The six answers of an event.
pub fn answers(event: &Event) -> Answers {
    Answers {
        what: what(event),
        when: when(event.wall_ns),
        place: place(event),
        source: source(event),
        outcome: outcome(event),
        identity: identity(event),
    }
}

/// Who did what an event tells: a process of the node, or Norma's agent of its own accord.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Actor {
    Process,
    Agent,
    Person,
    /// Not told by the kernel.
    Nobody,
    /// A kind that this version does not know.
    Unclear,
}

fn actor(event: &Event) -> Actor {
    match &event.detail {
        Some(
            Detail::Exec(_)
            | Detail::Exit(_)
            | Detail::Open(_)
            | Detail::Connect(_)
            | Detail::Listen(_)
            | Detail::Operation(_)
            | Detail::Socket(_)
            | Detail::Dns(_)
            | Detail::FileHash(_),
        ) => Actor::Process,
        Some(
            Detail::Loss(_)
            | Detail::Coverage(_)
            | Detail::Recovery(_)
            | Detail::Rollup(_)
            | Detail::Lifecycle(_)
            | Detail::BaselineReady(_)
            | Detail::IdentityResolved(_)
            | Detail::Posture(_)
            | Detail::ReleaseDelta(_)
            | Detail::CheckpointInconsistent(_)
            | Detail::ClockState(_),
        ) => Actor::Agent,
        Some(Detail::BaselineDecision(_)) => Actor::Person,
        Some(Detail::ClockStep(_)) => Actor::Nobody,
        None if event.process.is_some() => Actor::Process,
        None => Actor::Unclear,
    }
}

fn what(event: &Event) -> Answer {
    match &event.detail {
        Some(Detail::Operation(operation)) => Answer::or(&operation.name, NEWER),
        Some(Detail::Socket(socket)) => Answer::or(format!("socket {}", socket.name), NEWER),
        Some(_) => known(describe::kind(event)),
        None => unknown(NEWER),
    }
}

fn place(event: &Event) -> Answer {
    let Some(id) = event.id.as_ref().filter(|id| !id.node.is_empty()) else {
        return unknown("the event names no node");
    };
    match &event.container {
        Some(container) if container.identity == IdentityState::Pending as i32 => unknown(
            "the container runtime has not told yet which container it is; an event of kind identity_resolved completes it",
        ),
        Some(container) => known(format!("node {}, {}", id.node, container_of(container))),
        None if !event.unit.is_empty() => known(format!("node {}, unit {}", id.node, event.unit)),
        None => known(format!("node {}", id.node)),
    }
}

fn container_of(container: &Container) -> String {
    let workload = match container.workload.as_str() {
        "" => String::new(),
        workload => format!(" of {workload}"),
    };
    format!("container {}{workload}", container.id)
}

fn source(event: &Event) -> Answer {
    match actor(event) {
        Actor::Process => match &event.process {
            Some(process) if !process.exe.is_empty() => {
                known(format!("{} (pid {})", process.exe, process.pid))
            }
            Some(process) if !process.comm.is_empty() => {
                known(format!("a process called {} (pid {})", process.comm, process.pid))
            }
            Some(process) if process.pid != 0 => known(format!("pid {}", process.pid)),
            _ => unknown("the process could not be read from the kernel when it acted"),
        },
        Actor::Agent | Actor::Nobody => known("norma-agent"),
        Actor::Person => known("a decision that was handed to norma-agent"),
        Actor::Unclear => unknown(NEWER),
    }
}

fn identity(event: &Event) -> Answer {
    match (actor(event), &event.detail) {
        (Actor::Process, _) => match &event.process {
            Some(process) if process.pid != 0 || !process.exe.is_empty() => known(user(process)),
            _ => unknown("the process could not be read from the kernel when it acted"),
        },
        (Actor::Person, Some(Detail::BaselineDecision(decision))) => Answer::or(
            &decision.who,
            "what was handed over is not signed by anybody known",
        ),
        (Actor::Nobody, _) => unknown("the kernel does not tell who set the clock"),
        (Actor::Agent | Actor::Person, _) => match (&event.container, &event.id) {
            (Some(container), _) if container.identity != IdentityState::Pending as i32 => {
                known(container_of(container))
            }
            (_, Some(id)) => known(format!("agent of node {}", id.node)),
            (_, None) => unknown("the event names no node"),
        },
        (Actor::Unclear, _) => unknown(NEWER),
    }
}

fn user(process: &Process) -> String {
    let session = match process.session.as_str() {
        "" => String::new(),
        session => format!(", session {session}"),
    };
    format!(
        "uid {} (effective {}), gid {}{session}",
        process.uid, process.euid, process.gid
    )
}

fn outcome(event: &Event) -> Answer {
    let prevented = |result: ResponseResult| event.responses.iter().any(|done| done.result == result as i32);
    if prevented(ResponseResult::Prevented) {
        return known("denied before it took effect");
    }
    match &event.detail {
        Some(Detail::Exec(_)) => known("succeeded"),
        Some(Detail::Exit(exit)) => match (exit.signal, exit.code) {
            (Some(signal), _) => known(format!("ended by signal {signal}")),
            (None, Some(code)) => known(format!("ended with code {code}")),
            (None, None) => unknown("the kernel told neither exit code nor signal"),
        },
        Some(Detail::Open(_) | Detail::Connect(_) | Detail::Listen(_)) => {
            known("permitted, as seen at the kernel's security check")
        }
        Some(Detail::Operation(operation)) => told(operation.outcome, &operation.error),
        Some(Detail::Socket(socket)) => told(socket.outcome, &socket.error),
        Some(Detail::Dns(dns)) => match (dns.malformed.as_str(), dns.code.as_str()) {
            ("", "") => known("sent"),
            ("", code) => known(code),
            (why, _) => known(format!("malformed: {why}")),
        },
        Some(Detail::FileHash(file)) => match &file.hash {
            Some(Hash { sha256, .. }) if !sha256.is_empty() => known("hashed"),
            Some(hash) => known(format!("not hashed: {}", hash.unavailable)),
            None => unknown("the event has no hash and does not say why"),
        },
        Some(Detail::BaselineDecision(decision)) => match decision.refused.as_str() {
            "" => known("in force"),
            why => known(format!("refused: {why}")),
        },
        Some(Detail::Loss(_)) => known("lost, and counted"),
        Some(Detail::Coverage(_)) => known("determined"),
        Some(Detail::ClockStep(_)) => known("stepped"),
        Some(Detail::ClockState(state)) => match state.synchronised {
            Some(true) => known("synchronised"),
            Some(false) => known("not synchronised"),
            None => unknown("the kernel does not tell"),
        },
        Some(Detail::Recovery(_)) => known("repaired"),
        Some(Detail::Rollup(_)) => known("counted"),
        Some(Detail::Lifecycle(lifecycle)) => Answer::or(&lifecycle.state, "the agent does not tell"),
        Some(Detail::BaselineReady(_)) => known("complete"),
        Some(Detail::IdentityResolved(_)) => known("known"),
        Some(Detail::Posture(posture)) => Answer::or(&posture.change, "the agent does not tell"),
        Some(Detail::ReleaseDelta(_)) => known("to be decided on"),
        Some(Detail::CheckpointInconsistent(_)) => known("inconsistent"),
        None => unknown(NEWER),
    }
}

fn told(outcome: i32, error: &str) -> Answer {
    let with_error = |words: &str| match error {
        "" => known(words),
        error => known(format!("{words}: {error}")),
    };
    match Outcome::try_from(outcome) {
        Ok(Outcome::Permitted) => known("permitted, as seen at the kernel's security check"),
        Ok(Outcome::Succeeded) => known("succeeded"),
        Ok(Outcome::Denied) => with_error("denied"),
        Ok(Outcome::Failed) => with_error("failed"),
        Ok(Outcome::Unspecified) | Err(_) => {
            unknown("the sensor's place in the kernel does not see the result")
        }
    }
}
