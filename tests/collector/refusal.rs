//! Who does not get in, and that it is known.

use crate::agent::{Agent, client_config, connect_tls};
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, bail};
use norma_rig::pki::KeyPair;
use norma_rig::{Collector, CollectorSettings, Pki, wait_until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use tokio::io::AsyncReadExt as _;

/// Waits until a refusal with `reason` is in the log of the program and in the audit log.
fn wait_for_refusal(collector: &mut Collector, reason: &str) -> Result<()> {
    let audit = collector.audit();
    let recorded = |record: &serde_json::Value| {
        record
            .pointer("/refused/reason")
            .and_then(|text| text.as_str())
            .is_some_and(|text| text.contains(reason))
            && record.pointer("/refused/peer").and_then(|peer| peer.as_str()) == Some("127.0.0.1")
    };
    wait_until(&format!("a record of `{reason}`"), LIMIT, || {
        Ok(audit.records()?.iter().any(recorded).then_some(()))
    })?;
    collector.daemon()?.wait_for(reason, LIMIT, |daemon| {
        let told = |line: &str| {
            ["refused a client", reason, "127.0.0.1"]
                .iter()
                .all(|part| line.contains(part))
        };
        Ok(daemon.log().lines().any(told).then_some(()))
    })?;
    Ok(())
}

/// Connects as TLS 1.3 client and waits for the collector to end the connection.
async fn expect_refused(ca: &std::path::Path, identity: Option<&KeyPair>, port: u16) -> Result<()> {
    let Ok(mut tls) = connect_tls(client_config(ca, identity)?, port).await else {
        return Ok(());
    };
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    let mut byte = [0; 1];
    match tokio::time::timeout(LIMIT, tls.read(&mut byte)).await {
        Ok(Ok(0) | Err(_)) => Ok(()),
        Ok(Ok(_)) => bail!("the collector talks to a client that it must refuse"),
        Err(_) => bail!("the collector keeps the connection"),
    }
}

#[tokio::test]
async fn clients_without_a_valid_certificate_are_refused() -> Result<()> {
    let stage = Stage::new("refusal")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let port = collector.port();

    expect_refused(&stage.pki.ca(), None, port).await?;
    wait_for_refusal(&mut collector, "shows no client certificate")?;

    let foreign = Pki::create(&stage.programs, &stage.scratch.join("foreign"))?;
    expect_refused(&stage.pki.ca(), Some(&foreign.node("worker-1", 90)?), port).await?;
    wait_for_refusal(&mut collector, "not from an authority in client_ca")?;

    expect_refused(&stage.pki.ca(), Some(&expired(&stage)?), port).await?;
    wait_for_refusal(&mut collector, "has expired")?;

    expect_refused(&stage.pki.ca(), Some(&stage.pki.server("not-a-node")?), port).await?;
    wait_for_refusal(&mut collector, "URI names")?;

    let report = collector.audit().verify()?;
    assert!(report.contains("4 refused"), "{report}");
    Ok(())
}

/// A certificate that the authority issued and that is no longer valid.
fn expired(stage: &Stage) -> Result<KeyPair> {
    use rcgen::{CertificateParams, Issuer, KeyPair as Key, PKCS_ECDSA_P384_SHA384, SanType};
    let ca_key = Key::from_pem(&std::fs::read_to_string(
        stage.pki.ca().with_file_name("ca-key.pem"),
    )?)?;
    let issuer = Issuer::from_ca_cert_pem(&std::fs::read_to_string(stage.pki.ca())?, ca_key)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://norma/node/worker-1".try_into()?)];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 12, 31);
    let key = Key::generate_for(&PKCS_ECDSA_P384_SHA384)?;
    let certificate = params.signed_by(&key, &issuer)?;
    Ok(KeyPair {
        certificate: stage.scratch.file("expired.pem", &certificate.pem())?,
        key: stage.scratch.file("expired-key.pem", &key.serialize_pem())?,
    })
}

#[test]
fn old_tls_and_plaintext_are_refused_and_a_port_probe_is_not_worth_a_record() -> Result<()> {
    let stage = Stage::new("plaintext")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let address = format!("127.0.0.1:{}", collector.port());

    drop(TcpStream::connect(&address)?);

    let mut plain = TcpStream::connect(&address)?;
    plain.set_read_timeout(Some(LIMIT))?;
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    let mut answer = Vec::new();
    match plain.read_to_end(&mut answer) {
        Ok(_) => assert!(!answer.starts_with(b"HTTP"), "{answer:?}"),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    wait_for_refusal(&mut collector, "does not speak TLS")?;

    let node = stage.pki.node("worker-1", 90)?;
    let output = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &address, "-cert"])
        .arg(&node.certificate)
        .arg("-key")
        .arg(&node.key)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("alert protocol version"), "{said}");
    wait_for_refusal(&mut collector, "does not offer TLS 1.3")?;

    let report = collector.audit().verify()?;
    assert!(report.contains("2 refused"), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_node_cannot_speak_for_another() -> Result<()> {
    let stage = Stage::new("impostor")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let refused = Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-2", 1).await;
    let code = refused
        .err()
        .and_then(|error| Some(error.downcast_ref::<tonic::Status>()?.code()));
    assert_eq!(code, Some(tonic::Code::PermissionDenied));
    wait_for_refusal(&mut collector, "it says that it is node `worker-2`")
}
