//! What happened, kind by kind.

pub mod decision;
mod known;
mod operation;
mod socket;

use super::prevented;
use crate::pb::{
    Connect, ConnectionCount, Coverage, Event, Exec, Exit, FileHash, Hash, KindCount, Listen, Loss,
    LossCause, Open, Process, event::Detail,
};
use std::time::Duration;

/// What happened, as a main clause.
pub fn act(event: &Event) -> String {
    let exe = exe(event.process.as_ref());
    let tried = prevented(event);
    match &event.detail {
        Some(Detail::Exec(exec)) => self::exec(event.process.as_ref(), exec, &exe, tried),
        Some(Detail::Exit(exit)) => format!("{exe} {}", exit_words(exit)),
        Some(Detail::Open(open)) => {
            format!(
                "{exe} {} {} {}",
                if tried { "tried to open" } else { "opened" },
                open.path,
                access(open)
            )
        }
        Some(Detail::Connect(connect)) => {
            format!(
                "{exe} {} {}",
                if tried {
                    "tried to connect to"
                } else {
                    "connected to"
                },
                remote(connect)
            )
        }
        Some(Detail::Listen(listen)) => format!("{exe} listens on {}", local(listen)),
        Some(Detail::Operation(operation)) => operation::words(&exe, operation),
        Some(Detail::Socket(socket)) => socket::words(&exe, socket),
        Some(Detail::Dns(dns)) => socket::dns_words(&exe, dns),
        Some(Detail::FileHash(file)) => file_hash(&exe, event.process.as_ref(), file),
        Some(Detail::Loss(loss)) => loss_words(loss),
        Some(Detail::Coverage(coverage)) => coverage_words(coverage),
        Some(Detail::ClockStep(step)) => {
            let by = Duration::from_nanos(step.step_ns.unsigned_abs());
            let direction = if step.step_ns < 0 { "back" } else { "forward" };
            format!("the clock of the node was set {direction} by {by:?}")
        }
        Some(Detail::ClockState(state)) => super::clock_state("the node", state),
        Some(Detail::Recovery(recovery)) if recovery.bytes_dropped > 0 => {
            format!(
                "repaired after a crash: {} ({} bytes dropped)",
                recovery.what, recovery.bytes_dropped
            )
        }
        Some(Detail::Recovery(recovery)) => format!("put right: {}", recovery.what),
        Some(Detail::Rollup(rollup)) => {
            let repeated = counts(&rollup.repeated_alerts);
            let repeated = if repeated.is_empty() {
                repeated
            } else {
                format!("; alerts raised before: {repeated}")
            };
            let recognised = counts(&rollup.recognised);
            let recognised = if recognised.is_empty() {
                recognised
            } else {
                format!("; recognised in the kernel: {recognised}")
            };
            let peers = match rollup.connections.len() {
                0 => String::new(),
                number => format!("; connections that are known with {number} peers and ports"),
            };
            format!(
                "nothing new in {}{recognised}{peers}{repeated}",
                or_nothing(counts(&rollup.counts))
            )
        }
        Some(Detail::Lifecycle(lifecycle)) => {
            let detail = if lifecycle.detail.is_empty() {
                String::new()
            } else {
                format!(": {}", lifecycle.detail)
            };
            format!("agent {} {}{detail}", lifecycle.agent_version, lifecycle.state)
        }
        Some(Detail::BaselineReady(ready)) => format!(
            "baseline of {} is complete after {:?} ({}); from here on novelty is an alert",
            ready.workload,
            Duration::from_secs(Duration::from_nanos(ready.learned_for_ns).as_secs()),
            or_nothing(counts(&ready.facts))
        ),
        Some(Detail::BaselineDecision(decision)) => decision::words(decision),
        Some(Detail::CheckpointInconsistent(conflict)) => format!(
            "the audit log {} of the collector at {} took back what it had promised: {}",
            conflict.origin, conflict.collector, conflict.reason
        ),
        Some(Detail::IdentityResolved(resolved)) => known::resolved(event.container.as_ref(), resolved),
        Some(Detail::Posture(posture)) => known::posture(posture),
        Some(Detail::ReleaseDelta(delta)) => format!(
            "the new revision of {} did {} in its first hours: {} added, {} changed, {} not seen yet",
            delta.workload,
            if delta.added + delta.changed + delta.gone == 0 {
                "nothing that was not known"
            } else {
                "something else than the one before"
            },
            delta.added,
            delta.changed,
            delta.gone
        ),
        None => format!(
            "{exe}: an event of kind {}, of which this version knows no more",
            super::kind(event)
        ),
    }
}

/// Facts that do not fit into one clause.
pub fn details(event: &Event) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    match &event.detail {
        Some(Detail::ReleaseDelta(delta)) => facts.push(("delta", delta.text.clone())),
        Some(Detail::CheckpointInconsistent(conflict)) => {
            facts.push(("remembered", conflict.remembered.clone()));
            facts.push(("presented", conflict.presented.clone()));
        }
        Some(Detail::Exec(exec)) => {
            if exec.file_deleted {
                facts.push(("note", "the file of the executable was deleted".to_owned()));
            }
            if exec.argv_truncated || exec.path_truncated {
                facts.push(("note", "path or arguments are cut".to_owned()));
            }
            facts.push(("name given to exec", exec.filename.clone()));
            if let Some(path) = exec.script.as_ref().and_then(|script| script.path.as_ref()) {
                let gone = if path.deleted { " (deleted)" } else { "" };
                facts.push(("script", format!("{}{gone}", path.path)));
            } else if exec.is_script {
                facts.push((
                    "note",
                    "a script, known only by the name given to exec".to_owned(),
                ));
            }
            if !exec.origin.is_empty() {
                facts.push(("origin", exec.origin.clone()));
            }
            facts.extend(exec.hash.as_ref().map(|hash| ("SHA-256", hash_words(hash))));
            let script = exec.script.as_ref().and_then(|script| script.hash.as_ref());
            facts.extend(script.map(|hash| ("SHA-256 of the script", hash_words(hash))));
            if !exec.environment.is_empty() {
                let cut = if exec.environment_truncated {
                    " and more"
                } else {
                    ""
                };
                facts.push(("environment", exec.environment.join(" ") + cut));
            }
        }
        Some(Detail::Open(open)) => facts.push(("flags", open.flags.join(" "))),
        Some(Detail::Rollup(rollup)) => {
            let connections = rollup.connections.iter();
            facts.extend(connections.map(|count| ("connections", connection_words(count))));
            for finding in &rollup.repeated_findings {
                facts.push((
                    "repeated",
                    format!(
                        "{} {} of incident {}",
                        finding.count, finding.code, finding.incident
                    ),
                ));
            }
        }
        Some(Detail::Operation(operation)) => operation::details(operation, &mut facts),
        Some(Detail::IdentityResolved(resolved)) => known::details(resolved, &mut facts),
        Some(Detail::Loss(loss)) if loss.last_sequence > 0 => {
            facts.push((
                "sequences",
                format!("{} to {}", loss.first_sequence, loss.last_sequence),
            ));
        }
        Some(Detail::Coverage(coverage)) => {
            for capability in &coverage.capabilities {
                let tier = if capability.tier.is_empty() {
                    "NOT AVAILABLE"
                } else {
                    &capability.tier
                };
                let blind = capability.blind_spots.join(", ");
                let blind = if blind.is_empty() {
                    blind
                } else {
                    format!("; cannot see {blind}")
                };
                let reason = &capability.reason;
                let reason = if reason.is_empty() {
                    String::new()
                } else {
                    format!("; because {reason}")
                };
                facts.push((
                    "capability",
                    format!("{}: {tier}{blind}{reason}", capability.name),
                ));
            }
        }
        _ => {}
    }
    facts
}

/// The executable of a process, or what is known of it instead.
pub fn exe(process: Option<&Process>) -> String {
    match process {
        Some(process) if !process.exe.is_empty() => process.exe.clone(),
        Some(process) if !process.comm.is_empty() => process.comm.clone(),
        Some(process) => format!("process {}", process.pid),
        None => "an unknown process".to_owned(),
    }
}

fn exec(process: Option<&Process>, exec: &Exec, exe: &str, tried: bool) -> String {
    let parent = process.and_then(|process| process.ancestors.first());
    let command = process
        .map(|process| process.argv.join(" "))
        .filter(|argv| !argv.is_empty() && argv != exe);
    let command = command.map(|argv| format!(" ({argv})")).unwrap_or_default();
    let origin = exec.script.as_ref().map_or(&exec.origin, |script| &script.origin);
    let command = command + origin_words(origin);
    match (parent, tried) {
        (Some(parent), false) => format!("{} started {exe}{command}", parent.exe),
        (Some(parent), true) => format!("{} tried to start {exe}{command}", parent.exe),
        (None, false) => format!("{exe}{command} was started"),
        (None, true) => format!("{exe}{command} was to be started"),
    }
}

/// A hash, or why it is not there.
fn hash_words(hash: &Hash) -> String {
    if !hash.sha256.is_empty() {
        hash.sha256.clone()
    } else if hash.pending {
        "pending: it follows in an event of its own".to_owned()
    } else {
        format!("not known ({})", hash.unavailable)
    }
}

fn file_hash(exe: &str, process: Option<&Process>, file: &FileHash) -> String {
    let path = file.path.as_ref().map_or(exe, |path| &path.path);
    let by = process.map_or(0, |process| process.pid);
    let part = if file.script { "the script " } else { "" };
    let hash = file.hash.as_ref().map(hash_words).unwrap_or_default();
    format!("SHA-256 of {part}{path}, which process {by} executed: {hash}")
}

/// Where a program comes from, where that is worth words.
fn origin_words(origin: &str) -> &'static str {
    match origin {
        "upper-layer" => ", a file that is not in the image or was changed since",
        "volume" => ", a file of a volume",
        "tmpfs" => ", a file in memory",
        "memfd" => ", a program in memory without a file",
        "deleted" => ", a file that was deleted",
        _ => "",
    }
}

fn exit_words(exit: &Exit) -> String {
    let lived = rounded(exit.duration_ns);
    match (exit.signal, exit.code) {
        (Some(signal), _) => {
            let core = if exit.core_dumped { ", core dumped" } else { "" };
            format!("was ended by signal {signal}{core} after {lived:?}")
        }
        (None, Some(code)) => format!("ended with code {code} after {lived:?}"),
        (None, None) => format!("ended after {lived:?}"),
    }
}

/// As exact as a reader needs it: microseconds below ten milliseconds, milliseconds above.
fn rounded(ns: u64) -> Duration {
    if ns < 10_000_000 {
        Duration::from_micros(ns / 1_000)
    } else {
        Duration::from_millis(ns / 1_000_000)
    }
}

fn access(open: &Open) -> &'static str {
    match (open.created, open.read, open.write) {
        (true, ..) => "and created it",
        (false, true, true) => "for reading and writing",
        (false, false, true) => "for writing",
        (false, true, false) => "for reading",
        (false, false, false) => "without reading or writing",
    }
}

fn remote(connect: &Connect) -> String {
    let name = if connect.peer_name.is_empty() {
        String::new()
    } else {
        format!(" ({})", connect.peer_name)
    };
    format!(
        "{}/{}{name}",
        endpoint(&connect.remote_address, connect.remote_port),
        connect.protocol
    )
}

fn local(listen: &Listen) -> String {
    let port = if listen.port == 0 {
        " (a port that the kernel chooses)"
    } else {
        ""
    };
    format!(
        "{}/{}{port}",
        endpoint(&listen.address, listen.port),
        listen.protocol
    )
}

fn endpoint(address: &str, port: u32) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn loss_words(loss: &Loss) -> String {
    let cause = match LossCause::try_from(loss.cause) {
        Ok(LossCause::RingFull) => "the kernel's ring buffer was full",
        Ok(LossCause::Unreadable) => "kernel objects could not be read",
        Ok(LossCause::OutboxWrite) => "the agent's disk could not be written",
        Ok(LossCause::OutboxBound) => "the agent's outbox was full",
        Ok(LossCause::OutboxAge) => "they waited in the agent's outbox for longer than it keeps them",
        Ok(LossCause::OutboxDamaged) => "part of the agent's outbox was damaged",
        Ok(LossCause::Undecodable) => "records of the kernel side did not decode",
        Ok(LossCause::PassedOver) => {
            "at most so many: the kernel was in the middle of the program that reports them"
        }
        Ok(LossCause::Unspecified) | Err(_) => "the cause is not known",
    };
    let total: u64 = loss
        .counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(count.count));
    format!(
        "{total} events were lost ({}): {cause}",
        or_nothing(counts(&loss.counts))
    )
}

fn coverage_words(coverage: &Coverage) -> String {
    let blind: Vec<_> = coverage
        .capabilities
        .iter()
        .filter(|capability| capability.tier.is_empty() && !capability.off)
        .map(|capability| capability.name.as_str())
        .collect();
    let kernel = &coverage.kernel;
    if blind.is_empty() {
        format!(
            "all {} sensors work on kernel {kernel}",
            coverage.capabilities.len()
        )
    } else {
        format!(
            "sensors that do not work on kernel {kernel}: {}",
            blind.join(", ")
        )
    }
}

fn connection_words(count: &ConnectionCount) -> String {
    let address = &count.remote_address;
    let peer = match (count.peer_name.as_str(), address.as_str()) {
        ("", "") => format!("anywhere ({})", count.peer_kind),
        ("", address) => address.to_owned(),
        (name, address) => format!("{name} ({address})"),
    };
    let what = if count.accepted {
        format!(
            "{} accepted {} on port {} from {peer}",
            count.exe, count.begun, count.port
        )
    } else {
        format!(
            "{} began {} to {peer} port {}",
            count.exe, count.begun, count.port
        )
    };
    let failed = match count.failed {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    format!(
        "{what}; {} ended{failed}; {} bytes sent, {} received",
        count.ended, count.sent, count.received
    )
}

fn counts(counts: &[KindCount]) -> String {
    counts
        .iter()
        .map(|count| format!("{} {}", count.count, count.kind))
        .collect::<Vec<_>>()
        .join(", ")
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        text
    }
}
