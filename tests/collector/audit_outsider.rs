//! The audit log as somebody checks it who has nothing of Norma: a script of Python's standard library, and openssl.

use crate::agent::{Agent, event};
use crate::stage::Stage;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_rig::CollectorSettings;
use norma_rig::program::output;
use norma_rig::skip::skipped;
use norma_tlog::VerifierKey;
use norma_wire::audit::Record;
use norma_wire::audit::record::Body;
use prost::Message as _;
use std::path::Path;
use std::process::Command;

const EPOCH: u64 = 3;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/audit_check.py");

fn is_there(program: &str, option: &str) -> bool {
    Command::new(program)
        .arg(option)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_script_without_norma_verifies_records_trees_manifests_and_proofs() -> Result<()> {
    if !is_there("python3", "--version") {
        skipped("the audit log from outside", "python3 is not installed");
        return Ok(());
    }
    let stage = Stage::new("outsider")?;
    let settings = CollectorSettings {
        segment_bytes: Some(65536),
        checkpoint_interval: Some("1s".to_owned()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    for first in [1, 501, 1001] {
        agent.send(agent.events(first, first + 499)).await?;
        agent.acknowledged(first + 499).await?;
    }
    drop(agent);
    collector.stop()?;
    // One from a sealed segment, one from the open one.
    let mut proofs = Vec::new();
    for sequence in [7, 1500] {
        let proof = stage.scratch.join(format!("{sequence}.tlog-proof"));
        let mut command = stage.programs.collector();
        command.args(["audit", "prove"]).arg(collector.audit().path());
        command
            .arg(format!("worker-1/{EPOCH:016x}/{sequence}"))
            .arg("--out")
            .arg(&proof);
        output(&mut command)?;
        proofs.push((sequence, proof));
    }

    let mut script = Command::new("python3");
    script
        .arg(SCRIPT)
        .arg(collector.audit().path())
        .args(proofs.iter().map(|(_, proof)| proof));
    let found: serde_json::Value = serde_json::from_str(&output(&mut script)?)?;
    let records = collector.audit().records()?.len();
    ensure!(found["records"] == records, "{found}");
    ensure!(found["segments"].as_u64() >= Some(2), "{found}");
    for (number, (sequence, proof)) in proofs.iter().enumerate() {
        let payload = found["proven"][number].as_str().context("no payload")?;
        let record = Record::decode(unhex(payload)?.as_slice())?;
        let expected = event("worker-1", EPOCH, *sequence).encode_to_vec();
        ensure!(record.body == Some(Body::Event(expected.into())), "{record:?}");
        let policy = collector.policy(&stage.scratch)?;
        let mut command = stage.programs.collector();
        let told = output(
            command
                .args(["audit", "check-proof"])
                .arg(proof)
                .arg("--policy")
                .arg(&policy),
        )?;
        ensure!(told.starts_with("proven: record "), "{told}");
    }

    // It can fail: a byte of a record, then a byte of a proof.
    let log = collector.audit().path().join("audit-00000000000000000001.log");
    let good = std::fs::read(&log)?;
    let mut bad = good.clone();
    bad[5000] ^= 1;
    std::fs::write(&log, &bad)?;
    let mut script = Command::new("python3");
    ensure!(
        !script
            .arg(SCRIPT)
            .arg(collector.audit().path())
            .output()?
            .status
            .success()
    );
    std::fs::write(&log, &good)?;
    check_signature(&stage, collector.audit().path(), &found)
}

/// The checkpoint's signature, by openssl.
fn check_signature(stage: &Stage, audit: &Path, found: &serde_json::Value) -> Result<()> {
    if !is_there("openssl", "version") {
        skipped("the signature of a checkpoint", "openssl is not installed");
        return Ok(());
    }
    let state = audit.parent().context("no state directory")?;
    let key: VerifierKey = std::fs::read_to_string(state.join("audit.key.pub"))?
        .trim()
        .parse()?;
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
    let mut der = unhex("302a300506032b6570032100")?;
    der.extend_from_slice(&key.public().to_bytes());
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    );
    let pem = stage.scratch.file("key.pem", &pem)?;
    let text = stage
        .scratch
        .file("text", found["checkpoint"].as_str().context("no text")?)?;
    let signature = stage.scratch.join("signature");
    std::fs::write(
        &signature,
        unhex(found["signature"].as_str().context("no signature")?)?,
    )?;
    let verify = |text: &Path| {
        let mut command = Command::new("openssl");
        command
            .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
            .arg(&pem);
        command.arg("-in").arg(text).arg("-sigfile").arg(&signature);
        command.output()
    };
    let verified = verify(&text)?;
    ensure!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    let other = stage.scratch.file("other", "another text\n")?;
    ensure!(!verify(&other)?.status.success());
    Ok(())
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}
