//! What nodes learned, at a collector that is killed.

use crate::agent::Agent;
use crate::stage::Stage;
use anyhow::{Context as _, Result, ensure};
use norma_baseline::Timestamp;
use norma_baseline::evidence::{Evidence, Recorder, SourceId, Start, Tuning, Version};
use norma_baseline::fact::{Access, Fact};
use norma_baseline::file;
use norma_baseline::never::Circumstances;
use norma_rig::CollectorSettings;
use norma_wire::pb::{EvidenceDelta, EvidenceHeld, Interest, Running, to_agent, to_collector};

/// What a node saw of `w`.
fn saw(node: &str, paths: &[&str]) -> Result<to_collector::Message> {
    let now = Timestamp::from_unix(1_800_000_000);
    let source = SourceId {
        node: node.into(),
        generation: 1,
    };
    let mut recorder = Recorder::open(None, source, Tuning::default(), now);
    recorder.container_started("c", Start::Witnessed);
    let leave = Circumstances::default()
        .learnable()
        .ok()
        .context("may be learned")?;
    for path in paths {
        let fact = Fact::File {
            exe: "/bin/app",
            path: *path,
            access: Access::Read,
        };
        recorder.observe(&fact, "c", leave, now);
    }
    let (evidence, version) = recorder.delta(Version::START);
    Ok(to_collector::Message::Evidence(EvidenceDelta {
        workload: "w".into(),
        revision: "1".into(),
        evidence: file::to_bytes(&evidence)?,
        run: 3,
        version: version.number(),
        ready_since: vec![0; 8],
        release_reported: false,
        replicas_then: 0,
    }))
}

fn runs() -> to_collector::Message {
    to_collector::Message::Interest(Interest {
        running: vec![Running {
            workload: "w".into(),
            revision: "1".into(),
            replicas: 1,
            generations: vec![1],
        }],
    })
}

fn held(message: to_agent::Message) -> Option<EvidenceHeld> {
    match message {
        to_agent::Message::EvidenceHeld(held) => Some(held),
        _ => None,
    }
}

/// How many behaviours others are said to have shown.
async fn others(agent: &mut Agent) -> Result<usize> {
    let state = agent.hears(|message| match message {
        to_agent::Message::Fleet(state) => Some(state),
        _ => None,
    });
    let evidence: Evidence = file::from_bytes(&state.await?.evidence)?;
    Ok(evidence.facts().count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_to_be_held_is_there_after_a_kill_and_lies_leave_nothing() -> Result<()> {
    let stage = Stage::new("baselines")?;
    let mut collector = stage.collector(None, &CollectorSettings::default())?;
    let connect = async |port: u16, node: &str| Agent::of_node(&stage.pki, port, node, 7, 90).await;
    let identity = stage.pki.node("worker-1", 30)?;
    let join = async |port: u16| Agent::connect(&stage.pki.ca(), &identity, port, "worker-1", 7).await;
    let mut liar = connect(collector.port(), "liar").await?;
    liar.tell(saw("worker-1", &["/lie"])?).await?;
    let refused = liar
        .hears(|message| match message {
            to_agent::Message::EvidenceRefused(refused) => Some(refused),
            _ => None,
        })
        .await?;
    ensure!(refused.reason.contains("`worker-1`"), "{refused:?}");
    let mut worker = join(collector.port()).await?;
    worker.tell(runs()).await?;
    ensure!(others(&mut worker).await? == 0, "nobody else knows anything");
    worker.tell(saw("worker-1", &["/a", "/b"])?).await?;
    worker.tell(saw("worker-1", &["/a", "/b"])?).await?;
    let told = worker.hears(held).await?;
    // Events are taken as ever beside it.
    worker.send(worker.events(1, 3)).await?;
    worker.acknowledged(3).await?;
    collector.kill()?;

    collector.run(&stage.scratch)?;
    let mut newcomer = connect(collector.port(), "worker-2").await?;
    newcomer.tell(runs()).await?;
    ensure!(others(&mut newcomer).await? == 2, "what was held is told");
    let mut worker = join(collector.port()).await?;
    worker.tell(runs()).await?;
    let again = worker.hears(held).await?;
    ensure!(again == told, "{again:?} {told:?}");
    ensure!(others(&mut worker).await? == 0, "its own part is not told to it");
    Ok(())
}
