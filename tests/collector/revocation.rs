//! Certificates are revoked while their holders are connected, and lists come, go and get old.

use crate::agent::Agent;
use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::daemon::Daemon;
use norma_rig::net::{free_port, is_listening};
use norma_rig::{CollectorSettings, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_ends_its_stream_under_load_and_no_other() -> Result<()> {
    let stage = Stage::new("revoked")?;
    let list = stage.pki.crl(7)?;
    let settings = CollectorSettings {
        crl: Some(list),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let ca = stage.pki.ca();
    let (bad, good) = (stage.pki.node("worker-1", 90)?, stage.pki.node("worker-2", 90)?);
    let mut nodes = Vec::new();
    for (name, identity) in [("worker-1", &bad), ("worker-2", &good)] {
        let folder = stage.scratch.folder(name)?;
        let mut node = Node::start(&folder, name, target(&ca, identity, collector.port())?)?;
        node.append(2000);
        node.shipped(LIMIT).await?;
        nodes.push(node);
    }
    for node in &mut nodes {
        node.append(2000);
    }
    stage.pki.revoke(&bad.certificate)?;
    let (bad, good) = nodes.split_at_mut(1);
    let ended = |node: &Node| {
        node.status.lock().is_ok_and(|status| {
            !status.connected
                && status
                    .last_error
                    .as_ref()
                    .is_some_and(|error| error.contains("revoked") || error.contains("does not accept"))
        })
    };
    wait_until("the stream to end", LIMIT, || Ok(ended(&bad[0]).then_some(())))?;
    good[0].append(2000);
    good[0].shipped(LIMIT).await?;
    let sessions = good[0].status.lock().map_or(0, |status| status.sessions);
    ensure!(sessions == 1, "the other stream was dropped: {sessions} sessions");
    let audit = collector.audit();
    for reason in ["the client certificate ", "its certificate was revoked"] {
        wait_until("the refusal in the audit log", LIMIT, || {
            let refused = audit.records_of(&["--kind", "refused"])?;
            Ok(refused
                .iter()
                .any(|record| record.to_string().contains(reason))
                .then_some(()))
        })?;
    }

    // Its place is taken by another certificate: nothing is lost or doubled.
    let new = stage.pki.node("worker-1", 89)?;
    let folder = stage.scratch.join("worker-1");
    nodes.remove(0).kill().await;
    let mut node = Node::start(&folder, "worker-1", target(&ca, &new, collector.port())?)?;
    node.append(10);
    node.shipped(LIMIT).await?;
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? >= 10_000);
    Ok(())
}

#[tokio::test]
async fn a_list_that_is_gone_is_kept_an_old_one_is_no_way_back_and_an_outdated_one_locks_out() -> Result<()> {
    let stage = Stage::new("crl")?;
    let list = stage.pki.crl(7)?;
    let old = fs::read(&list)?;
    let settings = CollectorSettings {
        crl: Some(list.clone()),
        ..Default::default()
    };
    let mut collector = stage.collector(None, &settings)?;
    let port = collector.port();
    let (bad, good) = (stage.pki.node("worker-1", 90)?, stage.pki.node("worker-2", 90)?);
    let connect = async |identity, node| Agent::connect(&stage.pki.ca(), identity, port, node, 1).await;
    connect(&bad, "worker-1").await?;
    stage.pki.revoke(&bad.certificate)?;
    ensure!(connect(&bad, "worker-1").await.is_err());
    connect(&good, "worker-2").await?;

    fs::write(&list, &old)?;
    ensure!(
        connect(&bad, "worker-1").await.is_err(),
        "an old list brought it back"
    );
    collector.daemon()?.wait_for_line(
        "this revocation list is older than one that was there before",
        LIMIT,
    )?;
    fs::write(&list, "nonsense")?;
    ensure!(connect(&bad, "worker-1").await.is_err());
    fs::remove_file(&list)?;
    collector.stop()?;
    collector.run(&stage.scratch)?;
    ensure!(connect(&bad, "worker-1").await.is_err(), "the cache was not used");
    connect(&good, "worker-2").await?;

    // A list of somebody else.
    let foreign = norma_rig::Pki::create(&stage.programs, &stage.scratch.join("foreign"))?;
    fs::copy(foreign.crl(7)?, &list)?;
    connect(&good, "worker-2").await?;
    collector
        .daemon()?
        .wait_for_line("is not signed by an authority in client_ca", LIMIT)?;

    outdated(&stage, &list)?;
    ensure!(
        connect(&good, "worker-2").await.is_err(),
        "an outdated list lets everybody in"
    );
    collector.daemon()?.wait_for_line(
        "the revocation list of the certificate's issuer is out of date",
        LIMIT,
    )?;
    stage.pki.crl(7)?;
    connect(&good, "worker-2").await?;
    outdated(&stage, &list)?;
    collector.stop()?;
    let config = stage.scratch.join("collector.yaml");
    let text = fs::read_to_string(&config)?.replace("  crl: [", "  crl_expired: accept\n  crl: [");
    fs::write(&config, text)?;
    collector.run(&stage.scratch)?;
    connect(&good, "worker-2").await?;
    ensure!(
        connect(&bad, "worker-1").await.is_err(),
        "what an outdated list says still counts"
    );
    Ok(())
}

/// Puts a list of the authority in place, with the newest number, of which the time is over.
fn outdated(stage: &Stage, list: &std::path::Path) -> Result<()> {
    use rcgen::{
        CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    };
    let folder = stage.pki.ca().with_file_name("");
    let revoked: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("revoked.json"))?)?;
    let serial = revoked["certificates"][0]["serial"].as_str().unwrap_or_default();
    let serial: Result<Vec<u8>, _> = (0..serial.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&serial[at..at + 2], 16))
        .collect();
    let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca-key.pem"))?)?;
    let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(stage.pki.ca())?, key)?;
    let made = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2024, 1, 1),
        next_update: rcgen::date_time_ymd(2024, 2, 1),
        crl_number: SerialNumber::from(revoked["number"].as_u64().unwrap_or(0)),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(serial?),
            revocation_time: rcgen::date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&issuer)?;
    // Nothing newer is remembered.
    for entry in fs::read_dir(stage.scratch.join("collector-state/crl"))? {
        fs::remove_file(entry?.path())?;
    }
    fs::write(list, made.pem()?)?;
    Ok(())
}

#[tokio::test]
async fn people_may_not_deliver_events() -> Result<()> {
    let stage = Stage::new("roles")?;
    let collector = stage.collector(None, &CollectorSettings::default())?;
    for role in ["operator", "auditor"] {
        let identity = stage.pki.person(role, "worker-1")?;
        let refused = Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-1", 1).await;
        let code = refused
            .err()
            .and_then(|error| Some(error.downcast_ref::<tonic::Status>()?.code()));
        ensure!(code == Some(tonic::Code::PermissionDenied), "{role}: {code:?}");
        let told = format!("{role} worker-1 wants to deliver events");
        wait_until("the refusal in the audit log", LIMIT, || {
            let refused = collector.audit().records_of(&["--kind", "refused"])?;
            let is_there = refused.iter().any(|record| record.to_string().contains(&told));
            Ok(is_there.then_some(()))
        })?;
    }
    Ok(())
}

/// Puts a list where the server has it, as of so many minutes after the first: it tells lists apart by seconds.
fn publish(web: &Path, list: &[u8], minutes: u64) -> Result<()> {
    let name = web.join("new");
    fs::write(&name, list)?;
    let when = SystemTime::now() - Duration::from_secs(3600) + Duration::from_secs(60 * minutes);
    fs::File::options().write(true).open(&name)?.set_modified(when)?;
    Ok(fs::rename(name, web.join("ca.crl"))?)
}

#[tokio::test]
async fn a_list_is_fetched_over_http_and_counts_without_the_network() -> Result<()> {
    let stage = Stage::new("crl-http")?;
    let list = stage.pki.crl(7)?;
    let old = fs::read(&list)?;
    let web = stage.scratch.folder("web")?;
    let web_port = free_port()?;
    let url = format!("http://127.0.0.1:{web_port}/ca.crl");
    let settings = CollectorSettings {
        crl: Some(url.into()),
        extra: "  crl_refresh: 1s\n".to_owned(),
        ..Default::default()
    };
    let mut server = Command::new("python3");
    server.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
    let mut server = Daemon::start(&stage.scratch, "web", server.arg(&web).arg(web_port.to_string()))?;
    server.wait_for("listening", LIMIT, |_| Ok(is_listening(web_port)?.then_some(())))?;

    // Without a list that was ever there, nobody could be checked.
    let mut refused =
        norma_rig::Collector::prepare(&stage.scratch, &stage.programs, &stage.pki, None, &settings)?;
    refused.run_below(&stage.scratch, &["env"])?;
    let told = refused
        .daemon()?
        .wait_for_line("could not be fetched yet", LIMIT)?;
    ensure!(told.contains("/ca.crl"), "{told}");
    ensure!(!refused.daemon()?.wait(LIMIT)?.success());

    publish(&web, &old, 0)?;
    let mut collector = stage.collector(None, &settings)?;
    let port = collector.port();
    let (bad, good) = (stage.pki.node("worker-1", 90)?, stage.pki.node("worker-2", 90)?);
    let connect = async |identity, node| Agent::connect(&stage.pki.ca(), identity, port, node, 1).await;
    connect(&bad, "worker-1").await?;
    server.wait_for_line("304", LIMIT)?;
    stage.pki.revoke(&bad.certificate)?;
    let new = fs::read(&list)?;
    publish(&web, &new, 1)?;
    collector
        .daemon()?
        .wait_for_line("revocation lists were read again", LIMIT)?;
    ensure!(connect(&bad, "worker-1").await.is_err());
    connect(&good, "worker-2").await?;

    publish(&web, &old, 2)?;
    collector
        .daemon()?
        .wait_for_line("it is older than one that was there before", LIMIT)?;
    ensure!(
        connect(&bad, "worker-1").await.is_err(),
        "an old list brought it back"
    );
    publish(&web, &new, 3)?;
    collector.daemon()?.wait_for_line("can be fetched again", LIMIT)?;
    let foreign = norma_rig::Pki::create(&stage.programs, &stage.scratch.join("foreign"))?;
    publish(&web, &fs::read(foreign.crl(7)?)?, 4)?;
    collector
        .daemon()?
        .wait_for_line("is not signed by an authority in client_ca", LIMIT)?;

    server.kill()?;
    collector.stop()?;
    collector.run(&stage.scratch)?;
    ensure!(
        connect(&bad, "worker-1").await.is_err(),
        "the list that was fetched is not kept"
    );
    connect(&good, "worker-2").await.map(drop)
}
