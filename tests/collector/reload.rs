//! Certificates change while the collector runs.

use crate::agent::{Agent, client_config, connect_tls};
use crate::stage::{LIMIT, Stage};
use anyhow::Result;
use norma_rig::{CollectorSettings, Pki};
use std::fs;

#[tokio::test]
async fn a_new_authority_and_certificate_count_from_the_next_handshake_on() -> Result<()> {
    let stage = Stage::new("reload")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let port = collector.port();
    let mut old = Agent::of_node(&stage.pki, port, "worker-1", 1, 90).await?;

    // A key that does not belong to the certificate: the old pair stays in use.
    let other = Pki::create(&stage.programs, &stage.scratch.join("other"))?;
    let (ours, theirs) = (stage.scratch.join("collector"), other.server("collector")?);
    let keep = fs::read(ours.join("server-key.pem"))?;
    fs::copy(&theirs.key, ours.join("server-key.pem"))?;
    Agent::of_node(&stage.pki, port, "worker-1", 2, 89).await?;
    collector.daemon()?.wait_for_line(
        "keeping the certificate, key and client authorities from before",
        LIMIT,
    )?;
    fs::write(ours.join("server-key.pem"), keep)?;

    // Everything of another authority.
    fs::copy(&theirs.certificate, ours.join("server.pem"))?;
    fs::copy(&theirs.key, ours.join("server-key.pem"))?;
    let our_ca = stage.scratch.join("ca-of-before.pem");
    fs::copy(stage.pki.ca(), &our_ca)?;
    fs::copy(other.ca(), stage.pki.ca())?;
    let new = Agent::of_node(&other, port, "worker-9", 1, 90).await?;
    assert_eq!(new.welcome.durable_sequence, 0);
    let refused = connect_tls(client_config(&our_ca, None)?, port).await;
    assert!(refused.is_err(), "the old certificate is still shown");

    // A stream of before goes on.
    old.send(old.events(1, 10)).await?;
    old.acknowledged(10).await?;
    Ok(())
}
