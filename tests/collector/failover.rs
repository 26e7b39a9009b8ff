//! Several collectors, of which one fails.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_agent::config::{CollectorAddress, CollectorTarget};
use norma_agent::ship::{ShipStatus, Standing};
use norma_rig::pki::KeyPair;
use norma_rig::{Collector, CollectorSettings, Scratch, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A collector with a log and a name of its own, under the authority of the stage.
fn collector(stage: &Stage, name: &str) -> Result<(Scratch, Collector)> {
    let scratch = Scratch::new(name)?;
    let settings = CollectorSettings {
        extra: format!("audit:\n  origin: logs.example.org/{name}\n"),
        ..Default::default()
    };
    let collector = Collector::start(&scratch, &stage.programs, &stage.pki, None, &settings)?;
    Ok((scratch, collector))
}

pub fn both(
    stage: &Stage,
    identity: &KeyPair,
    first: &Collector,
    second: &Collector,
) -> Result<CollectorTarget> {
    let mut both = target(&stage.pki.ca(), identity, first.port())?;
    let second = target(&stage.pki.ca(), identity, second.port())?;
    both.fallbacks.push(CollectorAddress {
        address: second.address,
        server_name: second.server_name,
    });
    Ok(both)
}

/// Each event of a log by its sequence, as JSON.
fn events(collector: &Collector) -> Result<BTreeMap<u64, Value>> {
    let mut events = BTreeMap::new();
    for event in collector.audit().events()? {
        let sequence = norma_rig::audit::number(&event["id"]["sequence"]).context("no sequence")?;
        ensure!(
            events.insert(sequence, event).is_none(),
            "{sequence} is in one log twice"
        );
    }
    Ok(events)
}

/// Sequences that a log says may be in another one as well.
fn in_doubt(collector: &Collector) -> Result<Vec<(u64, u64)>> {
    let records = collector.audit().records_of(&["--kind", "handed_over"])?;
    let mut ranges = Vec::new();
    for record in &records {
        let list = record.pointer("/handed_over/statement/handover/in_doubt");
        for range in list.and_then(Value::as_array).into_iter().flatten() {
            let number = |name: &str| norma_rig::audit::number(&range[name]).context("no number");
            ranges.push((number("first_sequence")?, number("last_sequence")?));
        }
    }
    Ok(ranges)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_collectors_lose_and_double_nothing_but_what_is_stated() -> Result<()> {
    let stage = Stage::new("failover")?;
    let (east_files, mut east) = collector(&stage, "east")?;
    let (west_files, mut west) = collector(&stage, "west")?;
    let identity = stage.pki.node("worker-1", 90)?;
    let folder = stage.scratch.folder("outbox")?;
    let target = both(&stage, &identity, &east, &west)?;
    let mut node = Node::start(&folder, "worker-1", target)?;
    for round in 0..4 {
        let before = node.outbox.next_sequence();
        node.append(4000);
        // Some of it is acknowledged, some is on its way.
        node.acknowledged(before + 500, LIMIT).await?;
        let (files, failing) = match round % 2 {
            0 => (&east_files, &mut east),
            _ => (&west_files, &mut west),
        };
        failing.kill()?;
        node.append(1000);
        node.shipped(LIMIT).await?;
        failing.run(files)?;
    }
    let total = node.outbox.next_sequence() - 1;
    let standing = *node.standing.borrow();
    ensure!(
        standing == Standing::AsExpected,
        "a move is taken for a loss: {standing:?}"
    );
    drop(node);
    east.stop()?;
    west.stop()?;

    let (in_east, in_west) = (events(&east)?, events(&west)?);
    ensure!(!in_east.is_empty() && !in_west.is_empty(), "there was no move");
    let mut stated = in_doubt(&east)?;
    stated.extend(in_doubt(&west)?);
    for sequence in 1..=total {
        match (in_east.get(&sequence), in_west.get(&sequence)) {
            (None, None) => anyhow::bail!("{sequence} is in no log"),
            (Some(one), Some(other)) => {
                let is_stated = stated
                    .iter()
                    .any(|(first, last)| (first..=last).contains(&&sequence));
                ensure!(
                    is_stated,
                    "{sequence} is in both logs, and neither says so: {stated:?}"
                );
                ensure!(one == other, "{sequence} differs");
            }
            _ => {}
        }
    }
    ensure!(
        in_east
            .keys()
            .chain(in_west.keys())
            .all(|sequence| *sequence <= total)
    );
    // Each log by itself says where the rest is, and its chain of signed heads is whole.
    for (collector, other) in [(&east, "logs.example.org/west"), (&west, "logs.example.org/east")] {
        let report = collector.audit().verify()?;
        ensure!(report.starts_with("intact: "), "{report}");
        ensure!(
            report.contains("acknowledged by other logs") && report.contains(other),
            "{report}"
        );
        ensure!(
            !report.contains("NOT ACCOUNTED FOR") && !report.contains("BROKEN CHAIN"),
            "{report}"
        );
        collector.audit().check_accounted()?;
    }
    let in_both = in_east
        .keys()
        .filter(|sequence| in_west.contains_key(sequence))
        .count();
    check_together(&stage, &east, &west, total, in_both as u64)
}

/// `audit verify` or `audit gaps` of several logs: exit status and what is printed.
pub fn audit(stage: &Stage, command: &str, arguments: &[&OsStr]) -> Result<(Option<i32>, String)> {
    let mut program = stage.programs.collector();
    let output = program.args(["audit", command]).args(arguments).output()?;
    let text = String::from_utf8(output.stdout)? + std::str::from_utf8(&output.stderr)?;
    Ok((output.status.code(), text))
}

fn check_together(stage: &Stage, east: &Collector, west: &Collector, total: u64, in_both: u64) -> Result<()> {
    let (east, west) = (east.audit().path().to_owned(), west.audit().path().to_owned());
    let (east, west) = (east.as_os_str(), west.as_os_str());
    let json = [OsStr::new("--output"), OsStr::new("json")];
    // All there is: every sequence once, what is in both counted once and compared.
    let (status, text) = audit(stage, "verify", &[east, west])?;
    ensure!(
        status == Some(0) && text.contains("intact and complete: 1 nodes and epochs"),
        "{text}"
    );
    let (status, text) = audit(stage, "verify", &[&json[..], &[west, east]].concat())?;
    let report: Value = serde_json::from_str(&text)?;
    let joined = &report["outboxes"][0];
    ensure!(status == Some(0), "{text}");
    ensure!(
        joined["last_sequence"] == total && joined["arrived"] == total,
        "{joined}"
    );
    ensure!(
        joined["in_doubt"] == in_both && joined["same"] == in_both,
        "{joined}"
    );
    let (status, text) = audit(stage, "gaps", &[east, west])?;
    ensure!(
        status == Some(0) && text == "complete: 1 nodes and epochs\n",
        "{text}"
    );

    // One of them is left out.
    let (status, text) = audit(stage, "gaps", &[OsStr::new("--together"), east])?;
    ensure!(status == Some(1) && text.contains("NOT GIVEN: "), "{text}");
    ensure!(
        text.contains("said to be in logs.example.org/west, which is not here"),
        "{text}"
    );
    let (status, text) = audit(stage, "verify", &[OsStr::new("--together"), east])?;
    ensure!(
        status == Some(0) && text.contains("intact, and NOT COMPLETE"),
        "{text}"
    );

    // One of them twice, which would double everything.
    let (status, text) = audit(stage, "verify", &[east, east])?;
    ensure!(
        status == Some(2) && text.contains("are the same log, logs.example.org/east"),
        "{text}"
    );

    // One has lost its second half: whoever reads it alone without its tlog sees no fault, the other one does.
    let cut = stage.scratch.path().join("cut");
    copy(Path::new(west), &cut)?;
    let segment = only_segment(&cut)?;
    let length = std::fs::metadata(&segment)?.len();
    std::fs::File::options()
        .write(true)
        .open(&segment)?
        .set_len(length / 2)?;
    std::fs::remove_file(cut.join("head"))?;
    std::fs::remove_dir_all(cut.join("tlog"))?;
    let (status, text) = audit(stage, "verify", &[cut.as_os_str()])?;
    ensure!(status == Some(0), "{text}");
    for command in ["verify", "gaps"] {
        let (status, text) = audit(stage, command, &[east, cut.as_os_str()])?;
        ensure!(status == Some(1), "{text}");
        ensure!(
            text.contains("NOT THERE: ") && text.contains("were acknowledged by logs.example.org/west"),
            "{text}"
        );
    }

    // One byte of one of them is another.
    let changed = stage.scratch.path().join("changed");
    copy(Path::new(west), &changed)?;
    let segment = only_segment(&changed)?;
    let mut bytes = std::fs::read(&segment)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes)?;
    for command in ["verify", "gaps"] {
        let (status, text) = audit(stage, command, &[east, changed.as_os_str()])?;
        ensure!(status == Some(1), "{text}");
        ensure!(
            text.contains("NOT INTACT") && text.contains("NOT THERE: "),
            "{text}"
        );
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    norma_rig::program::output(std::process::Command::new("cp").arg("-r").args([from, to])).map(drop)
}

fn only_segment(audit: &Path) -> Result<PathBuf> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(audit)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    let one = segments.pop().context("no segment")?;
    ensure!(segments.is_empty(), "there are several segments");
    Ok(one)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_does_not_answer_is_left_for_the_next_and_a_restart_remembers() -> Result<()> {
    let stage = Stage::new("silent")?;
    let (_files, mut west) = collector(&stage, "west")?;
    let identity = stage.pki.node("worker-1", 90)?;
    let folder = stage.scratch.folder("outbox")?;
    // Takes connections and closes them: no TLS there.
    let silent = norma_rig::net::Peer::start()?;
    let mut target = target(&stage.pki.ca(), &identity, silent.port())?;
    target.fallbacks.push(CollectorAddress {
        address: format!("localhost:{}", west.port()),
        server_name: target.server_name.clone(),
    });
    let mut node = Node::start(&folder, "worker-1", target.clone())?;
    node.append(100);
    node.shipped(LIMIT).await?;
    node.kill().await;
    let mut node = Node::start(&folder, "worker-1", target)?;
    node.append(100);
    node.shipped(LIMIT).await?;
    let address = format!("localhost:{}", west.port());
    wait_until(
        "the status to name the collector",
        Duration::from_secs(10),
        || {
            let status = node.status.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
            let there = status.address.as_deref() == Some(&address)
                && status.log.as_deref() == Some("logs.example.org/west");
            Ok(there.then_some(()))
        },
    )?;
    west.stop()?;
    ensure!(west.audit().check_sequences()? == 200);
    ensure!(
        west.audit().records_of(&["--kind", "handed_over"])?.is_empty(),
        "a node that was nowhere else says that it was"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_stays_busy_is_left_for_the_next_and_what_it_acknowledged_is_not_sent_again()
-> Result<()> {
    const NAME: &str =
        "a_collector_that_stays_busy_is_left_for_the_next_and_what_it_acknowledged_is_not_sent_again";
    if !norma_rig::skip::unless_root(NAME) {
        return Ok(());
    }
    let stage = Stage::new("stays-busy")?;
    let (east_files, west_files) = (Scratch::new("busy-east")?, Scratch::new("busy-west")?);
    let disk = east_files.small_disk("state", 4 << 20)?;
    let settings = |name: &str, state: Option<PathBuf>| CollectorSettings {
        state,
        audit: format!("  origin: logs.example.org/{name}\n"),
        ..Default::default()
    };
    let start = |files: &Scratch, settings: &CollectorSettings| {
        Collector::start(files, &stage.programs, &stage.pki, None, settings)
    };
    let mut east = start(&east_files, &settings("east", Some(disk.clone())))?;
    let mut west = start(&west_files, &settings("west", None))?;
    let identity = stage.pki.node("worker-1", 90)?;
    let target = both(&stage, &identity, &east, &west)?;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
    node.append(500);
    node.shipped(LIMIT).await?;
    let filler = disk.join("filler");
    crate::disk::fill(&filler)?;
    // More than there is room for in the blocks that the log has already.
    node.append(2000);
    node.shipped(LIMIT).await?;
    let status = node
        .status
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?
        .clone();
    ensure!(
        status.log.as_deref() == Some("logs.example.org/west"),
        "{status:?}"
    );
    // It stays there when the other one can store again.
    std::fs::remove_file(&filler)?;
    node.append(500);
    node.shipped(LIMIT).await?;
    let sessions = node
        .status
        .lock()
        .map_err(|_| anyhow::anyhow!("poisoned"))?
        .sessions;
    ensure!(sessions == status.sessions, "it moved again");
    let total = node.outbox.next_sequence() - 1;
    drop(node);
    east.stop()?;
    west.stop()?;
    // What the busy one stored in the end although nobody waited for it is stated, and counts once.
    let paths = [east.audit().path().to_owned(), west.audit().path().to_owned()];
    let paths = paths.each_ref().map(|path| path.as_os_str());
    let (status, text) = audit(&stage, "verify", &paths)?;
    ensure!(
        status == Some(0) && text.contains("intact and complete"),
        "{text}"
    );
    ensure!(
        text.contains(&format!("sequences 1-{total}, {total} of them here")),
        "{text}"
    );
    let first = *events(&west)?.keys().next().context("nothing in west")?;
    ensure!(first > 500, "{first} was acknowledged by the other one");
    Ok(())
}

/// How a node is left whose collector hung: what its status says, and that it stays where it went.
async fn moved_once(node: &mut Node, hung: &Collector) -> Result<()> {
    let status = |node: &Node| -> Result<ShipStatus> {
        let status = node.status.lock();
        Ok(status.map_err(|_| anyhow::anyhow!("poisoned"))?.clone())
    };
    let moved = status(node)?;
    let left = moved.last_left.clone().unwrap_or_default();
    ensure!(
        moved.log.as_deref() == Some("logs.example.org/west")
            && (moved.left_silent, moved.left_busy) == (1, 0)
            && left.starts_with(&format!("127.0.0.1:{}: ", hung.port()))
            && left.contains("collector.answer_timeout"),
        "{moved:?}"
    );
    for _ in 0..5 {
        node.append(100);
        node.shipped(LIMIT).await?;
    }
    ensure!(status(node)?.sessions == moved.sessions, "it moved again");
    Ok(())
}

/// Both logs are whole, and together they have everything once.
fn complete_together(stage: &Stage, logs: [&Collector; 2], total: u64) -> Result<()> {
    let paths = logs.map(|collector| collector.audit().path().to_owned());
    let paths = paths.each_ref().map(|path| path.as_os_str());
    let (status, text) = audit(stage, "verify", &paths)?;
    ensure!(
        status == Some(0)
            && text.contains("intact and complete")
            && text.contains(&format!("sequences 1-{total}, {total} of them here")),
        "{text}"
    );
    Ok(())
}

/// A node with two collectors that has delivered 500 events to the first, which it leaves where that says nothing for
/// so long: less than what keepalive takes to notice that nobody is there, for somebody is.
pub async fn impatient(stage: &Stage, east: &Collector, west: &Collector, answers: Duration) -> Result<Node> {
    let identity = stage.pki.node("worker-1", 90)?;
    let mut target = both(stage, &identity, east, west)?;
    target.answer_timeout = answers;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
    node.append(500);
    node.shipped(LIMIT).await?;
    Ok(node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_whose_disk_hangs_is_left_and_what_it_stores_in_the_end_counts_once() -> Result<()> {
    const NAME: &str = "a_collector_whose_disk_hangs_is_left_and_what_it_stores_in_the_end_counts_once";
    if !norma_rig::skip::unless_root(NAME) {
        return Ok(());
    }
    let stage = Stage::new("hangs")?;
    let east_files = Scratch::new("hangs-east")?;
    let disk = match east_files.loop_disk("state", 64 << 20) {
        Ok(disk) => disk,
        Err(error) => {
            norma_rig::skip::skipped(NAME, &format!("no loop device: {error:#}"));
            return Ok(());
        }
    };
    let settings = CollectorSettings {
        state: Some(disk.join("collector")),
        audit: "  origin: logs.example.org/east\n".to_owned(),
        ..Default::default()
    };
    let mut east = Collector::start(&east_files, &stage.programs, &stage.pki, None, &settings)?;
    let (_west_files, mut west) = collector(&stage, "west")?;
    let mut node = impatient(&stage, &east, &west, Duration::from_secs(5)).await?;
    let frozen = Scratch::freeze(&disk)?;
    let begin = Instant::now();
    // More than is on its way at once: the collector does not even read all of it.
    node.append(20_000);
    node.shipped(LIMIT).await?;
    ensure!(begin.elapsed() > Duration::from_secs(5), "it was left too early");
    moved_once(&mut node, &east).await?;
    let total = node.outbox.next_sequence() - 1;
    drop(node);
    drop(frozen);
    east.stop()?;
    west.stop()?;
    let first = *events(&west)?.keys().next().context("nothing in west")?;
    ensure!(first == 501, "what was acknowledged was delivered again: {first}");
    complete_together(&stage, [&east, &west], total)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_stopped_is_left_and_goes_on_later() -> Result<()> {
    let stage = Stage::new("stopped")?;
    let (_east_files, mut east) = collector(&stage, "east")?;
    let (west_files, mut west) = collector(&stage, "west")?;
    let mut node = impatient(&stage, &east, &west, Duration::from_secs(5)).await?;
    east.daemon()?.signal(Signal::STOP)?;
    node.append(3000);
    node.shipped(LIMIT).await?;
    moved_once(&mut node, &east).await?;
    east.daemon()?.signal(Signal::CONT)?;
    // The node is where it went; when that fails, the other one is good again.
    west.kill()?;
    node.append(500);
    node.shipped(LIMIT).await?;
    let total = node.outbox.next_sequence() - 1;
    drop(node);
    east.stop()?;
    west.run(&west_files)?;
    west.stop()?;
    complete_together(&stage, [&east, &west], total)
}
