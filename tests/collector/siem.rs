//! A real rsyslog over TLS as the receiver.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::{CollectorSettings, Rsyslog};
use std::collections::BTreeMap;

/// Waits until the alerts among sequences 1 to `last`, which is every third, were received; how often each was.
fn wait_for_alerts(siem: &Rsyslog, last: u64) -> Result<BTreeMap<u64, usize>> {
    let newest = format!("/{last}\"");
    siem.wait_for("the newest alert", LIMIT, |line| line.contains(&newest))?;
    let mut seen = BTreeMap::new();
    for line in siem.messages() {
        if let Some(sequence) = sequence(&line) {
            *seen.entry(sequence).or_default() += 1;
        }
    }
    let expected: Vec<u64> = (1..=last).filter(|sequence| sequence.is_multiple_of(3)).collect();
    ensure!(
        seen.keys().copied().collect::<Vec<_>>() == expected,
        "received: {seen:?}"
    );
    Ok(seen)
}

fn sequence(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" id=\"worker-1/0000000000000001/")?;
    rest.split_once('"')?.0.parse().ok()
}

#[tokio::test]
async fn alerts_reach_rsyslog_through_restarts_of_both() -> Result<()> {
    let stage = Stage::new("siem")?;
    let server = stage.pki.server("siem")?;
    let mut siem = Rsyslog::start(&stage.scratch, &stage.pki.ca(), &server, true)?;
    let mut collector = stage.collector(Some(&siem), &CollectorSettings::default())?;
    let identity = stage.pki.node("worker-1", 90)?;
    let ca = stage.pki.ca();
    let connect = |port| Agent::connect(&ca, &identity, port, "worker-1", 1);

    let mut agent = connect(collector.port()).await?;
    agent.send(agent.events(1, 30)).await?;
    agent.acknowledged(30).await?;
    wait_for_alerts(&siem, 30)?;
    let line = siem
        .messages()
        .into_iter()
        .find(|line| sequence(line) == Some(3))
        .context("no message")?;
    check_form(&line);

    siem.stop()?;
    agent.send(agent.events(31, 60)).await?;
    agent.acknowledged(60).await?;
    siem.restart(&stage.scratch)?;
    wait_for_alerts(&siem, 60)?;

    collector.kill()?;
    collector.run(&stage.scratch)?;
    let mut agent = connect(collector.port()).await?;
    agent.send(agent.events(61, 90)).await?;
    agent.acknowledged(90).await?;
    wait_for_alerts(&siem, 90)?;

    // After an orderly stop nothing is sent again.
    collector.stop()?;
    let before = wait_for_alerts(&siem, 90)?;
    collector.run(&stage.scratch)?;
    let mut agent = connect(collector.port()).await?;
    agent.send(agent.events(91, 93)).await?;
    agent.acknowledged(93).await?;
    let after = wait_for_alerts(&siem, 93)?;
    ensure!(after.get(&93) == Some(&1), "{after:?}");
    ensure!(
        before
            .iter()
            .all(|(sequence, count)| after.get(sequence) == Some(count)),
        "{before:?} {after:?}"
    );
    Ok(())
}

/// RFC 5424, by its parts.
fn check_form(line: &str) {
    let expected = "<107>1 2023-11-14T22:13:20.000000Z worker-1 norma - exec [norma@32473 index=\"";
    assert!(line.starts_with(expected), "{line}");
    let (_, rest) = line.split_once("\" id=").unwrap_or_default();
    let expected = "\"worker-1/0000000000000001/3\" verdict=\"novel\" score=\"80\" severity=\"high\" \
                    container_id=\"0123456789abcdef\" container=\"web\" exe=\"/usr/bin/nc\" pid=\"4242\" \
                    reason=\"baseline.exec\" controls=\"NIST 800-53 SI-4\"][timeQuality tzKnown=\"1\"] \
                    novel (high): /bin/sh started /usr/bin/nc (nc -l say \"]\\x41\") in container web; \
                    expected: programs this workload has started before \
                    | who: /usr/bin/nc (pid 4242, uid 0), arguments: nc -l say \"]\\x41\" \
                    | started by: /bin/sh (pid 1) \
                    | why it matters: a program that was never seen may be an intruder's \
                    | controls: NIST 800-53 SI-4";
    assert_eq!(rest, expected);
}
