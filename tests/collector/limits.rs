//! What a node may not do to the others, and to the times in the log.

use crate::agent::{Agent, event};
use crate::stage::{LIMIT, Stage};
use anyhow::{Result, ensure};
use norma_rig::{CollectorSettings, wait_until};
use norma_wire::pb::{ClockStep, Kind, RejectionReason, to_agent};
use norma_wire::{Detail, Event};
use prost::Message as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn limits(text: &str) -> CollectorSettings {
    CollectorSettings {
        extra: format!("limits: {{{text}}}\n"),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_event_from_the_future_is_rejected_with_the_reason_and_recorded() -> Result<()> {
    let stage = Stage::new("future")?;
    let mut collector = stage.collector(None, &limits("max_ahead: 1h"))?;
    let mut agent = Agent::of_node(&stage.pki, collector.port(), "worker-1", 7, 90).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let at = |sequence: u64, ahead: Duration| {
        let mut event = event("worker-1", 7, sequence);
        event.wall_ns = (now + ahead).as_nanos() as u64;
        event.encode_to_vec()
    };
    let minutes = |count: u64| Duration::from_secs(60 * count);
    agent.send(vec![at(1, minutes(50)), at(2, minutes(70))]).await?;
    let rejected: Vec<_> = agent
        .acknowledged(2)
        .await?
        .into_iter()
        .filter_map(|answer| match answer {
            to_agent::Message::Rejection(rejection) => Some((
                rejection.sequence,
                rejection.reason(),
                rejection.detail.contains("check the node's clock"),
            )),
            _ => None,
        })
        .collect();
    ensure!(rejected == [(2, RejectionReason::Future, true)], "{rejected:?}");
    collector.stop()?;
    let records = collector.audit().records_of(&["--kind", "rejected"])?;
    ensure!(records[0]["rejected"]["reason"] == "future", "{records:?}");
    Ok(())
}

#[tokio::test]
async fn what_a_clock_told_while_it_was_set_ahead_is_taken_where_the_node_told_the_step() -> Result<()> {
    const HOUR: i64 = 3_600_000_000_000;
    let stage = Stage::new("steps")?;
    let mut collector = stage.collector(None, &limits("max_ahead: 1h, max_clock_step: 12h"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    // By clocks that are so many hours ahead, at one moment of the kernel's time.
    let told = |node: &str, sequence: u64, hours: i64| {
        let mut event = event(node, 7, sequence);
        event.boot_ns = 4711 * 1_000_000_000;
        event.wall_ns = now.saturating_add_signed(hours * HOUR);
        event
    };
    let stepped = |node: &str, sequence: u64, hours: i64, by: i64| {
        let mut event = told(node, sequence, hours);
        event.kind = Kind::ClockStep.into();
        event.detail = Some(Detail::ClockStep(ClockStep { step_ns: by * HOUR }));
        event
    };
    let encoded = |events: Vec<Event>| events.iter().map(Event::encode_to_vec).collect::<Vec<_>>();
    let (ca, identity) = (stage.pki.ca(), stage.pki.node("worker-1", 90)?);
    let mut agent = Agent::connect(&ca, &identity, collector.port(), "worker-1", 7).await?;
    let node = "worker-1";
    // The first one was told before the step was noticed, and the last one is ahead of everything that was told.
    let events = vec![
        told(node, 1, 0),
        told(node, 2, 3),
        stepped(node, 3, 3, 3),
        told(node, 4, 3),
        stepped(node, 5, 0, -3),
        told(node, 6, 3),
        told(node, 7, 4),
    ];
    agent.send(encoded(events)).await?;
    let rejected = |answers: Vec<to_agent::Message>| -> Vec<u64> {
        let of = |answer| match answer {
            to_agent::Message::Rejection(rejection) => Some(rejection.sequence),
            _ => None,
        };
        answers.into_iter().filter_map(of).collect()
    };
    let refused = rejected(agent.acknowledged(7).await?);
    ensure!(refused == [7], "{refused:?}");
    drop(agent);
    // What waited at the node while the collector was started anew.
    collector.stop()?;
    collector.run(&stage.scratch)?;
    let mut agent = Agent::connect(&ca, &identity, collector.port(), node, 7).await?;
    // Steps that nobody makes by mistake explain nothing.
    let events = vec![told(node, 8, 3), stepped(node, 9, 13, 13), told(node, 10, 13)];
    agent.send(encoded(events)).await?;
    let refused = rejected(agent.acknowledged(10).await?);
    ensure!(refused == [9, 10], "{refused:?}");
    // And of one node nothing of another one's.
    let mut other = Agent::of_node(&stage.pki, collector.port(), "worker-2", 7, 90).await?;
    other.send(encoded(vec![told("worker-2", 1, 3)])).await?;
    let refused = rejected(other.acknowledged(1).await?);
    ensure!(refused == [1], "{refused:?}");
    collector.stop()?;
    let audit = collector.audit();
    let records = audit.records_of(&["--kind", "rejected"])?;
    ensure!(
        records.len() == 4
            && records
                .iter()
                .all(|record| record["rejected"]["reason"] == "future"),
        "{records:?}"
    );
    ensure!(audit.records_of(&["--kind", "exec"])?.len() == 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_delivers_too_much_is_held_back_and_loses_nothing_while_others_get_through() -> Result<()>
{
    let stage = Stage::new("rate")?;
    let mut collector = stage.collector(None, &limits("node_events_per_second: 1000"))?;
    let port = collector.port();
    let mut loud = Agent::of_node(&stage.pki, port, "worker-1", 1, 90).await?;
    let mut quiet = Agent::of_node(&stage.pki, port, "worker-2", 1, 90).await?;
    let begin = Instant::now();
    for batch in 0..10 {
        loud.send(loud.events(500 * batch + 1, 500 * batch + 500)).await?;
    }
    quiet.send(quiet.events(1, 500)).await?;
    quiet.acknowledged(500).await?;
    let quiet_took = begin.elapsed();
    loud.acknowledged(5000).await?;
    let loud_took = begin.elapsed();
    // 5,000 at 1,000 a second, of which a second's worth and the last batch may be ahead.
    ensure!(loud_took > Duration::from_secs(3), "{loud_took:?}");
    ensure!(quiet_took < loud_took / 2, "{quiet_took:?} of {loud_took:?}");
    collector.stop()?;
    ensure!(collector.audit().check_sequences()? == 5500);
    Ok(())
}

#[tokio::test]
async fn a_node_has_only_so_many_streams() -> Result<()> {
    let stage = Stage::new("streams")?;
    let collector = stage.collector(None, &limits("node_streams: 2"))?;
    let identity = stage.pki.node("worker-1", 90)?;
    let connect = async || Agent::connect(&stage.pki.ca(), &identity, collector.port(), "worker-1", 1).await;
    let (first, _second) = (connect().await?, connect().await?);
    let refused = connect().await.err();
    let code = refused.and_then(|error| Some(error.downcast_ref::<tonic::Status>()?.code()));
    ensure!(code == Some(tonic::Code::ResourceExhausted), "{code:?}");
    drop(first);
    let started = Instant::now();
    while connect().await.is_err() {
        ensure!(started.elapsed() < LIMIT, "a stream that ended still counts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let audit = collector.audit();
    wait_until("the refusal in the audit log", LIMIT, || {
        let refused = audit.records_of(&["--kind", "refused"])?;
        Ok(refused
            .iter()
            .any(|record| record.to_string().contains("too many streams"))
            .then_some(()))
    })
}
