//! Another key follows the key of the log, and those who remember the log follow it.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::{CollectorSettings, wait_until};
use norma_tlog::Note;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Delivers events until the node remembers a checkpoint with so many signatures under a key for which `wanted` holds;
/// gives the key.
fn remembers(
    node: &mut Node,
    folder: &Path,
    signatures: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    wait_until("the node to remember another checkpoint", LIMIT, || {
        node.append(1);
        for entry in fs::read_dir(folder.join("checkpoints")).into_iter().flatten() {
            let path = entry?.path();
            ensure!(
                path.extension().is_none_or(|found| found != "inconsistent"),
                "the node says that the log was changed"
            );
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            let (key, note) = text.split_once('\n').unwrap_or_default();
            if wanted(key) && Note::parse(note.as_bytes())?.signatures.len() == signatures {
                return Ok(Some(key.to_owned()));
            }
        }
        Ok(None)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_policies_follow_a_key_that_the_old_one_names() -> Result<()> {
    let stage = Stage::new("rotation")?;
    let settings = CollectorSettings {
        checkpoint_interval: Some("1s".to_owned()),
        audit: "  # keys\n".to_owned(),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let config = stage.scratch.join("collector.yaml");
    let text = fs::read_to_string(&config)?;
    let with = |keys: &str| fs::write(&config, text.replace("  # keys\n", keys));
    let folder = stage.scratch.folder("outbox")?;
    let identity = stage.pki.node("worker-1", 90)?;
    let mut node = Node::start(
        &folder,
        "worker-1",
        target(&stage.pki.ca(), &identity, collector.port())?,
    )?;
    let old = remembers(&mut node, &folder, 1, |_| true)?;

    // Both sign, and the log is known by the old one.
    collector.stop()?;
    with("  next_key: next.key\n")?;
    collector.run(&stage.scratch)?;
    remembers(&mut node, &folder, 2, |key| key == old)?;
    collector.stop()?;
    let records = collector.audit().records_of(&["--kind", "key_rotation"])?;
    ensure!(
        records.len() == 1 && records[0].to_string().contains(&old),
        "{records:?}"
    );

    with("  key: next.key\n")?;
    collector.run(&stage.scratch)?;
    let new = remembers(&mut node, &folder, 1, |key| key != old)?;
    node.shipped(LIMIT).await?;
    collector.stop()?;
    let published = fs::read_to_string(stage.scratch.join("next.key.pub"))?;
    ensure!(published.trim() == new);

    let verify = |logs: &str| -> Result<String> {
        let policy = stage.scratch.file("policy", &format!("{logs}\nquorum none\n"))?;
        let mut command = stage.programs.collector();
        command.args(["audit", "verify", "--policy"]).arg(&policy);
        let output = command.arg(collector.audit().path()).output()?;
        String::from_utf8(output.stdout).context("not text")
    };
    for logs in [format!("log {new}"), format!("log {old}\nlog {new}")] {
        let report = verify(&logs)?;
        ensure!(report.starts_with("intact: "), "{report}");
    }
    let report = verify(&format!("log {old}"))?;
    ensure!(
        !report.starts_with("intact") && report.contains(&format!("add `log {new}`")),
        "{report}"
    );

    // A key that none before it names is not taken.
    with("  key: third.key\n")?;
    let mut command = stage.programs.collector();
    let name = new.split('+').next().context("no name")?;
    command
        .args(["audit", "key", "--origin", name])
        .arg(stage.scratch.join("third.key"));
    ensure!(command.output()?.status.success());
    let mut command = stage.programs.collector();
    let refused = command
        .args([OsStr::new("run"), OsStr::new("--config"), config.as_os_str()])
        .output()?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success() && told.contains("audit.next_key"),
        "{told}"
    );
    node.kill().await;
    Ok(())
}
