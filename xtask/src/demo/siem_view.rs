//! The SIEM's file, followed and printed for people.

use crate::terminal::red;
use anyhow::Result;
use norma_rig::audit::{AuditLog, number};
use norma_rig::syslog::Message;
use norma_rig::{Rsyslog, wait_until};
use serde_json::Value;
use std::time::Duration;

/// Follows what rsyslog has written.
pub struct SiemView<'a> {
    siem: &'a Rsyslog,
    audit: AuditLog,
    shown: usize,
}

impl<'a> SiemView<'a> {
    /// From the beginning.
    pub fn new(siem: &'a Rsyslog, audit: AuditLog) -> Self {
        Self {
            siem,
            audit,
            shown: 0,
        }
    }

    /// Passes over what has arrived already.
    pub fn skip_old(&mut self) {
        self.shown = self.siem.messages().len();
    }

    /// Waits for a message that contains all of `words` and prints it; says how many others came with it.
    pub fn show_until(&mut self, words: &[String], limit: Duration) -> Result<()> {
        let what = format!("an alert with {}", words.join(" and "));
        let mut others = 0;
        let found = wait_until(&what, limit, || {
            let messages = self.siem.messages();
            for line in messages.iter().skip(self.shown) {
                self.shown += 1;
                if words.iter().all(|word| line.contains(word.as_str())) {
                    return Ok(Some(line.clone()));
                }
                others += 1;
            }
            Ok(None)
        });
        if let Ok(line) = &found {
            print(line);
            self.print_evidence(line);
        }
        if others > 0 {
            println!("     (and {others} more alert(s) that came with it)");
        }
        found.map(|_| ())
    }

    /// Who did it and why it matters, from the event in the audit log that the message names.
    fn print_evidence(&self, line: &str) {
        let Some(id) = Message::parse(line).and_then(|message| message.data.get("id").cloned()) else {
            return;
        };
        let events = self.audit.events().unwrap_or_default();
        // The id is node/epoch/sequence.
        let sequence = id
            .rsplit('/')
            .next()
            .and_then(|number| number.parse::<u64>().ok());
        let Some(event) = events
            .iter()
            .find(|event| number(&event["id"]["sequence"]) == sequence)
        else {
            return;
        };
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let ancestors = event["process"]["ancestors"].as_array().into_iter().flatten();
        let parents: Vec<_> = ancestors
            .map(|parent| parent["exe"].as_str().unwrap_or("?").to_owned())
            .collect();
        let who = format!(
            "{} (pid {}), started by {}",
            text("/process/exe"),
            event["process"]["pid"],
            parents.join(", by ")
        );
        let controls: Vec<_> = event["verdict"]["reasons"][0]["controls"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, value) in [
            ("who", who),
            ("why it matters", text("/verdict/reasons/0/why")),
            ("controls", controls.join(", ")),
            ("evidence", id),
        ] {
            if !value.is_empty() {
                println!("       {name}: {value}");
            }
        }
    }
}

fn print(line: &str) {
    let Some(message) = Message::parse(line) else {
        println!("     {line}");
        return;
    };
    // rsyslog writes a line feed within a message as #012.
    let mut lines = message
        .text
        .split("#012")
        .flat_map(|part| part.split('\n'))
        .filter(|line| !line.is_empty());
    println!("     {} {}", message.time, red(lines.next().unwrap_or_default()));
    for line in lines {
        println!("       {line}");
    }
}
