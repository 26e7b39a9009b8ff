//! The SIEM's file, followed and printed for people.

use crate::terminal::red;
use anyhow::Result;
use norma_rig::syslog::Message;
use norma_rig::{Rsyslog, wait_until};
use std::time::Duration;

/// Follows what rsyslog has written.
pub struct SiemView<'a> {
    siem: &'a Rsyslog,
    shown: usize,
}

impl<'a> SiemView<'a> {
    /// From the beginning.
    pub fn new(siem: &'a Rsyslog) -> Self {
        Self { siem, shown: 0 }
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
        }
        if others > 0 {
            println!("     (and {others} more alert(s) that came with it)");
        }
        found.map(|_| ())
    }
}

fn print(line: &str) {
    let Some(message) = Message::parse(line) else {
        println!("     {line}");
        return;
    };
    // One line with everything in it; a bar stands between its parts.
    let mut parts = message.text.split(" | ");
    println!("     {} {}", message.time, red(parts.next().unwrap_or_default()));
    for part in parts {
        println!("       {part}");
    }
    if let Some(id) = message.data.get("id") {
        println!("       in the audit log: {id}");
    }
}
