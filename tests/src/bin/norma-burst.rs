//! A program that does one thing an exact number of times, as fast as it can.
//!
//! `norma-burst KIND COUNT THREADS PROCS [PORT]` joins the control group whose `cgroup.procs` is PROCS, then opens a file,
//! executes a program or connects to 127.x.y.z:PORT COUNT times in all, from so many threads, and prints the
//! number that it did. `norma-burst nothing` ends at once: it is what the kind `exec` runs.

#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, rest @ ..] = arguments.as_slice() else {
        bail!("norma-burst KIND COUNT THREADS PROCS [PORT]");
    };
    if kind == "nothing" {
        return Ok(());
    }
    let [count, threads, procs, port @ ..] = rest else {
        bail!("norma-burst KIND COUNT THREADS PROCS [PORT]");
    };
    let (count, threads): (u64, u64) = (
        count.parse().context("COUNT")?,
        threads.parse().context("THREADS")?,
    );
    let port: u16 = port.first().map_or(Ok(0), |port| port.parse()).context("PORT")?;
    let own = std::env::current_exe().context("own path")?;
    std::fs::write(procs, std::process::id().to_string()).with_context(|| procs.clone())?;
    let act = |number: u64| -> Result<()> {
        match kind.as_str() {
            "open" => File::open("/etc/passwd").map(drop).context("open"),
            "exec" => Command::new(&own)
                .arg("nothing")
                .status()
                .map(drop)
                .context("exec"),
            "connect" => {
                // Another peer for each few connections, so that ports in TIME_WAIT do not run out.
                let [_, _, high, low] = (number as u32).to_be_bytes();
                let peer = Ipv4Addr::new(127, 1 + high % 200, low, 1);
                TcpStream::connect((peer, port)).map(drop).context("connect")
            }
            other => bail!("there is no kind `{other}`"),
        }
    };
    let done: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let act = &act;
                scope.spawn(move || -> Result<u64> {
                    let share = (thread..count).step_by(threads as usize);
                    let mut done = 0;
                    for number in share {
                        act(number)?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        workers.into_iter().try_fold(0, |sum, worker| {
            let done = worker
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            anyhow::Ok(sum + done)
        })
    })?;
    println!("{done}");
    Ok(())
}
