//! Encrypted archive files: read by others with the key alone, and made unreadable without breaking a proof.

use crate::archive::{EPOCH, audit, deliver, files, python, settings, words};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, bail, ensure};
use norma_rig::program::output;
use norma_rig::python::Python;
use norma_rig::{Collector, wait_until};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/collector/archive_encrypted.py");

/// A collector that encrypts what it archives, and where everything is.
pub struct Encrypted {
    pub stage: Stage,
    pub collector: Collector,
    pub log: PathBuf,
    archive: PathBuf,
    pub keys: PathBuf,
    pub kek: PathBuf,
}

impl Encrypted {
    /// With some sealed segments in its archive.
    pub async fn new(purpose: &str) -> Result<Self> {
        let stage = Stage::new(purpose)?;
        let kek = make_kek(&stage, "kek", b'a')?;
        let extra = format!(
            "archive:\n  cluster: east\n  encryption:\n    key: {}\n",
            kek.display()
        );
        let collector = stage.collector(None, &settings(&extra))?;
        deliver(&stage, &collector, "worker-1", 1, 1500).await?;
        let encrypted = Self {
            log: collector.audit().path().to_owned(),
            archive: collector.state().join("archive"),
            keys: collector.state().join("segment-keys"),
            stage,
            collector,
            kek,
        };
        wait_until("an archive file for each sealed segment", LIMIT, || {
            let sealed = files(&encrypted.log, "manifest")?.len();
            let archived = files(&encrypted.archive, "parquet")?.len();
            Ok((sealed >= 4 && archived == sealed).then_some(()))
        })?;
        Ok(encrypted)
    }

    /// Which segments others can read, by number.
    fn readable(&self, python: &Python, kek: &Path) -> Result<Value> {
        let mut command = python.program("python");
        let told = output(command.arg(SCRIPT).arg(&self.archive).arg(&self.keys).arg(kek))?;
        Ok(serde_json::from_str::<Value>(&told)?["readable"].clone())
    }

    pub fn verify_archive(&self, kek: Option<&Path>) -> Result<Value> {
        let policy = self.collector.policy(&self.stage.scratch)?;
        let mut all = words![
            "archive",
            "verify",
            self.archive,
            "--log",
            self.log,
            "--policy",
            policy,
            "--output",
            "json"
        ]
        .map(ToOwned::to_owned)
        .to_vec();
        if let Some(kek) = kek {
            all.extend(words!["--keys", self.keys, "--key", kek].map(ToOwned::to_owned));
        }
        let mut command = self.stage.programs.collector();
        let told = command.arg("audit").args(all).output()?;
        if told.status.success() {
            return Ok(serde_json::from_slice(&told.stdout)?);
        }
        bail!(
            "{}{}",
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr)
        )
    }

    pub fn verify_log(&self) -> Result<Value> {
        let policy = self.collector.policy(&self.stage.scratch)?;
        let told = audit(
            &self.stage,
            words!["verify", self.log, "--policy", policy, "--output", "json"],
        )?;
        Ok(serde_json::from_str(&told)?)
    }

    pub fn shred(&self, segment: &str) -> Result<String> {
        let state = self.collector.state();
        audit(
            &self.stage,
            words![
                "shred", segment, "--reason", "case 17", "--who", "J. Doe", "--state", state
            ],
        )
    }
}

pub fn make_kek(stage: &Stage, name: &str, byte: u8) -> Result<PathBuf> {
    // 32 bytes of one value, in base64.
    let text = match byte {
        b'a' => "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n",
        _ => "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=\n",
    };
    let path = stage.scratch.file(name, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path)
}

#[tokio::test]
async fn others_read_encrypted_archives_with_the_key_alone_and_damage_is_located() -> Result<()> {
    let mut test = Encrypted::new("encrypted").await?;
    let Some(python) = python(
        "encrypted archive files by pyarrow and DuckDB",
        &test.stage.programs,
    ) else {
        return Ok(());
    };
    test.collector.stop()?;
    let readable = test.readable(&python, &test.kek)?;
    let readable = readable.as_object().context("no files")?;
    ensure!(
        readable.len() >= 4 && readable.values().all(|readable| readable == true),
        "{readable:?}"
    );

    let closed = test.verify_archive(None)?;
    ensure!(
        closed["closed"]
            .as_array()
            .is_some_and(|list| list.len() == readable.len()),
        "{closed}"
    );
    let opened = test.verify_archive(Some(&test.kek))?;
    ensure!(opened["closed"] == serde_json::json!([]), "{opened}");

    // The segments come out of it as they were, with the key.
    let archived = files(&test.archive, "parquet")?;
    let out = test.stage.scratch.join("restored");
    let restore = |more: &[&OsStr]| {
        let mut all = words!["archive", "restore", archived[1], "--out", out].to_vec();
        all.extend_from_slice(more);
        audit(&test.stage, all)
    };
    let refused = restore(&[]).unwrap_err().to_string();
    ensure!(refused.contains("--keys"), "{refused}");
    restore(&words!["--keys", test.keys, "--key", test.kek])?;
    for restored in files(&out, "log")? {
        let name = restored.file_name().context("no name")?;
        ensure!(fs::read(&restored)? == fs::read(test.log.join(name))?, "{name:?}");
    }

    // Under another key-encryption key: the files stay as they are.
    let other = make_kek(&test.stage, "other", b'b')?;
    audit(
        &test.stage,
        words!["archive", "rewrap", test.keys, "--from", test.kek, "--to", other],
    )?;
    test.verify_archive(Some(&other))?;
    let refused = test.verify_archive(Some(&test.kek)).unwrap_err().to_string();
    ensure!(refused.contains("rewrap"), "{refused}");
    ensure!(
        test.readable(&python, &other)?
            .as_object()
            .is_some_and(|all| all.values().all(|readable| readable == true))
    );

    // Any byte that is changed is noticed, and of what is encrypted told where it is.
    let victim = &archived[1];
    let good = fs::read(victim)?;
    for (place, what) in [
        (600, "row group 0, column "),
        (good.len() / 3, "row group 0"),
        (good.len() / 2, "row group 0"),
        (good.len() - 200, ""),
    ] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(victim, &bad)?;
        let refused = test.verify_archive(Some(&other)).unwrap_err().to_string();
        ensure!(
            refused.contains(what) && refused.contains("audit-"),
            "byte {place}: {refused}"
        );
    }
    fs::write(victim, &good)?;
    test.verify_archive(Some(&other)).map(drop)
}

#[tokio::test]
async fn a_segment_is_shredded_and_everything_is_proven_as_before() -> Result<()> {
    let mut test = Encrypted::new("shred").await?;
    let state = test.collector.state().to_owned();
    let hold = |more: &[&str]| {
        let mut all = words!["hold"].to_vec();
        all.extend(more.iter().map(OsStr::new));
        all.extend(words!["--reason", "case 16", "--who", "J. Doe", "--state", state]);
        audit(&test.stage, all)
    };
    let placed = hold(&["place", "--segment", "0"])?;
    let id = placed.split(' ').next().context("no name")?.to_owned();
    let refused = test.shred("0").unwrap_err().to_string();
    ensure!(refused.contains(&id), "{refused}");
    let newest = (files(&test.log, "manifest")?.len() - 1).to_string();
    let refused = test.shred(&newest).unwrap_err().to_string();
    ensure!(refused.contains("the newest that is sealed"), "{refused}");
    let refused = test.shred("4711").unwrap_err().to_string();
    ensure!(refused.contains("is not archived"), "{refused}");
    hold(&["release", &id])?;

    let told = test.shred("0")?;
    ensure!(told.contains("segment 0 is shredded"), "{told}");
    let first = files(&test.log, "tombstone")?.pop().context("no tombstone")?;
    ensure!(
        !first.with_extension("log").exists(),
        "its plain copy is still there"
    );
    let key = test.keys.join("audit-00000000000000000001.key");
    ensure!(!key.exists(), "its key is still there");

    // What is asked for while no collector runs is done by the next one.
    test.collector.stop()?;
    let told = test.shred("1")?;
    ensure!(told.contains("no collector runs"), "{told}");
    test.collector.run(&test.stage.scratch)?;
    wait_until("the second segment shredded", LIMIT, || {
        Ok((files(&test.log, "shredded")?.len() == 2).then_some(()))
    })?;
    wait_until("both in the log", LIMIT, || {
        let records = test.collector.audit().records_of(&["--kind", "shredded"])?;
        Ok((records.len() == 2).then_some(()))
    })?;
    // A second time changes nothing.
    test.shred("0")?;
    test.collector.stop()?;
    let records = test.collector.audit().records_of(&["--kind", "shredded"])?;
    ensure!(
        records.len() == 2 && records[0]["shredded"]["who"] == "J. Doe",
        "{records:?}"
    );

    let report = test.verify_log()?;
    let shredded = report["shredded"].as_array().context("no list")?;
    ensure!(
        shredded.len() == 2 && shredded[0]["segment"] == 0 && shredded[0]["reason"] == "case 17",
        "{report}"
    );
    ensure!(report["outboxes"][0]["missing"] == 0, "{report}");
    let report = test.verify_archive(Some(&test.kek))?;
    ensure!(
        report["closed"] == serde_json::json!([0, 1]) && report["shredded"] == Value::Array(shredded.clone()),
        "{report}"
    );
    let event = format!("worker-1/{EPOCH:016x}/7");
    let refused = audit(&test.stage, words!["prove", test.log, event])
        .unwrap_err()
        .to_string();
    ensure!(
        refused.contains("by J. Doe") && refused.contains("case 17"),
        "{refused}"
    );
    if let Some(python) = python("shredded archive files by pyarrow", &test.stage.programs) {
        let readable = test.readable(&python, &test.kek)?;
        ensure!(
            readable["0"] == false && readable["1"] == false && readable["2"] == true,
            "{readable}"
        );
    }

    // A key that is gone without a statement, and a statement that nobody made, are damage.
    let key = files(&test.keys, "key")?.remove(0);
    let good = fs::read(&key)?;
    fs::remove_file(&key)?;
    let refused = test.verify_archive(Some(&test.kek)).unwrap_err().to_string();
    ensure!(
        refused.contains("nothing states that it was destroyed"),
        "{refused}"
    );
    fs::write(&key, good)?;
    let note = files(&test.log, "shredded")?.remove(0);
    let good = fs::read_to_string(&note)?;
    fs::write(&note, good.replace("J. Doe", "Nobody"))?;
    ensure!(
        test.verify_log().is_err(),
        "a statement with another text is believed"
    );
    ensure!(test.verify_archive(Some(&test.kek)).is_err());
    fs::write(&note, good)?;
    test.verify_log().map(drop)
}
