//! Modes without and with a watcher, by one process and without the rig: for virtual machines in which time
//! is the number of instructions, so that a few blocks say it all.
//!
//! The watcher is started once, which takes long there, between two phases without it:
//! `without`, `with`, `again`. Each block is a line: `PHASE MODE NANOSECONDS_PER_OPERATION`.

use crate::kernel;
use crate::modes::{Mode, Operation, Site};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a kernel does after its start, or that of the watcher, is over then.
const SETTLE: Duration = Duration::from_secs(2);
/// What happens again after this is known to the watcher.
const KNOWN: Duration = Duration::from_secs(4);
/// Programs are slow to load where each instruction is emulated.
const START_LIMIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(100);
/// What `norma-agent run` says when its programs are attached.
const READY: &str = "watching";

/// `FOLDER BLOCKS OPERATIONS MODE,MODE… WATCHER ARGUMENT…`
pub fn compare(words: &[String]) -> Result<()> {
    let [folder, blocks, operations, modes, watcher @ ..] = words else {
        bail!("norma-load compare FOLDER BLOCKS OPERATIONS MODE,MODE… WATCHER ARGUMENT…");
    };
    let folder = PathBuf::from(folder);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let blocks: u32 = blocks.parse().context("blocks")?;
    let operations: u64 = operations.parse().context("operations")?;
    let site = Site {
        folder: folder.clone(),
        programs: folder.clone(),
        port: 0,
    };
    let mut prepared = Vec::new();
    for name in modes.split(',') {
        prepared.push((name, Mode::find(name)?.prepare(&site)?));
    }
    let mut phase = |name: &str| -> Result<()> {
        std::thread::sleep(SETTLE);
        for (mode, operation) in &mut prepared {
            // The first blocks fetch what the others find, and make it known.
            block(&mut **operation, operations)?;
            std::thread::sleep(KNOWN);
            block(&mut **operation, operations)?;
            std::thread::sleep(SETTLE);
            for _ in 0..blocks {
                println!("{name} {mode} {:.1}", block(&mut **operation, operations)?);
            }
        }
        Ok(())
    };
    phase("without")?;
    let mut watcher = Watcher::start(&folder, watcher)?;
    phase("with")?;
    watcher.stop()?;
    phase("again")
}

/// Processor time for each operation, in nanoseconds.
fn block(operation: &mut Operation, operations: u64) -> Result<f64> {
    let before = kernel::cpu_time()?;
    operation(operations)?;
    let used = kernel::cpu_time()?.saturating_sub(before);
    Ok(used.as_nanos() as f64 / operations as f64)
}

/// Ended when it is dropped.
struct Watcher(Child);

impl Watcher {
    fn start(folder: &Path, words: &[String]) -> Result<Self> {
        let (program, arguments) = words.split_first().context("no watcher is given")?;
        let path = folder.join("watcher.log");
        let log = fs::File::create(&path).context("cannot make a log")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share a log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let (mut this, started) = (Self(child), Instant::now());
        loop {
            let text = fs::read_to_string(&path).unwrap_or_default();
            if text.contains(READY) {
                return Ok(this);
            }
            let ended = this.0.try_wait().context("cannot ask for an exit status")?;
            ensure!(ended.is_none(), "the watcher ended: {text}");
            ensure!(
                started.elapsed() < START_LIMIT,
                "the watcher is not ready: {text}"
            );
            std::thread::sleep(POLL);
        }
    }

    fn stop(&mut self) -> Result<()> {
        self.0.kill().context("cannot end the watcher")?;
        self.0.wait().context("cannot wait for the watcher")?;
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}
