//! Taking orders from a pipe.
//!
//! | order | what is printed |
//! |---|---|
//! | `blocks ROUNDS MS MODE,MODE…` | of each mode by turns, so often: `block MODE OPS CPU_NS WALL_NS` |
//! | `pace MODE PER_SECOND MS` | `block …` of a load that is held to that rate |
//! | `burst MODE COUNT THREADS` | `block …` of exactly so many operations, shared by the threads |
//!
//! Each answer ends with `done`, or with `failed: why`. No file is opened and no program run besides what
//! the modes do, so that what an agent counts meanwhile is the load alone.

use crate::modes::{Mode, Operation, Site};
use crate::{Block, kernel};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A paced load works so often in a second.
const PACE: Duration = Duration::from_millis(1);

/// Follows orders until the process is killed.
pub fn serve(pipe: &Path, folder: PathBuf, programs: PathBuf) -> Result<()> {
    for folder in [&folder, &programs] {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    // Open for writing too: a pipe without writers is at its end.
    let pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .open(pipe)
        .with_context(|| pipe.display().to_string())?;
    let mut server = Server {
        site: Site {
            folder,
            programs,
            port: 0,
        },
        prepared: BTreeMap::new(),
    };
    for line in BufReader::new(pipe).lines() {
        match server.follow(&line.context("cannot read an order")?) {
            Ok(()) => println!("done"),
            Err(error) => println!("failed: {error:#}"),
        }
    }
    Ok(())
}

struct Server {
    site: Site,
    prepared: BTreeMap<&'static str, Box<Operation>>,
}

impl Server {
    fn follow(&mut self, order: &str) -> Result<()> {
        let words: Vec<&str> = order.split_whitespace().collect();
        match words[..] {
            ["blocks", rounds, time, modes] => self.blocks(number(rounds)?, milliseconds(time)?, modes),
            ["pace", mode, rate, time] => self.pace(Mode::find(mode)?, number(rate)?, milliseconds(time)?),
            ["burst", mode, count, threads] => {
                self.burst(Mode::find(mode)?, number(count)?, number(threads)?)
            }
            _ => bail!("there is no order `{order}`"),
        }
    }

    fn blocks(&mut self, rounds: u64, time: Duration, modes: &str) -> Result<()> {
        let modes: Vec<&'static Mode> = modes.split(',').map(Mode::find).collect::<Result<_>>()?;
        for _ in 0..rounds {
            for mode in &modes {
                let operation = self.operation(mode)?;
                // What the other modes have pushed out of the caches is fetched again.
                operation(mode.batch)?;
                print(mode, &Block::measure(operation, mode.batch, time)?);
            }
        }
        Ok(())
    }

    fn pace(&mut self, mode: &'static Mode, rate: u64, time: Duration) -> Result<()> {
        let operation = self.operation(mode)?;
        let (started, cpu) = (Instant::now(), kernel::cpu_time()?);
        let mut operations = 0;
        while started.elapsed() < time {
            let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
            operation(due.saturating_sub(operations))?;
            operations = operations.max(due);
            std::thread::sleep(PACE);
        }
        let block = Block {
            operations,
            wall: started.elapsed(),
            cpu: kernel::cpu_time()?.saturating_sub(cpu),
        };
        print(mode, &block);
        Ok(())
    }

    fn burst(&mut self, mode: &'static Mode, count: u64, threads: u64) -> Result<()> {
        let cpu = kernel::cpu_time()?;
        let started = if threads <= 1 {
            let operation = self.operation(mode)?;
            let started = Instant::now();
            operation(count)?;
            started
        } else {
            self.burst_of_threads(mode, count / threads, threads)?
        };
        let block = Block {
            operations: count / threads.max(1) * threads.max(1),
            wall: started.elapsed(),
            cpu: kernel::cpu_time()?.saturating_sub(cpu),
        };
        print(mode, &block);
        Ok(())
    }

    /// Gives the moment at which all threads were ready.
    fn burst_of_threads(&self, mode: &'static Mode, share: u64, threads: u64) -> Result<Instant> {
        let prepare = |number: u64| {
            // Names of its own: two threads cannot make the same file.
            let folder = self.site.folder.join(format!("thread-{number}"));
            std::fs::create_dir_all(&folder)?;
            mode.prepare(&Site {
                folder,
                ..self.site.clone()
            })
        };
        let mut operations: Vec<Box<Operation>> = (0..threads).map(prepare).collect::<Result<_>>()?;
        let barrier = Barrier::new(operations.len() + 1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = operations
                .iter_mut()
                .map(|operation| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        operation(share)
                    })
                })
                .collect();
            barrier.wait();
            let started = Instant::now();
            for worker in workers {
                worker
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            }
            Ok(started)
        })
    }

    /// Prepared once, so that sockets and files are the same with and without an agent.
    fn operation(&mut self, mode: &'static Mode) -> Result<&mut Operation> {
        if !self.prepared.contains_key(mode.name) {
            let operation = mode.prepare(&self.site)?;
            self.prepared.insert(mode.name, operation);
        }
        let operation = self.prepared.get_mut(mode.name).context("prepared above")?;
        Ok(&mut **operation)
    }
}

fn print(mode: &Mode, block: &Block) {
    println!(
        "block {} {} {} {}",
        mode.name,
        block.operations,
        block.cpu.as_nanos(),
        block.wall.as_nanos()
    );
}

fn number(word: &str) -> Result<u64> {
    word.parse().with_context(|| format!("`{word}` is no number"))
}

fn milliseconds(word: &str) -> Result<Duration> {
    number(word).map(Duration::from_millis)
}
