//! The log's key in a token: SoftHSM, with keys that OpenSC made.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_rig::program::output;
use norma_rig::skip::skipped;
use norma_rig::{Collector, CollectorSettings, wait_until};
use norma_tlog::{Checkpoint, Note, PublicKey, VerifierKey};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const EPOCH: u64 = 3;
const PIN: &str = "5678";
const ORIGIN: &str = "log.example/token";
/// Where distributions put the library.
const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
];

/// A token in a folder.
pub struct Token {
    tokens: PathBuf,
    pub config: PathBuf,
    pin: PathBuf,
    module: &'static str,
}

impl Token {
    /// `None`, said aloud, where there is no SoftHSM.
    pub fn new(stage: &Stage, test: &str) -> Result<Option<Self>> {
        let module = MODULES.into_iter().find(|module| Path::new(module).exists());
        let is_there = |program: &str| Command::new(program).arg("--help").output().is_ok();
        let Some(module) = module.filter(|_| is_there("softhsm2-util") && is_there("pkcs11-tool")) else {
            skipped(test, "softhsm2 and opensc are not installed");
            return Ok(None);
        };
        let tokens = stage.scratch.folder("tokens")?;
        let config = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            tokens.display()
        );
        let token = Self {
            config: stage.scratch.file("softhsm2.conf", &config)?,
            pin: stage.scratch.file("pin", &format!("{PIN}\n"))?,
            tokens,
            module,
        };
        std::fs::set_permissions(&token.pin, std::fs::Permissions::from_mode(0o600))?;
        let mut command = token.command("softhsm2-util");
        command.args(["--init-token", "--free", "--label", "norma", "--so-pin", "1234"]);
        output(command.args(["--pin", PIN]))?;
        Ok(Some(token))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SOFTHSM2_CONF", &self.config);
        command
    }

    fn make(&self, label: &str, kind: &str, id: &str) -> Result<()> {
        self.tool(&["--keypairgen", "--key-type", kind, "--label", label, "--id", id])
    }

    /// Has the token do something, by OpenSC.
    pub fn tool(&self, words: &[&str]) -> Result<()> {
        let mut command = self.command("pkcs11-tool");
        command.args([
            "--module",
            self.module,
            "--token-label",
            "norma",
            "--login",
            "--pin",
            PIN,
        ]);
        output(command.args(words)).map(drop)
    }

    /// Takes the token away.
    pub fn pull(&self) -> Result<()> {
        std::fs::rename(&self.tokens, self.tokens.with_extension("away"))?;
        Ok(std::fs::create_dir(&self.tokens)?)
    }

    /// Brings it back.
    pub fn plug(&self) -> Result<()> {
        std::fs::remove_dir(&self.tokens)?;
        Ok(std::fs::rename(self.tokens.with_extension("away"), &self.tokens)?)
    }

    pub fn uri(&self, label: &str) -> String {
        format!(
            "pkcs11:token=norma;object={label}?module-path={}&pin-source=file:{}",
            self.module,
            self.pin.display()
        )
    }

    fn settings(&self, label: &str, state: PathBuf) -> CollectorSettings {
        CollectorSettings {
            state: Some(state),
            segment_bytes: Some(65536),
            checkpoint_interval: Some("1s".to_owned()),
            audit: format!("  key: \"{}\"\n  origin: {ORIGIN}\n", self.uri(label)),
            environment: vec![("SOFTHSM2_CONF".to_owned(), self.config.clone())],
            ..Default::default()
        }
    }
}

fn checkpoint(collector: &Collector) -> Result<(Checkpoint, Note)> {
    let note = Note::parse(&std::fs::read(collector.audit().path().join("tlog/checkpoint"))?)?;
    Ok((note.text.parse()?, note))
}

fn verified(stage: &Stage, collector: &Collector) -> Result<()> {
    let policy = collector.policy(&stage.scratch)?;
    let report = collector
        .audit()
        .verify_with(&["--policy".as_ref(), policy.as_os_str()])?;
    ensure!(report.starts_with("intact: "), "{report}");
    Ok(())
}

/// By openssl, from the checkpoint and the verifier key alone.
fn verified_outside(stage: &Stage, key: &VerifierKey, note: &Note) -> Result<()> {
    let mut der = match key.public() {
        PublicKey::Ed25519(_) => vec![0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0],
        PublicKey::P256(_) | PublicKey::P384(_) => Vec::new(),
    };
    der.extend(key.public().to_bytes());
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    );
    let pem = stage.scratch.file("key.pem", &pem)?;
    let signature = stage.scratch.join("signature");
    std::fs::write(&signature, &note.signatures[0].signature)?;
    let verify = |text: &str| -> Result<bool> {
        let text = stage.scratch.file("text", text)?;
        let mut command = Command::new("openssl");
        if let PublicKey::Ed25519(_) = key.public() {
            command
                .args(["pkeyutl", "-verify", "-pubin", "-rawin", "-inkey"])
                .arg(&pem);
            command.arg("-in").arg(&text).arg("-sigfile").arg(&signature);
        } else {
            command.args(["dgst", "-sha256", "-verify"]).arg(&pem);
            command.arg("-signature").arg(&signature).arg(&text);
        }
        Ok(command.output()?.status.success())
    };
    ensure!(verify(&note.text)? && !verify("another text\n")?);
    Ok(())
}

#[tokio::test]
async fn a_key_that_never_leaves_its_token_signs_what_anybody_verifies() -> Result<()> {
    for (label, kind) in [
        ("p256", "EC:prime256v1"),
        ("p384", "EC:secp384r1"),
        ("ed25519", "EC:edwards25519"),
    ] {
        let stage = Stage::new(&format!("token-{label}"))?;
        let Some(token) = Token::new(&stage, "keys in a token")? else {
            return Ok(());
        };
        token.make("another", kind, "01")?;
        token.make(label, kind, "02")?;
        signs(&stage, &token, label).await.context(label)?;
    }
    Ok(())
}

async fn signs(stage: &Stage, token: &Token, label: &str) -> Result<()> {
    let mut collector = stage.collector(None, &token.settings(label, stage.scratch.join("state")))?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 500)).await?;
    agent.acknowledged(500).await?;
    drop(agent);
    // What the log was goes on under the key that is found again.
    collector.stop()?;
    collector.run(&stage.scratch)?;
    collector.stop()?;
    verified(stage, &collector)?;

    let mut command = stage.programs.collector();
    command.env("SOFTHSM2_CONF", &token.config);
    command.args(["audit", "key", &token.uri(label), "--origin", ORIGIN]);
    let printed = output(&mut command)?;
    let published = std::fs::read_to_string(collector.state().join("audit.key.pub"))?;
    ensure!(printed == published, "{printed}{published}");
    verified_outside(stage, &printed.trim().parse()?, &checkpoint(&collector)?.1)?;
    ensure!(
        !collector.state().join("audit.key").exists(),
        "a key lies in a file nevertheless"
    );
    Ok(())
}

/// What the log has of whether its key signs.
fn signing(collector: &Collector) -> Result<Vec<Value>> {
    let records = collector.audit().records_of(&["--kind", "administration"])?;
    let done = records
        .into_iter()
        .map(|mut record| record["administration"].take());
    Ok(done.filter(|done| done["act"] == "signing").collect())
}

/// What a scraper reads.
fn sample(port: u16, name: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value
        .with_context(|| format!("no {name} in {page}"))?
        .trim()
        .parse()?)
}

#[tokio::test]
async fn a_token_that_goes_away_costs_checkpoints_and_no_event() -> Result<()> {
    let stage = Stage::new("token-away")?;
    let Some(token) = Token::new(&stage, "a token that goes away")? else {
        return Ok(());
    };
    token.make("audit", "EC:prime256v1", "01")?;
    let metrics = norma_rig::net::free_port()?;
    let settings = CollectorSettings {
        extra: format!("metrics:\n  listen: 127.0.0.1:{metrics}\n"),
        ..token.settings("audit", stage.scratch.join("state"))
    };
    let mut collector = stage.collector(None, &settings)?;
    ensure!(signing(&collector)?.is_empty(), "it was never away");
    ensure!(sample(metrics, "norma_collector_key_signs")? == 1.0);
    ensure!(sample(metrics, "norma_collector_unsigned_checkpoints_total")? == 0.0);
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", EPOCH, 90).await?;
    agent.send(agent.events(1, 500)).await?;
    agent.acknowledged(500).await?;

    token.pull()?;
    collector
        .daemon()?
        .wait_for_line("the checkpoint cannot be signed", LIMIT)?;
    let told = wait_until("the record that the key does not sign", LIMIT, || {
        Ok(signing(&collector)?.pop())
    })?;
    let why = told["refused"].as_str().unwrap_or_default();
    ensure!(
        why.contains("no such token is there") && told["object"] == ORIGIN,
        "{told}"
    );
    ensure!(sample(metrics, "norma_collector_key_signs")? == 0.0);
    ensure!(sample(metrics, "norma_collector_unsigned_checkpoints_total")? >= 1.0);
    let (before, _) = checkpoint(&collector)?;
    // Enough to complete segments meanwhile.
    for first in [501, 1001, 1501] {
        agent.send(agent.events(first, first + 499)).await?;
        agent.acknowledged(first + 499).await?;
    }
    ensure!(checkpoint(&collector)?.0 == before, "who signed this?");

    token.plug()?;
    wait_until("a checkpoint with the token back", LIMIT, || {
        Ok((checkpoint(&collector)?.0.size > before.size).then_some(()))
    })?;
    let told = wait_until("the record that it signs again", LIMIT, || {
        let told = signing(&collector)?;
        Ok((told.len() > 1).then_some(told))
    })?;
    ensure!(
        told.len() == 2 && told[1].get("refused").is_none_or(|why| why == ""),
        "{told:?}"
    );
    ensure!(told[1].to_string().contains("signed again after"), "{told:?}");
    ensure!(sample(metrics, "norma_collector_key_signs")? == 1.0);
    agent.send(agent.events(2001, 2001)).await?;
    agent.acknowledged(2001).await?;
    drop(agent);
    collector.stop()?;
    verified(&stage, &collector)?;
    ensure!(collector.audit().events()?.len() == 2001);

    // At the start it is an error that says what is missing, and nothing is begun.
    token.pull()?;
    let (before, _) = checkpoint(&collector)?;
    let start = |text: &str| -> Result<()> {
        let mut command = stage.programs.collector();
        command.env("SOFTHSM2_CONF", &token.config);
        command
            .args(["run", "--config"])
            .arg(stage.scratch.join("collector.yaml"));
        let refused = command.output()?;
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && told.contains(text), "{told}");
        Ok(())
    };
    start("no such token is there")?;
    token.plug()?;
    std::fs::write(&token.pin, "wrong\n")?;
    start("the token refuses the PIN")?;
    std::fs::set_permissions(&token.pin, std::fs::Permissions::from_mode(0o644))?;
    start("everybody can read")?;
    ensure!(checkpoint(&collector).context("no checkpoint")?.0 == before);
    Ok(())
}
