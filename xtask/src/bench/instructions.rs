//! Instructions that watching adds, counted in a virtual machine.
//!
//! Its processor takes a nanosecond for each instruction, so that processor time is their number. It has neither
//! caches nor a pipeline: the figures say how much is done, not how long it takes.

use super::report::{range, signed, verdict};
use super::statistics::Spread;
use crate::terminal::bold;
use crate::vm;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The kernel for which the bounds are; it has BPF-LSM.
const KERNEL: &str = "6.12";
/// Blocks of each mode in a phase, and operations of each.
const BLOCKS: u32 = 9;
const OPERATIONS: u32 = 1000;
/// Mode of `norma-load`, what one operation is, and the most instructions that watching may add.
const CASES: &[(&str, &str, Option<f64>)] = &[
    ("null", "getppid", None),
    ("open", "open + close of /etc/hostname, known", Some(450.0)),
    (
        "open-nameless",
        "the same of a file without a name, delivered",
        Some(900.0),
    ),
];

/// What was counted.
pub struct Counted {
    rows: Vec<Row>,
}

struct Row {
    mode: &'static str,
    what: &'static str,
    bound: Option<f64>,
    without: Spread,
    with: Spread,
    /// Without the agent, after it had been there.
    again: Spread,
}

impl Row {
    /// Of the medians: the blocks of a phase are alike, but for what the clock interrupts.
    fn added(&self) -> f64 {
        self.with.median - self.without.median
    }
}

/// Counts in a guest; `build` the programs for it before.
pub fn measure(only: &[String], build: bool, tick: &mut dyn FnMut(&str)) -> Result<Counted> {
    let cases = CASES
        .iter()
        .filter(|(mode, ..)| only.is_empty() || only.iter().any(|wanted| wanted == mode));
    let cases: Vec<_> = cases.collect();
    if cases.is_empty() {
        let modes: Vec<_> = CASES.iter().map(|(mode, ..)| *mode).collect();
        bail!("instructions are counted of {}", modes.join(", "));
    }
    let modes: Vec<_> = cases.iter().map(|(mode, ..)| *mode).collect();
    // The load works in what the agent takes for a container of crun: a control group and mounts of its own. The
    // agent, which the load starts, leaves it.
    let agent = "sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs; \
                 exec nsenter --mount=/proc/1/ns/mnt norma-agent run --config /run/bench/agent.yaml'";
    let command = format!(
        "mkdir -p /run/bench/mount /run/crun/bench /sys/fs/cgroup/bench; \
         printf '{{\"pid\": 0, \"cgroup-path\": \"/bench\"}}' >/run/crun/bench/status; \
         printf 'node: guest\\nstate_dir: /run/bench/state\\n' >/run/bench/agent.yaml; \
         cat >/run/bench/load <<'END'\n\
         echo $$ >/sys/fs/cgroup/bench/cgroup.procs\n\
         mount -t tmpfs none /run/bench/mount\n\
         exec norma-load compare /run/bench/files {BLOCKS} {OPERATIONS} {} {agent}\n\
         END\n\
         unshare --mount sh /run/bench/load; \
         status=$?; cp /run/bench/files/watcher.log /run/job/; exit $status",
        modes.join(",")
    );
    let mut lines = Vec::new();
    let mut last = "booting".to_owned();
    vm::count_instructions(KERNEL, &command, build, &mut |line| match line {
        Some(line) => {
            line.clone_into(&mut last);
            lines.push(line.to_owned());
        }
        None => tick(&last),
    })?;
    let row = |&&(mode, what, bound): &&(&'static str, &'static str, Option<f64>)| {
        let phase =
            |name| phase(&lines, name, mode).with_context(|| format!("no figures of {mode}: {lines:?}"));
        anyhow::Ok(Row {
            mode,
            what,
            bound,
            without: phase("without")?,
            with: phase("with")?,
            again: phase("again")?,
        })
    };
    Ok(Counted {
        rows: cases.iter().map(row).collect::<Result<_>>()?,
    })
}

/// The blocks of a mode in a phase, as `norma-load compare` prints them.
fn phase(lines: &[String], name: &str, mode: &str) -> Option<Spread> {
    let values = lines.iter().filter_map(|line| {
        let mut words = line.split(' ');
        let same = words.next()? == name && words.next()? == mode;
        let value = words.next()?.parse().ok()?;
        same.then_some(value)
    });
    Spread::of(values.collect())
}

impl Counted {
    /// For people.
    pub fn print(&self) {
        println!(
            "\n{}",
            bold(&format!(
                "Instructions per operation on kernel {KERNEL}, all sensors attached"
            ))
        );
        println!(
            "{:<8} {:>9} {:>9} {:>17} {:>9} {:>8} {:>7} {:<9} operation",
            "mode", "without", "with", "(min to max)", "again", "added", "bound", ""
        );
        for row in &self.rows {
            println!(
                "{:<8} {:>9.0} {:>9.0} {:>17} {:>9.0} {:>8} {:>7} {:<9} {}",
                row.mode,
                row.without.median,
                row.with.median,
                range(row.with.least, row.with.most),
                row.again.median,
                signed(row.added()),
                row.bound.map(|bound| format!("{bound:.0}")).unwrap_or_default(),
                verdict(row.added(), row.bound),
                row.what,
            );
        }
        println!("median of {BLOCKS} blocks of {OPERATIONS} operations; again: without the agent, after it");
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "mode": row.mode, "operation": row.what, "bound_instructions": row.bound,
                "without": row.without.json(), "with": row.with.json(), "again": row.again.json(),
                "added_instructions": row.added(),
                "held": row.bound.map(|bound| row.added() <= bound),
            })
        });
        json!({ "kernel": KERNEL, "cases": rows.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::phase;

    #[test]
    fn blocks_are_told_by_phase_and_mode() {
        let lines = [
            "without open 1000.0",
            "without null 90.0",
            "noise",
            "with open 1900.5",
            "without open 1002.0",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(phase(&lines, "without", "open").unwrap().values, [1000.0, 1002.0]);
        assert_eq!(phase(&lines, "with", "open").unwrap().median, 1900.5);
        assert!(phase(&lines, "again", "open").is_none());
    }
}
