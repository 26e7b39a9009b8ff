//! Nodes get their certificate by a token, renew it, and use what others put into their directories.

use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::net::{free_port, is_listening};
use norma_rig::pki::KeyPair;
use norma_rig::{Collector, CollectorSettings, Pki, wait_until};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Output;

struct Office {
    stage: Stage,
    collector: Collector,
    port: u16,
}

impl Office {
    fn open(purpose: &str, validity: &str) -> Result<Self> {
        let stage = Stage::new(purpose)?;
        let port = free_port()?;
        let settings = CollectorSettings {
            extra: format!(
                "enrolment:\n  ca: {}\n  listen: 127.0.0.1:{port}\n  validity: {validity}\n",
                stage.pki.ca().with_file_name("").display()
            ),
            ..Default::default()
        };
        let collector = stage.collector(None, &settings)?;
        wait_until("enrolment to listen", LIMIT, || {
            Ok(is_listening(port)?.then_some(()))
        })?;
        Ok(Self {
            stage,
            collector,
            port,
        })
    }

    fn token(&self, node: &str, lifetime: &str) -> Result<String> {
        let mut command = self.stage.programs.collector();
        command.args(["pki", "token", node, "--lifetime", lifetime, "--config"]);
        let output = command.arg(self.stage.scratch.join("collector.yaml")).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn enrol(&self, token: &str, out: &Path) -> Result<Output> {
        let mut command = self.stage.programs.agent();
        command.env("NORMA_TOKEN", token);
        command.args(["enrol", "--server-name", "localhost", "--collector"]);
        command
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--out")
            .arg(out);
        Ok(command.output()?)
    }

    fn records(&self, kind: &str, text: &str) -> Result<usize> {
        let records = self.collector.audit().records_of(&["--kind", kind])?;
        Ok(records
            .iter()
            .filter(|record| record.to_string().contains(text))
            .count())
    }
}

fn pair(directory: &Path) -> KeyPair {
    KeyPair {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
    }
}

fn says(output: &Output, text: &str) -> Result<()> {
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        !output.status.success() && errors.contains(text),
        "{text} not in {errors}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_gets_one_certificate_for_its_node_and_each_misuse_is_recorded() -> Result<()> {
    let office = Office::open("enrol", "14d")?;
    let folder = office.stage.scratch.join("node");
    let token = office.token("worker-1", "1h")?;
    let output = office.enrol(&token, &folder)?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(office.records("enrolled", "worker-1")? == 1);
    ensure!(office.records("token_made", "worker-1")? == 1);
    ensure!(!folder.join("enrolling.key").exists(), "the key lies about");
    let ca = folder.join("ca.crt");
    let mut node = Node::start(
        &office.stage.scratch.folder("outbox")?,
        "worker-1",
        target(&ca, &pair(&folder), office.collector.port())?,
    )?;
    node.append(10);
    node.shipped(LIMIT).await?;

    let other = office.stage.scratch.join("other");
    says(&office.enrol(&token, &folder)?, "not overwritten")?;
    says(&office.enrol(&token, &other)?, "was used already")?;
    let late = office.token("worker-2", "0s")?;
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    says(&office.enrol(&late, &other)?, "has expired")?;
    says(&office.enrol("norma-token-1.x", &other)?, "this is no token")?;
    // Another collector's authority: the agent does not talk to this one.
    let mut parts: Vec<String> = office
        .token("worker-3", "1h")?
        .split('.')
        .map(str::to_owned)
        .collect();
    parts[3] = "0".repeat(64);
    says(&office.enrol(&parts.join("."), &other)?, "UnknownIssuer")?;
    let audit = |text: &str| {
        wait_until("the misuse in the audit log", LIMIT, || {
            Ok((office.records("refused", text)? > 0).then_some(()))
        })
    };
    audit("was used already")?;
    audit("has expired")?;
    for file in fs::read_dir(office.stage.scratch.join("collector-state/enrolment"))? {
        let text = fs::read_to_string(file?.path())?;
        ensure!(
            !text.contains(token.split('.').nth(2).context("secret")?),
            "{text}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_answer_was_lost_gives_the_same_certificate_to_the_same_key() -> Result<()> {
    let office = Office::open("enrol-again", "14d")?;
    let folder = office.stage.scratch.join("node");
    let token = office.token("worker-1", "1h")?;
    // Made by the collector's host at any time, used or not.
    wait_until("the token in the audit log", LIMIT, || {
        Ok((office.records("token_made", "worker-1")? == 1).then_some(()))
    })?;
    // The key that an attempt leaves behind whose answer did not come: nobody listens there.
    let mut command = office.stage.programs.agent();
    command.env("NORMA_TOKEN", &token);
    command.args(["enrol", "--server-name", "localhost", "--collector"]);
    command
        .arg(format!("127.0.0.1:{}", free_port()?))
        .arg("--out")
        .arg(&folder);
    says(&command.output()?, "cannot connect")?;
    let pending = folder.join("enrolling.key");
    let key = fs::read(&pending)?;

    ensure!(office.enrol(&token, &folder)?.status.success());
    let first = fs::read(folder.join("tls.crt"))?;
    // As if that answer had not come.
    fs::remove_dir_all(&folder)?;
    fs::create_dir(&folder)?;
    fs::write(&pending, &key)?;
    ensure!(office.enrol(&token, &folder)?.status.success());
    ensure!(fs::read(folder.join("tls.crt"))? == first, "another certificate");
    ensure!(office.records("enrolled", "worker-1")? == 1 && office.records("token_made", "worker-1")? == 1);
    says(
        &office.enrol(&token, &office.stage.scratch.join("other"))?,
        "was used already",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_renews_its_certificate_and_goes_on_with_it() -> Result<()> {
    // A certificate counts from five minutes before it is made, so that more than two thirds of this are over at once.
    let office = Office::open("renew", "10m")?;
    let folder = office.stage.scratch.join("node");
    ensure!(
        office
            .enrol(&office.token("worker-1", "1h")?, &folder)?
            .status
            .success()
    );
    let mut target = target(&folder.join("ca.crt"), &pair(&folder), office.collector.port())?;
    target.renew = true;
    let first = fs::read(folder.join("tls.crt"))?;
    let outbox = office.stage.scratch.folder("outbox")?;
    let mut node = Node::start(&outbox, "worker-1", target.clone())?;
    node.append(10);
    node.shipped(LIMIT).await?;
    let due = norma_agent::enrol::renew::renew(&target).await;
    ensure!(due.is_ok(), "{:?}", due.err().map(|error| error.to_string()));
    ensure!(fs::read(folder.join("tls.crt"))? != first);
    ensure!(office.records("enrolled", "renewal")? == 1);
    // The stream goes over to it by itself.
    wait_until("a second stream", LIMIT, || {
        Ok(node
            .status
            .lock()
            .is_ok_and(|status| status.sessions == 2)
            .then_some(()))
    })?;
    node.append(10);
    node.shipped(LIMIT).await?;
    ensure!(
        office
            .collector
            .audit()
            .records_of(&["--kind", "node_key"])?
            .len()
            == 2
    );
    Ok(())
}

/// A volume as Kubernetes projects it: files are links into `..data`, which is a link to a directory.
struct Volume(PathBuf);

impl Volume {
    fn put(&self, name: &str, files: &[(&str, &Path)]) -> Result<()> {
        let new = self.0.join(name);
        fs::create_dir_all(&new)?;
        for (file, from) in files {
            fs::copy(from, new.join(file))?;
            let link = self.0.join(file);
            if link.symlink_metadata().is_err() {
                symlink(Path::new("..data").join(file), link)?;
            }
        }
        let link = self.0.join("..data_tmp");
        symlink(name, &link)?;
        fs::rename(link, self.0.join("..data"))?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cert_manager_puts_into_a_volume_is_used_and_a_pair_that_does_not_fit_is_not() -> Result<()> {
    let stage = Stage::new("cert-manager")?;
    let collector = stage.collector(None, &CollectorSettings::default())?;
    let volume = Volume(stage.scratch.folder("volume")?);
    let (one, two) = (stage.pki.node("worker-1", 90)?, stage.pki.node("worker-1", 89)?);
    let ca = stage.pki.ca();
    let put = |name: &str, certificate: &Path, key: &Path| {
        volume.put(
            name,
            &[("tls.crt", certificate), ("tls.key", key), ("ca.crt", &ca)],
        )
    };
    put("..1", &one.certificate, &one.key)?;
    let target = target(&volume.0.join("ca.crt"), &pair(&volume.0), collector.port())?;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
    node.append(100);
    node.shipped(LIMIT).await?;
    // The certificate of one and the key of the other.
    put("..2", &two.certificate, &one.key)?;
    tokio::time::sleep(std::time::Duration::from_secs(11)).await;
    node.append(100);
    node.shipped(LIMIT).await?;
    ensure!(node.status.lock().is_ok_and(|status| status.sessions == 1));
    put("..3", &two.certificate, &two.key)?;
    wait_until("a second stream", LIMIT, || {
        Ok(node
            .status
            .lock()
            .is_ok_and(|status| status.sessions == 2)
            .then_some(()))
    })?;
    node.append(100);
    node.shipped(LIMIT).await?;
    ensure!(collector.audit().records_of(&["--kind", "node_key"])?.len() == 2);
    ensure!(collector.audit().check_sequences()? == 300);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_spire_writes_is_used_as_it_is() -> Result<()> {
    use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair as Key, SanType};
    let stage = Stage::new("spire")?;
    let collector = stage.collector(None, &CollectorSettings::default())?;
    let folder = stage.scratch.folder("svid")?;
    // A P-256 key, no subject, one URI; the bundle has a second authority.
    let ca_key = Key::from_pem(&fs::read_to_string(stage.pki.ca().with_file_name("ca-key.pem"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(stage.pki.ca())?, ca_key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI("spiffe://norma/node/worker-1".try_into()?)];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = Key::generate()?;
    let other = Pki::create(&stage.programs, &stage.scratch.join("other"))?;
    fs::write(folder.join("svid.pem"), params.signed_by(&key, &issuer)?.pem())?;
    fs::write(folder.join("svid_key.pem"), key.serialize_pem())?;
    let bundle = fs::read_to_string(other.ca())? + &fs::read_to_string(stage.pki.ca())?;
    fs::write(folder.join("bundle.pem"), bundle)?;
    let identity = KeyPair {
        certificate: folder.join("svid.pem"),
        key: folder.join("svid_key.pem"),
    };
    let target = target(&folder.join("bundle.pem"), &identity, collector.port())?;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;
    node.append(10);
    node.shipped(LIMIT).await
}
