//! A program that does one thing as often as it can, for `cargo xtask bench` and the tests.
//!
//! `norma-load MODE SECONDS [PORT]` prints `ops WALL_NS CPU_NS`. `norma-load nothing` ends at once: it is
//! what the mode `exec` runs.

#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, bail};
use rustix::time::ClockId;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Operations between two looks at the clock.
const BATCH: u64 = 16;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = arguments.first().map_or("", String::as_str);
    if mode == "nothing" {
        return Ok(());
    }
    let seconds: f64 = arguments
        .get(1)
        .context("norma-load MODE SECONDS [PORT]")?
        .parse()
        .context("seconds")?;
    let limit = Duration::from_secs_f64(seconds);
    let port: u16 = arguments
        .get(2)
        .map_or(Ok(0), |port| port.parse())
        .context("port")?;
    let own = std::env::current_exe().context("own path")?;
    let mut operation: Box<dyn FnMut() -> Result<()>> = match mode {
        "exec" => Box::new(move || {
            Command::new(&own).arg("nothing").status().context("exec")?;
            Ok(())
        }),
        "open" => Box::new(|| File::open("/etc/hostname").map(drop).context("open")),
        "connect" => Box::new(move || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .map(drop)
                .context("connect")
        }),
        "listen" => Box::new(|| {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .map(drop)
                .context("listen")
        }),
        "stat" => Box::new(|| Path::new("/etc/hostname").metadata().map(drop).context("stat")),
        // A file that was never opened before, each time: nothing of it is ever known to a baseline.
        "novel" => {
            let mut number = 0;
            Box::new(move || {
                number += 1;
                let path = format!("/tmp/novel-{number}");
                File::create(&path).context("create")?;
                std::fs::remove_file(&path).context("remove")
            })
        }
        other => bail!("there is no mode `{other}`"),
    };
    let (started, cpu_before) = (Instant::now(), cpu_time());
    let mut operations = 0u64;
    while started.elapsed() < limit {
        for _ in 0..BATCH {
            operation()?;
        }
        operations += BATCH;
    }
    let wall = started.elapsed();
    println!(
        "{operations} {} {}",
        wall.as_nanos(),
        (cpu_time() - cpu_before).as_nanos()
    );
    Ok(())
}

/// Processor time of this process, its ended children not included: those are counted by the control group.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
