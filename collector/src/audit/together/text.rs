//! What several logs say together, for people.

use super::{Between, Joined, NotCompared, NotGiven, NotHeld, Together, TogetherGaps};
use crate::audit::verify::Range;
use std::collections::BTreeSet;
use std::fmt;

impl fmt::Display for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_log: Vec<String> = self
            .by_log
            .iter()
            .map(|(log, count)| format!("{count} in {log}"))
            .collect();
        write!(
            f,
            "node {} epoch {}: sequences 1-{}, {} of them here ({})",
            self.node,
            self.epoch,
            self.last_sequence,
            self.arrived,
            by_log.join(", ")
        )?;
        if self.in_doubt > 0 {
            write!(
                f,
                ", {} in two logs as the node stated, {} of these compared and the same",
                self.in_doubt, self.same
            )?;
        }
        if self.lost > 0 {
            write!(f, ", {} accounted for by loss events", self.lost)?;
        }
        writeln!(f, "{}", if self.is_whole() { ", complete" } else { "" })?;
        for Between {
            logs: [one, other],
            sequences,
        } in &self.twice
        {
            writeln!(
                f,
                "  IN TWO LOGS, and no hand-over says so: {} are in {one} and in {other}",
                list(sequences)
            )?;
        }
        for Between {
            logs: [one, other],
            sequences,
        } in &self.differ
        {
            writeln!(
                f,
                "  NOT THE SAME EVENTS: {} in {one} and in {other}",
                list(sequences)
            )?;
        }
        for NotCompared {
            logs: [one, other],
            unread,
            sequences,
        } in &self.not_compared
        {
            writeln!(
                f,
                "  not compared: {} are in {one} and in {other}, and cannot be read any more in {} (removed by policy, or \
                 damaged: its own report says which)",
                list(sequences),
                unread.join(" and ")
            )?;
        }
        for NotHeld {
            said_in,
            logs,
            sequences,
        } in &self.not_held
        {
            writeln!(
                f,
                "  NOT THERE: {} were acknowledged by {}, as a hand-over in {said_in} says, and are not in it",
                list(sequences),
                names(logs)
            )?;
        }
        for NotGiven { logs, sequences } in &self.not_given {
            writeln!(
                f,
                "  NOT GIVEN: {} are said to be in {}, which is not here",
                list(sequences),
                names(logs)
            )?;
        }
        if !self.unexplained.is_empty() {
            writeln!(f, "  NOT ACCOUNTED FOR: {}", list(&self.unexplained))?;
        }
        Ok(())
    }
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in &self.logs {
            writeln!(f, "== {} ({})", log.name, log.path.display())?;
            log.report.fmt(f)?;
        }
        writeln!(f, "== {} logs together", self.logs.len())?;
        let verdict = match (self.is_complete(), self.is_intact()) {
            (true, _) => "intact and complete",
            (false, true) => "intact, and NOT COMPLETE",
            (false, false) => "NOT INTACT",
        };
        writeln!(f, "{verdict}: {} nodes and epochs", self.outboxes.len())?;
        self.outboxes.iter().try_for_each(|joined| joined.fmt(f))
    }
}

impl fmt::Display for TogetherGaps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for log in self.logs.iter().filter(|log| !log.faults.is_empty()) {
            writeln!(
                f,
                "{} ({}) is NOT INTACT, so that anything may be missing: run `norma-collector audit verify`",
                log.name,
                log.path.display()
            )?;
        }
        self.outboxes.iter().try_for_each(|joined| joined.fmt(f))?;
        writeln!(f, "complete: {} nodes and epochs", self.complete)
    }
}

fn names(logs: &BTreeSet<String>) -> String {
    let names: Vec<&str> = logs.iter().map(String::as_str).collect();
    names.join(" or ")
}

fn list(ranges: &[Range]) -> String {
    let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    ranges.join(", ")
}
