//! A running `norma-load serve`, in a container or on the host.

use anyhow::{Context as _, Result, bail};
use norma_rig::container::ORDERS;
use norma_rig::{Container, ContainerSpec, Daemon, Programs, Scratch, wait_until};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// Where it makes its files in the container: in memory, since a journal costs what it likes.
const FILES: &str = "/tmp/load";
/// Where it makes the program that it runs: on the container's root, as deep as most programs.
const PROGRAMS: &str = "/srv/load";
/// Beyond the time that an order asks for.
const SLACK: Duration = Duration::from_secs(60);

/// So many operations of a mode, and what they took.
#[derive(Clone, Debug)]
pub struct Block {
    /// Mode of `norma-load`.
    pub mode: String,
    /// Operations.
    pub operations: u64,
    /// Processor time of the load and its children, in nanoseconds.
    pub cpu_ns: f64,
    /// Time.
    pub wall: Duration,
}

impl Block {
    /// Processor time for each operation, in nanoseconds.
    pub fn cost(&self) -> f64 {
        self.cpu_ns / self.operations as f64
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix("block ")?.split(' ');
        Some(Self {
            mode: words.next()?.to_owned(),
            operations: words.next()?.parse().ok()?,
            cpu_ns: words.next()?.parse().ok()?,
            wall: Duration::from_nanos(words.next()?.parse().ok()?),
        })
    }
}

/// The load generator.
pub enum Load {
    /// The first and only process of a container.
    Contained(Container),
    /// A process of the host, with the pipe for its orders.
    Free(Daemon, File),
}

impl Load {
    /// Starts a container that consists of it.
    pub fn contained(scratch: &Scratch, programs: &Programs) -> Result<Self> {
        let words = ["/usr/bin/norma-load", "serve", ORDERS, FILES, PROGRAMS];
        let spec = ContainerSpec {
            name: "load".to_owned(),
            argv: words.map(str::to_owned).to_vec(),
            programs: vec![programs.path("norma-load")],
            ..ContainerSpec::default()
        };
        Ok(Self::Contained(Container::start(scratch, &spec)?))
    }

    /// Starts it on the host.
    pub fn free(scratch: &Scratch, programs: &Programs) -> Result<Self> {
        let pipe = scratch.join("orders");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("cannot make a pipe")?;
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .context("cannot open the pipe")?;
        let mut command = Command::new(programs.path("norma-load"));
        let folder = scratch.folder("load")?;
        command.arg("serve").arg(&pipe).args([&folder, &folder]);
        Ok(Self::Free(Daemon::start(scratch, "load", &mut command)?, open))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Contained(container) => container.init(),
            Self::Free(daemon, _) => daemon.pid(),
        }
    }

    fn output(&self) -> String {
        match self {
            Self::Contained(container) => container.output(),
            Self::Free(daemon, _) => daemon.log(),
        }
    }

    /// Each mode by turns, so many rounds, for so long each.
    pub fn blocks(&self, rounds: u64, time: Duration, modes: &[&str]) -> Result<Vec<Block>> {
        let whole = time * u32::try_from(rounds * modes.len() as u64).unwrap_or(u32::MAX);
        self.order(
            &format!("blocks {rounds} {} {}", time.as_millis(), modes.join(",")),
            whole,
        )
    }

    /// A load of so many operations in a second.
    pub fn pace(&self, mode: &str, rate: u64, time: Duration) -> Result<Block> {
        one(self.order(&format!("pace {mode} {rate} {}", time.as_millis()), time)?)
    }

    /// Exactly so many operations, as quickly as the threads can.
    pub fn burst(&self, mode: &str, count: u64, threads: u64) -> Result<Block> {
        one(self.order(&format!("burst {mode} {count} {threads}"), Duration::ZERO)?)
    }

    fn order(&self, order: &str, time: Duration) -> Result<Vec<Block>> {
        let before = self.output().len();
        match self {
            Self::Contained(container) => container.order(order)?,
            Self::Free(_, pipe) => { pipe }
                .write_all(format!("{order}\n").as_bytes())
                .context("cannot write an order")?,
        }
        let answer = wait_until(&format!("the load to finish `{order}`"), time + SLACK, || {
            let output = self.output();
            let answer = output.get(before..).unwrap_or_default();
            if let Some(why) = answer.lines().find_map(|line| line.strip_prefix("failed: ")) {
                bail!("the load cannot `{order}`: {why}");
            }
            Ok(answer.ends_with("done\n").then(|| answer.to_owned()))
        })?;
        Ok(answer.lines().filter_map(Block::parse).collect())
    }
}

fn one(blocks: Vec<Block>) -> Result<Block> {
    blocks.into_iter().next().context("the load answered nothing")
}

#[cfg(test)]
mod tests {
    use super::Block;

    #[test]
    fn an_answer_is_read() {
        let block = Block::parse("block open 200 50000 60000").unwrap();
        assert_eq!((block.mode.as_str(), block.operations), ("open", 200));
        assert_eq!(block.cost(), 250.0);
        assert!(Block::parse("done").is_none());
    }
}
