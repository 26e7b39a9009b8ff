//! The upload of sealed segments, cut at each of its steps: between the collector and the store lies a relay that kills
//! the collector, or the connection, before a request, before its answer, and after it.

use crate::archive::{audit, files, python, settings, words};
use crate::archive_store::{Store, all_stored};
use crate::boundaries::run_with;
use crate::node::{Node, target};
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::inject::{can_inject, cycles};
use norma_rig::{Collector, sha256_of, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// When in an exchange something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing of the request has reached the store.
    Request,
    /// The store has done what it was asked for, and nothing of its answer is back.
    Answer,
    /// The answer is back.
    After,
}

/// What happens in which exchange.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Exchanges before it.
    left: usize,
    moment: Moment,
    /// Who is killed; nobody where the connection is cut.
    victim: Option<Pid>,
}

/// A relay to the store, of which each connection carries one exchange.
struct Relay {
    port: u16,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Relay {
    fn start(store: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let plan: Arc<Mutex<Option<Plan>>> = Arc::default();
        let shared = Arc::clone(&plan);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(store)) else {
                    return;
                };
                let due = next(&shared);
                std::thread::spawn(move || relay(&near, &far, due));
            }
        });
        Ok(Self { port, plan })
    }

    fn arm(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// Whether what was planned has happened.
    fn is_done(&self) -> bool {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// What is to happen in the exchange that begins.
fn next(shared: &Mutex<Option<Plan>>) -> Option<Plan> {
    let mut plan = shared.lock().unwrap_or_else(PoisonError::into_inner);
    plan.take_if(|plan| {
        plan.left = plan.left.saturating_sub(1);
        plan.left == 0
    })
}

/// Carries one exchange; the connections are closed in the end, whatever became of them.
fn relay(near: &TcpStream, far: &TcpStream, due: Option<Plan>) {
    let at = |moment| due.filter(|plan| plan.moment == moment);
    let strike = |plan: Plan| {
        if let Some(victim) = plan.victim {
            kill_process(victim, Signal::KILL).ok();
        }
        near.shutdown(Shutdown::Both).ok();
        far.shutdown(Shutdown::Both).ok();
    };
    if let Some(plan) = at(Moment::Request) {
        return strike(plan);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| io::copy(&mut &*near, &mut &*far));
        let mut answer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = (&*far).read(&mut answer) {
            if let Some(plan) = at(Moment::Answer) {
                return strike(plan);
            }
            if (&*near).write_all(&answer[..count]).is_err() {
                break;
            }
            if let Some(plan) = at(Moment::After) {
                return strike(plan);
            }
        }
        near.shutdown(Shutdown::Both).ok();
        far.shutdown(Shutdown::Both).ok();
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_at_any_step_goes_on_and_leaves_each_segment_in_the_store_once() -> Result<()> {
    let stage = Stage::new("archive-cut")?;
    let Some(python) = python("an upload that is cut", &stage.programs) else {
        return Ok(());
    };
    let mut store = Store::moto(&stage, &python)?;
    store.make(&python, "lock")?;
    let relay = Relay::start(store.endpoint.trim_start_matches("http://").parse()?)?;
    let direct = std::mem::replace(&mut store.endpoint, format!("http://127.0.0.1:{}", relay.port));
    let settings = settings(&store.config(&stage, "")?);
    store.endpoint = direct;
    let mut collector = Collector::prepare(&stage.scratch, &stage.programs, &stage.pki, None, &settings)?;
    let identity = stage.pki.node("worker-1", 90)?;
    let target = target(&stage.pki.ca(), &identity, collector.port())?;
    let mut node = Node::start(&stage.scratch.folder("outbox")?, "worker-1", target)?;

    // The first three exchanges ask whether locks hold; after them each segment is put, and what was put is asked for.
    let last = 5 + cycles(0);
    for exchange in 3..=last {
        for moment in [Moment::Request, Moment::Answer, Moment::After] {
            collector.run(&stage.scratch)?;
            let pid = collector.daemon()?.pid();
            relay.arm(Plan {
                left: exchange,
                moment,
                victim: Pid::from_raw(pid.cast_signed()),
            });
            wait_until("the collector killed", LIMIT, || {
                node.append(40);
                Ok(collector.daemon()?.try_wait()?.map(drop))
            })
            .with_context(|| format!("exchange {exchange}, {moment:?}"))?;
            collector.kill()?;
        }
    }
    // The steps on the disk beside that.
    if can_inject("an upload that is cut on the disk") {
        for fault in ["rename", "fsync", "write"] {
            run_with(
                &stage,
                &mut collector,
                &format!("{fault}:signal=KILL:when=3"),
                None,
            )?;
            wait_until("the collector killed", LIMIT, || {
                node.append(40);
                Ok(collector.daemon()?.try_wait()?.map(drop))
            })
            .context(fault)?;
            collector.kill()?;
        }
    }
    // Connections that break under a collector that goes on.
    collector.run(&stage.scratch)?;
    for moment in [Moment::Request, Moment::Answer] {
        relay.arm(Plan {
            left: 4,
            moment,
            victim: None,
        });
        wait_until("a connection cut", LIMIT, || {
            node.append(40);
            Ok(relay.is_done().then_some(()))
        })?;
    }
    node.shipped(LIMIT).await?;

    let books = all_stored(&collector, 5)?;
    let objects = store.objects(&python)?;
    ensure!(
        objects.len() == books.len(),
        "{} objects of {} segments",
        objects.len(),
        books.len()
    );
    for kept in &books {
        let object = kept["object"].as_str().context("no object")?;
        let found: Vec<_> = objects
            .iter()
            .filter(|found| found["key"] == format!("audit/{object}"))
            .collect();
        ensure!(found.len() == 1, "{object} is there {} times", found.len());
        let local = sha256_of(&collector.state().join("archive").join(object))?;
        ensure!(found[0]["sha256"] == local, "{found:?}");
        ensure!(found[0]["retain_until"] == kept["retain_until"], "{found:?}");
    }
    collector.stop()?;
    let (log, archive) = (
        collector.audit().path().to_owned(),
        collector.state().join("archive"),
    );
    ensure!(files(&archive, "new")?.is_empty(), "unfinished files were left");
    let policy = collector.policy(&stage.scratch)?;
    let told = audit(
        &stage,
        words!["archive", "verify", archive, "--log", log, "--policy", policy].map(OsStr::to_owned),
    )?;
    ensure!(told.starts_with("intact: "), "{told}");
    let total = node.outbox.next_sequence() - 1;
    ensure!(collector.audit().check_sequences()? == total);
    Ok(())
}
