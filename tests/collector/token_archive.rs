//! The key-encryption key of the archive in a token: SoftHSM, with a key that OpenSC put there.

use crate::archive::{audit, deliver, files, settings, words};
use crate::archive_encrypted::make_kek;
use crate::stage::{LIMIT, Stage};
use crate::token::Token;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use norma_rig::program::output;
use norma_rig::{Collector, CollectorSettings, wait_until};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the key is, so that somebody else can unwrap with it.
const KEY: [u8; 32] = [7; 32];

struct Vault {
    stage: Stage,
    token: Token,
    collector: Collector,
    log: PathBuf,
    archive: PathBuf,
    keys: PathBuf,
}

impl Vault {
    fn open(purpose: &str, test: &str) -> Result<Option<Self>> {
        let stage = Stage::new(purpose)?;
        let Some(token) = Token::new(&stage, test)? else {
            return Ok(None);
        };
        put_key(&stage, &token, &KEY)?;
        let extra = format!(
            "archive:\n  cluster: east\n  encryption:\n    key: \"{}\"\n",
            token.uri("kek")
        );
        let settings = CollectorSettings {
            environment: vec![("SOFTHSM2_CONF".to_owned(), token.config.clone())],
            ..settings(&extra)
        };
        let collector = stage.collector(None, &settings)?;
        Ok(Some(Self {
            log: collector.audit().path().to_owned(),
            archive: collector.state().join("archive"),
            keys: collector.state().join("segment-keys"),
            stage,
            token,
            collector,
        }))
    }

    fn sealed(&self) -> Result<usize> {
        Ok(files(&self.log, "manifest")?.len())
    }

    fn archived(&self) -> Result<usize> {
        Ok(files(&self.archive, "parquet")?.len())
    }

    fn all_archived(&self, least: usize) -> Result<()> {
        wait_until("an archive file for each sealed segment", LIMIT, || {
            let sealed = self.sealed()?;
            Ok((sealed >= least && self.archived()? == sealed).then_some(()))
        })
    }

    /// `audit archive` with these words, and the token in reach.
    fn archive(&self, words: &[&OsStr]) -> Result<String> {
        let mut command = self.stage.programs.collector();
        command.env("SOFTHSM2_CONF", &self.token.config);
        let told = command.args(["audit", "archive"]).args(words).output()?;
        let text = String::from_utf8(told.stdout)?;
        ensure!(
            told.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&told.stderr)
        );
        Ok(text)
    }

    /// Reads everything with this key.
    fn opens(&self, key: &str) -> Result<()> {
        let words = words![
            "verify",
            self.archive,
            "--keys",
            self.keys,
            "--key",
            key,
            "--output",
            "json"
        ];
        let report: Value = serde_json::from_str(&self.archive(&words)?)?;
        ensure!(report["closed"] == serde_json::json!([]), "{report}");
        Ok(())
    }

    fn states(&self) -> Result<Vec<Value>> {
        let records = self.collector.audit().records_of(&["--kind", "archive_state"])?;
        Ok(records
            .into_iter()
            .map(|mut record| record["archive_state"].take())
            .collect())
    }
}

fn put_key(stage: &Stage, token: &Token, key: &[u8]) -> Result<()> {
    let file = stage.scratch.join("kek.raw");
    fs::write(&file, key)?;
    let file = file.to_str().context("no text")?;
    let key = [
        "--key-type",
        "AES:32",
        "--usage-wrap",
        "--sensitive",
        "--label",
        "kek",
        "--id",
        "03",
    ];
    token.tool(&[&["--write-object", file, "--type", "secrkey"][..], &key].concat())
}

/// What openssl unwraps of a segment's key with the key that was put into the token.
fn unwrapped_outside(vault: &Vault, path: &Path) -> Result<Vec<u8>> {
    let text = fs::read_to_string(path)?;
    let wrapped = text
        .lines()
        .find_map(|line| line.strip_prefix("wrapped "))
        .context("no wrapped")?;
    let wrapped_file = vault.stage.scratch.join("wrapped");
    fs::write(&wrapped_file, STANDARD.decode(wrapped)?)?;
    let out = vault.stage.scratch.join("unwrapped");
    let hex: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new("openssl");
    command.args([
        "enc",
        "-d",
        "-id-aes256-wrap",
        "-K",
        &hex,
        "-iv",
        "a6a6a6a6a6a6a6a6",
    ]);
    output(command.arg("-in").arg(&wrapped_file).arg("-out").arg(&out))?;
    Ok(fs::read(out)?)
}

#[tokio::test]
async fn keys_of_segments_are_wrapped_in_a_token_as_anybody_would_and_wrapped_anew() -> Result<()> {
    let Some(mut vault) = Vault::open("token-archive", "keys of archive files in a token")? else {
        return Ok(());
    };
    deliver(&vault.stage, &vault.collector, "worker-1", 1, 1500).await?;
    vault.all_archived(4)?;
    vault.collector.stop()?;
    let uri = vault.token.uri("kek");
    vault.opens(&uri)?;
    let all = files(&vault.keys, "key")?;
    for key in &all {
        ensure!(unwrapped_outside(&vault, key)?.len() == 32, "{}", key.display());
    }

    // From the token into a file, and back.
    let file = make_kek(&vault.stage, "kek.file", b'b')?;
    let file = file.to_str().context("no text")?;
    for (from, to) in [(uri.as_str(), file), (file, uri.as_str())] {
        vault.archive(&words!["rewrap", vault.keys, "--from", from, "--to", to])?;
        vault.opens(to)?;
        let refused = vault.opens(from).unwrap_err().to_string();
        ensure!(
            refused.contains("is wrapped under the key-encryption key"),
            "{refused}"
        );
    }

    // What was changed is told from a token that is away.
    let good = fs::read_to_string(&all[0])?;
    let at = good.find("wrapped ").context("no wrapped")? + "wrapped ".len();
    let letter = if good[at..].starts_with('A') { "B" } else { "A" };
    fs::write(&all[0], [&good[..at], letter, &good[at + 1..]].concat())?;
    let refused = vault.opens(&uri).unwrap_err().to_string();
    ensure!(refused.contains("it does not unwrap; put it back"), "{refused}");
    fs::write(&all[0], &good)?;
    vault.token.pull()?;
    let refused = vault.opens(&uri).unwrap_err().to_string();
    ensure!(refused.contains("no such token is there"), "{refused}");
    vault.token.plug()?;
    vault.opens(&uri)?;

    // Another key of the same name is another one.
    vault
        .token
        .tool(&["--delete-object", "--type", "secrkey", "--label", "kek"])?;
    let refused = vault.opens(&uri).unwrap_err().to_string();
    ensure!(refused.contains("0 secret keys"), "{refused}");
    put_key(&vault.stage, &vault.token, &[8; 32])?;
    let refused = vault.opens(&uri).unwrap_err().to_string();
    ensure!(
        refused.contains("is wrapped under the key-encryption key"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn the_archive_waits_for_a_token_that_is_away_and_nothing_is_lost() -> Result<()> {
    let Some(mut vault) = Vault::open("token-archive-away", "an archive whose token goes away")? else {
        return Ok(());
    };
    deliver(&vault.stage, &vault.collector, "worker-1", 1, 750).await?;
    vault.all_archived(1)?;
    ensure!(vault.states()?.is_empty(), "it was never away");
    vault.token.pull()?;
    let before = vault.archived()?;
    deliver(&vault.stage, &vault.collector, "worker-1", 751, 2250).await?;
    let told = wait_until("the record that nothing is archived", LIMIT, || {
        Ok(vault.states()?.pop())
    })?;
    let why = told["detail"].as_str().unwrap_or_default();
    ensure!(
        why.contains("cannot wrap or unwrap the key of a segment") && why.contains("no such token is there"),
        "{told}"
    );
    ensure!(
        vault.sealed()? > before && vault.archived()? == before,
        "without a key?"
    );
    ensure!(
        files(&vault.log, "log")?.len() > vault.sealed()?,
        "a segment is gone"
    );
    vault.token.plug()?;
    vault.all_archived(before + 2)?;
    let told = wait_until("the record that it works again", LIMIT, || {
        let told = vault.states()?;
        Ok((told.len() > 1).then_some(told))
    })?;
    ensure!(told.len() == 2 && told[1]["working"] == true, "{told:?}");
    vault.collector.stop()?;
    vault.opens(&vault.token.uri("kek"))?;
    ensure!(vault.collector.audit().events()?.len() == 2250);
    let policy = vault.collector.policy(&vault.stage.scratch)?;
    audit(&vault.stage, words!["verify", vault.log, "--policy", policy])?;

    // At the start it is an error that says what is missing.
    vault.token.pull()?;
    let mut command = vault.stage.programs.collector();
    command
        .env("SOFTHSM2_CONF", &vault.token.config)
        .args(["run", "--config"]);
    let refused = command.arg(vault.stage.scratch.join("collector.yaml")).output()?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        !refused.status.success()
            && told.contains("archive.encryption.key: ")
            && told.contains("no such token is there"),
        "{told}"
    );
    vault.token.plug()
}
