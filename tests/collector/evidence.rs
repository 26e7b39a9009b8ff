//! Evidence for an assessment, as other people's programs see it.

use crate::agent::{Agent, event};
use crate::stage::Stage;
use anyhow::{Context as _, Result, bail, ensure};
use norma_rig::program::{output, sha256_of};
use norma_rig::skip::skipped;
use norma_rig::{Collector, CollectorSettings};
use norma_wire::pb::{self, Container, Kind};
use norma_wire::{Detail, Event};
use prost::Message;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EPOCH: u64 = 3;
const ORDINARY: u64 = 600;
const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/evidence_check.py");
const CHECKLIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/checklist_check.mjs");
const FILES: [&str; 4] = [
    "evidence.dsse.json",
    "oscal-assessment-results.json",
    "checklist.cklb",
    "evidence-key.pub.pem",
];

struct Scene {
    stage: Stage,
    collector: Collector,
    policy: PathBuf,
}

/// What an agent says of itself and of containers, with sequences from `first` on.
fn story(first: u64) -> Vec<Event> {
    let shop = |name: &str| Container {
        id: format!("{name}-id"),
        workload: format!("shop/deployment/{name}/main"),
        namespace: "shop".into(),
        ..Container::default()
    };
    let posture = |container: &str, change: &str| Event {
        kind: Kind::Posture.into(),
        container: Some(shop(container)),
        verdict: Some(pb::Verdict {
            kind: pb::VerdictKind::Violation.into(),
            severity: pb::Severity::Medium.into(),
            reasons: vec![pb::Reason {
                code: "posture.runs-as-root".into(),
                controls: vec!["STIG KUBER-L2-000020".into(), "NIST 800-53 AC-6(2)".into()],
                ..pb::Reason::default()
            }],
            ..pb::Verdict::default()
        }),
        detail: Some(Detail::Posture(pb::Posture {
            name: "posture.runs-as-root".into(),
            change: change.into(),
            value: "uid 0".into(),
            ..pb::Posture::default()
        })),
        ..Event::default()
    };
    let own = |kind: Kind, detail: Detail| Event {
        kind: kind.into(),
        detail: Some(detail),
        ..Event::default()
    };
    let told = [
        own(
            Kind::Lifecycle,
            Detail::Lifecycle(pb::Lifecycle {
                state: "started".into(),
                agent_version: "7.7.7".into(),
                config_revision: "c0ffee".into(),
                program_sha256: "ab".repeat(32),
                ..pb::Lifecycle::default()
            }),
        ),
        own(
            Kind::Coverage,
            Detail::Coverage(pb::Coverage {
                kernel: "6.1".into(),
                ..pb::Coverage::default()
            }),
        ),
        own(
            Kind::ClockState,
            Detail::ClockState(pb::ClockState {
                source: "tsc".into(),
                synchronised: Some(true),
                ..pb::ClockState::default()
            }),
        ),
        // One that stays, and one that somebody mended.
        posture("web", "new"),
        posture("mended", "new"),
        posture("mended", "gone"),
    ];
    (first..)
        .zip(told)
        .map(|(sequence, mut event)| {
            let place = crate::agent::event("worker-1", EPOCH, sequence);
            event.id = place.id;
            event.wall_ns = place.wall_ns;
            event
        })
        .collect()
}

async fn scene(purpose: &str) -> Result<Scene> {
    let stage = Stage::new(purpose)?;
    let settings = CollectorSettings {
        segment_bytes: Some(65536),
        checkpoint_interval: Some("1s".to_owned()),
        ..CollectorSettings::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, ORDINARY)).await?;
    agent.acknowledged(ORDINARY).await?;
    let mut told = story(ORDINARY + 1);
    // One of which the container is not known yet: AU-3's where is an explicit unknown.
    let mut pending = event("worker-1", EPOCH, ORDINARY + 1 + told.len() as u64);
    if let Some(container) = &mut pending.container {
        container.identity = pb::IdentityState::Pending.into();
    }
    told.push(pending);
    let last = ORDINARY + told.len() as u64;
    agent
        .send(told.iter().map(Message::encode_to_vec).collect())
        .await?;
    agent.acknowledged(last).await?;
    drop(agent);
    collector.stop()?;
    let policy = collector.policy(&stage.scratch)?;
    Ok(Scene {
        stage,
        collector,
        policy,
    })
}

impl Scene {
    fn try_evidence(&self, out: &Path, options: &[&str]) -> Result<Output> {
        let mut command = self.stage.programs.collector();
        command.arg("evidence").arg(self.collector.audit().path());
        command.arg("--policy").arg(&self.policy).arg("--out").arg(out);
        command.args(["--from", "2020-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]);
        Ok(command.args(options).output()?)
    }

    fn evidence(&self, name: &str, options: &[&str]) -> Result<PathBuf> {
        let out = self.stage.scratch.join(name);
        let written = self.try_evidence(&out, options)?;
        ensure!(written.status.success(), "{written:?}");
        Ok(out)
    }

    /// The folder in which `cargo xtask test` has put other people's programs.
    fn validators(&self) -> PathBuf {
        self.stage.programs.path("../evidence-validators")
    }
}

/// The statement of an envelope, unverified.
fn statement(folder: &Path) -> Result<Value> {
    use base64::Engine as _;
    let envelope: Value = serde_json::from_slice(&std::fs::read(folder.join(FILES[0]))?)?;
    let payload = envelope["payload"].as_str().context("no payload")?;
    let payload = base64::engine::general_purpose::STANDARD.decode(payload)?;
    Ok(serde_json::from_slice(&payload)?)
}

#[tokio::test]
async fn evidence_is_of_the_log_alone_and_the_same_each_time() -> Result<()> {
    let scene = scene("evidence").await?;
    let (one, two) = (scene.evidence("one", &[])?, scene.evidence("two", &[])?);
    for name in FILES {
        ensure!(
            std::fs::read(one.join(name))? == std::fs::read(two.join(name))?,
            "{name} differs"
        );
    }
    let found = statement(&one)?;
    let subjects = found["subject"].as_array().context("no subjects")?;
    ensure!(subjects.len() >= 2, "{subjects:?}");
    for subject in subjects {
        let file = scene
            .collector
            .audit()
            .path()
            .join(subject["name"].as_str().context("no name")?);
        ensure!(subject["digest"]["sha256"] == *sha256_of(&file)?, "{subject}");
    }
    let facts = &found["predicate"]["facts"];
    let records = scene.collector.audit().records()?;
    ensure!(facts["records"] == records.len(), "{facts}");
    ensure!(facts["by_node"]["worker-1"] == ORDINARY + 7, "{facts}");
    ensure!(facts["by_namespace"]["shop"] == 3, "{facts}");
    ensure!(facts["agents"]["worker-1"]["version"] == "7.7.7", "{facts}");
    ensure!(
        facts["agents"]["worker-1"]["config_revision"] == "c0ffee",
        "{facts}"
    );
    ensure!(
        facts["au3"]["nodes"]["worker-1"]["complete"] == ORDINARY + 6,
        "{facts}"
    );
    ensure!(facts["postures"].as_array().map(Vec::len) == Some(1), "{facts}");
    ensure!(
        found["predicate"]["gaps"].as_array().is_some_and(Vec::is_empty),
        "{found}"
    );

    // A namespace has its own events alone.
    let shop = statement(&scene.evidence("shop", &["--namespace", "shop"])?)?;
    ensure!(shop["predicate"]["facts"]["records"] == 3, "{shop}");
    let nothing = scene.try_evidence(&scene.stage.scratch.join("none"), &["--namespace", "none"])?;
    ensure!(nothing.status.code() == Some(2), "{nothing:?}");
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_not_intact_or_not_trusted_is_no_evidence() -> Result<()> {
    let mut scene = scene("no-evidence").await?;
    let out = scene.stage.scratch.join("out");
    std::fs::create_dir(&out)?;
    let there = scene.try_evidence(&out, &[])?;
    ensure!(there.status.code() == Some(2), "{there:?}");
    std::fs::remove_dir(&out)?;

    let key = norma_tlog::SigningKey::generate("norma.example/other")?.0;
    let other = format!("log {}\nquorum none\n", key.verifier(norma_tlog::key::Use::Log));
    let trusted = std::mem::replace(
        &mut scene.policy,
        scene.stage.scratch.file("other.policy", &other)?,
    );
    let untrusted = scene.try_evidence(&out, &[])?;
    ensure!(!untrusted.status.success() && !out.exists(), "{untrusted:?}");
    scene.policy = trusted;

    let log = scene
        .collector
        .audit()
        .path()
        .join("audit-00000000000000000001.log");
    let mut bytes = std::fs::read(&log)?;
    bytes[5000] ^= 1;
    std::fs::write(&log, bytes)?;
    let damaged = scene.try_evidence(&out, &[])?;
    let told = String::from_utf8_lossy(&damaged.stderr);
    ensure!(damaged.status.code() == Some(1) && !out.exists(), "{damaged:?}");
    ensure!(
        told.contains("not intact") && told.contains("audit-00000000000000000001.log"),
        "{told}"
    );
    Ok(())
}

#[tokio::test]
async fn other_peoples_programs_accept_the_envelope_the_results_and_the_checklist() -> Result<()> {
    let scene = scene("validators").await?;
    let folder = scene.evidence("evidence", &[])?;
    let key = folder.join(FILES[3]);
    let python = scene.validators().join("bin/python");
    if !python.is_file() {
        skipped(
            "DSSE, in-toto and OSCAL by other people's programs",
            "securesystemslib and compliance-trestle are not installed; `cargo xtask test` does that",
        );
        return Ok(());
    }
    let check = |folder: &Path, key: &Path| {
        let mut command = Command::new(&python);
        command
            .arg(CHECK)
            .arg(folder)
            .arg(key)
            .env("PYTHONWARNINGS", "ignore");
        command
    };
    let found: Value = serde_json::from_str(&output(&mut check(&folder, &key))?)?;
    ensure!(found["statement"] == statement(&folder)?, "{found}");
    let status = |rule: &str| found["statuses"][rule].as_str().unwrap_or_default().to_owned();
    // Root in one container; nothing of privileged ones; one record without its place.
    ensure!(status("KUBER-L2-000020") == "open", "{found}");
    ensure!(status("KUBER-L2-000070") == "not_a_finding", "{found}");
    ensure!(status("KUBER-L2-000010") == "not_reviewed", "{found}");
    ensure!(status("V-233042") == "not_a_finding", "{found}");
    ensure!(status("V-233044") == "not_reviewed", "{found}");
    ensure!(status("V-233057") == "not_a_finding", "{found}");
    ensure!(found["targets"]["ac-6.2_smt"] == "not-satisfied", "{found}");
    ensure!(found["targets"]["au-9.3_smt"] == "satisfied", "{found}");
    ensure!(found["targets"]["si-4_smt"] == "not-satisfied", "{found}");

    // With a P-256 key of openssl too; and not with another key, nor after a change.
    let pair = scene.stage.pki.node("signer", 90)?;
    let by_other = scene.evidence("by-other", &["--key", pair.key.to_str().context("path")?])?;
    output(&mut check(&by_other, &by_other.join(FILES[3])))?;
    ensure!(
        !check(&folder, &by_other.join(FILES[3]))
            .output()?
            .status
            .success()
    );
    let envelope = std::fs::read_to_string(folder.join(FILES[0]))?;
    std::fs::write(
        folder.join(FILES[0]),
        envelope.replacen("\"payload\": \"ewog", "\"payload\": \"ewoJ", 1),
    )?;
    ensure!(std::fs::read_to_string(folder.join(FILES[0]))? != envelope);
    ensure!(!check(&folder, &key).output()?.status.success());
    std::fs::write(folder.join(FILES[0]), envelope)?;
    stig_manager(&scene, &folder)
}

/// STIG Manager's parser takes the checklist, with the same results.
fn stig_manager(scene: &Scene, folder: &Path) -> Result<()> {
    let modules = scene.validators();
    let parser = modules.join("node_modules/@nuwcdivnpt/stig-manager-client-modules");
    if !parser.is_dir() {
        skipped(
            "the checklist by STIG Manager's parser",
            "Node.js with npm, or the parser, is not installed; `cargo xtask test` fetches it where npm is",
        );
        return Ok(());
    }
    let mut command = Command::new("node");
    command.arg(CHECKLIST).arg(&modules).arg(folder.join(FILES[2]));
    let found: Value = serde_json::from_str(&output(&mut command)?)?;
    let [platform, workloads] = found["checklists"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
    else {
        bail!("{found}");
    };
    ensure!(
        platform["id"] == "Container_Platform_SRG" && platform["revision"] == "V2R4",
        "{platform}"
    );
    ensure!(platform["results"]["SV-233042"] == "pass", "{platform}");
    ensure!(workloads["results"]["KUBER-L2-000020"] == "fail", "{workloads}");
    ensure!(
        workloads["results"]["KUBER-L2-000030"] == "notchecked",
        "{workloads}"
    );
    Ok(())
}

#[tokio::test]
async fn the_share_of_records_that_answer_all_is_told_by_node_with_the_reasons() -> Result<()> {
    let scene = scene("coverage").await?;
    let mut command = scene.stage.programs.collector();
    command
        .args(["audit", "coverage", "--output", "json"])
        .arg(scene.collector.audit().path());
    let found: Value = serde_json::from_str(&output(&mut command)?)?;
    let node = &found["nodes"]["worker-1"];
    ensure!(
        node["records"] == ORDINARY + 7 && node["complete"] == ORDINARY + 6,
        "{found}"
    );
    ensure!(node["answered"]["where"] == ORDINARY + 6, "{found}");
    ensure!(node["answered"]["identity"] == ORDINARY + 7, "{found}");
    let [why] = node["unknown"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        bail!("{found}");
    };
    ensure!(why["question"] == "where" && why["records"] == 1, "{why}");
    Ok(())
}
