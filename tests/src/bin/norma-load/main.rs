//! A program that does one thing as often as it can, for `cargo xtask bench` and the tests.
//!
//! - `norma-load MODE SECONDS [PORT]` does it for that long and prints `ops WALL_NS CPU_NS`.
//! - `norma-load serve PIPE FOLDER PROGRAMS` takes orders from a pipe (see [`serve`]) until it is killed. The
//!   same process then works with and without an agent, so that where its memory happens to lie weighs on
//!   both. It makes files in the one folder and the program that it runs in the other.
//! - `norma-load compare FOLDER BLOCKS OPERATIONS MODES WATCHER…` measures with and without a watcher by itself
//!   (see [`compare`]).
//! - `norma-load hold PIPE` listens, connects to itself, and closes the connection on a line from the pipe.
//! - `norma-load welcome PORT` accepts whoever connects to the port, until it is killed.
//! - `norma-load reach PATH` connects to a Unix socket.
//! - `norma-load nothing` ends at once: it is what the mode `exec` runs.

#![deny(unsafe_code)]

mod compare;
mod hold;
mod kernel;
mod modes;
mod serve;

use anyhow::{Context as _, Result};
use modes::{Mode, Operation, Site};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str);
    match argument(0).unwrap_or_default() {
        "nothing" => Ok(()),
        "hold" => hold::hold(argument(1).context("norma-load hold PIPE")?),
        "welcome" => {
            let port: u16 = argument(1).context("norma-load welcome PORT")?.parse()?;
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("cannot listen")?;
            listener.incoming().for_each(drop);
            Ok(())
        }
        "reach" => {
            let path = argument(1).context("norma-load reach PATH")?;
            UnixStream::connect(path).map(drop).context("cannot connect")
        }
        "compare" => compare::compare(&arguments[1..]),
        "serve" => {
            let path = |index| {
                let word = argument(index).context("norma-load serve PIPE FOLDER PROGRAMS")?;
                anyhow::Ok(PathBuf::from(word))
            };
            serve::serve(&path(1)?, path(2)?, path(3)?)
        }
        mode => {
            let seconds = argument(1).context("norma-load MODE SECONDS [PORT]")?;
            let limit = Duration::from_secs_f64(seconds.parse().context("seconds")?);
            let port = argument(2)
                .map_or(Ok(0), str::parse)
                .context("the third argument is a port")?;
            let mode = Mode::find(mode)?;
            let site = Site {
                folder: std::env::temp_dir(),
                programs: std::env::temp_dir(),
                port,
            };
            let block = Block::measure(&mut *mode.prepare(&site)?, mode.batch, limit)?;
            println!(
                "{} {} {}",
                block.operations,
                block.wall.as_nanos(),
                block.cpu.as_nanos()
            );
            Ok(())
        }
    }
}

/// What was done in a stretch of time.
struct Block {
    operations: u64,
    wall: Duration,
    /// Processor time of this process and of its children that have ended.
    cpu: Duration,
}

impl Block {
    /// Works for at least `limit`, looking at the clock only between batches.
    fn measure(operation: &mut Operation, batch: u64, limit: Duration) -> Result<Self> {
        let (started, cpu) = (Instant::now(), kernel::cpu_time()?);
        let mut operations = 0;
        while started.elapsed() < limit {
            operation(batch)?;
            operations += batch;
        }
        Ok(Self {
            operations,
            wall: started.elapsed(),
            cpu: kernel::cpu_time()?.saturating_sub(cpu),
        })
    }
}
