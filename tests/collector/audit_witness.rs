//! Real witnesses beside a real collector: what they cosign, what they refuse, and that nothing waits for them.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::daemon::Daemon;
use norma_rig::net::{free_port, is_listening};
use norma_rig::pki::KeyPair;
use norma_rig::program::output;
use norma_rig::{CollectorSettings, wait_until};
use std::path::{Path, PathBuf};
use std::process::Command;

const EPOCH: u64 = 3;
const ORIGIN: &str = "log.example/witnessed";

/// A witness on a port of its own.
struct Witness {
    name: &'static str,
    port: u16,
    key: String,
    server: KeyPair,
    daemon: Option<Daemon>,
}

impl Witness {
    /// Starts it to watch the log with the verifier key `log`.
    fn start(stage: &Stage, name: &'static str, log: &str) -> Result<Self> {
        let mut witness = Self {
            name,
            port: free_port()?,
            key: String::new(),
            server: stage.pki.server(name)?,
            daemon: None,
        };
        witness.run(stage, log)?;
        let key = stage.scratch.join(name).join("witness.key.pub");
        witness.key = std::fs::read_to_string(key)?.trim().to_owned();
        Ok(witness)
    }

    fn run(&mut self, stage: &Stage, log: &str) -> Result<()> {
        let mut command = stage.programs.collector();
        command.args(["witness", "--log", log, "--name", self.name]);
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port));
        command.arg("--state").arg(stage.scratch.join(self.name));
        command
            .arg("--certificate")
            .arg(&self.server.certificate)
            .arg("--tls-key")
            .arg(&self.server.key);
        let mut daemon = Daemon::start(&stage.scratch, self.name, &mut command)?;
        let port = self.port;
        daemon.wait_for("listening", LIMIT, |_| Ok(is_listening(port)?.then_some(())))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.kill())
    }

    fn line(&self) -> String {
        format!(
            "witness {} {} https://localhost:{}\n",
            self.name, self.key, self.port
        )
    }
}

fn policy(stage: &Stage, name: &str, log: &str, witnesses: &[&Witness], quorum: &str) -> Result<PathBuf> {
    let lines: String = witnesses.iter().map(|witness| witness.line()).collect();
    let names: Vec<&str> = witnesses.iter().map(|witness| witness.name).collect();
    let names = names.join(" ");
    stage.scratch.file(
        name,
        &format!("log {log}\n{lines}group all {quorum} {names}\nquorum all\n"),
    )
}

/// Makes the key that the collector will find, so that witnesses can be told of it before.
fn key(stage: &Stage) -> Result<String> {
    let state = stage.scratch.join("collector-state");
    std::fs::create_dir_all(&state)?;
    let mut command = stage.programs.collector();
    command
        .args(["audit", "key", "--origin", ORIGIN])
        .arg(state.join("audit.key"));
    Ok(output(&mut command)?.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quorum_of_witnesses_cosigns_and_the_log_says_when_there_is_none() -> Result<()> {
    let stage = Stage::new("witness")?;
    let log = key(&stage)?;
    let mut east = Witness::start(&stage, "east", &log)?;
    let mut west = Witness::start(&stage, "west", &log)?;
    let policy = policy(&stage, "witnesses.policy", &log, &[&east, &west], "all")?;
    let settings = CollectorSettings {
        checkpoint_interval: Some("1s".to_owned()),
        witnesses: Some(policy.clone()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 100)).await?;
    agent.acknowledged(100).await?;
    let audit = collector.audit();
    let options = ["--policy".as_ref(), policy.as_os_str()];
    wait_until("a quorum over what was acknowledged", LIMIT, || {
        let report = audit.verify_with(&options).unwrap_or_default();
        let through = report
            .lines()
            .find_map(|line| line.strip_prefix("under a quorum of witnesses: records up to "));
        Ok(through
            .and_then(|text| text.parse::<u64>().ok())
            .filter(|through| *through > 100))
    })?;

    // Without one of them events are taken as before, and that there is no quorum is a record; then there is one again.
    west.kill()?;
    agent.send(agent.events(101, 200)).await?;
    agent.acknowledged(200).await?;
    let quorum = |reached: bool| {
        wait_until("a record of the quorum", LIMIT, || {
            let records = audit.records_of(&["--kind", "witness_quorum"])?;
            let found = records
                .into_iter()
                .find(|record| record["witness_quorum"]["reached"] == reached);
            Ok(found.map(|record| record.to_string()))
        })
    };
    let missing = quorum(false)?;
    ensure!(missing.contains("west"), "{missing}");
    west.run(&stage, &log)?;
    quorum(true)?;
    // Killed in between, a witness goes on from what it cosigned.
    east.kill()?;
    east.run(&stage, &log)?;
    drop(agent);
    collector.stop()?;
    let report = audit.verify_with(&options)?;
    ensure!(
        report.starts_with("intact: ") && report.contains("cosigned by: west"),
        "{report}"
    );

    // One event, for a stranger who believes the log only with its witnesses.
    let proof = stage.scratch.join("event.tlog-proof");
    let mut prove = stage.programs.collector();
    prove
        .args(["audit", "prove"])
        .arg(audit.path())
        .arg(format!("worker-1/{EPOCH:016x}/50"));
    output(prove.arg("--out").arg(&proof).arg("--policy").arg(&policy))?;
    let check = |proof: &Path| {
        let mut check = stage.programs.collector();
        output(
            check
                .args(["audit", "check-proof"])
                .arg(proof)
                .arg("--policy")
                .arg(&policy),
        )
    };
    ensure!(check(&proof)?.contains("cosigned by east"));
    let text = std::fs::read_to_string(&proof)?;
    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("\u{2014} west "))
        .map(|line| format!("{line}\n"))
        .collect();
    let without = stage.scratch.file("without.tlog-proof", &without)?;
    let refused = check(&without).unwrap_or_else(|error| error.to_string());
    ensure!(refused.contains("cosignatures"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_was_set_back_gets_no_cosignature_and_is_found_by_what_the_witness_has() -> Result<()>
{
    let stage = Stage::new("witness-back")?;
    let log = key(&stage)?;
    let east = Witness::start(&stage, "east", &log)?;
    let policy = policy(&stage, "witnesses.policy", &log, &[&east], "all")?;
    let settings = CollectorSettings {
        checkpoint_interval: Some("1s".to_owned()),
        witnesses: Some(policy.clone()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    collector.stop()?;
    let state = stage.scratch.join("collector-state");
    let backup = stage.scratch.join("backup");
    ensure!(
        Command::new("cp")
            .arg("-a")
            .args([&state, &backup])
            .status()?
            .success()
    );
    collector.run(&stage.scratch)?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 10)).await?;
    agent.acknowledged(10).await?;
    let audit = collector.audit();
    wait_until("cosignatures", LIMIT, || {
        let witnessed = std::fs::read_to_string(audit.path().join("tlog/witnessed")).unwrap_or_default();
        let size = witnessed.lines().nth(1).and_then(|line| line.parse::<u64>().ok());
        Ok(size.filter(|size| *size > 4))
    })?;
    drop(agent);
    collector.kill()?;

    std::fs::remove_dir_all(&state)?;
    std::fs::rename(&backup, &state)?;
    collector.run(&stage.scratch)?;
    let record = wait_until("the conflict in the log", LIMIT, || {
        Ok(audit
            .records_of(&["--kind", "checkpoint_conflict"])?
            .into_iter()
            .next())
    })?;
    ensure!(record["checkpoint_conflict"]["who"] == "witness east", "{record}");
    collector.stop()?;
    // What the witness has says to anybody that this is not the log that it saw.
    let remembered = std::fs::read_dir(stage.scratch.join("east").join("logs"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "checkpoint")
        });
    let remembered = remembered.ok_or_else(|| anyhow::anyhow!("the witness remembers nothing"))?;
    let alone = stage
        .scratch
        .file("log.policy", &format!("log {log}\nquorum none\n"))?;
    let intact = audit.verify_with(&["--policy".as_ref(), alone.as_os_str()])?;
    ensure!(intact.starts_with("intact: "), "{intact}");
    let options = [
        "--policy".as_ref(),
        alone.as_os_str(),
        "--expect".as_ref(),
        remembered.as_os_str(),
    ];
    ensure!(audit.verify_with(&options).is_err());
    Ok(())
}
