//! A node with the agent's own outbox and shipping, and events of the test's making.

use crate::agent::event;
use crate::stage::LIMIT;
use anyhow::{Context as _, Result};
use norma_agent::config::CollectorTarget;
use norma_agent::outbox::{Limits, Outbox, OutboxError};
use norma_agent::ship::{self, Beside, Checkpoints, Promises, ShipStatus, Shipping, Standing};
use norma_rig::pki::KeyPair;
use norma_rig::wait_until;
use norma_wire::pb::Hello;
use rustls_pki_types::ServerName;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Node {
    pub outbox: Outbox,
    pub status: Arc<Mutex<ShipStatus>>,
    pub standing: watch::Receiver<Standing>,
    /// Tells its events from those of another with the same sequences.
    pub life: u32,
    /// What it says of audit logs that took something back.
    _alarms: std::sync::mpsc::Receiver<norma_wire::Event>,
    _stop: watch::Sender<bool>,
    shipping: JoinHandle<()>,
}

/// How to reach the collector on `port` with these files.
pub fn target(ca: &Path, identity: &KeyPair, port: u16) -> Result<CollectorTarget> {
    Ok(CollectorTarget {
        address: format!("127.0.0.1:{port}"),
        server_name: ServerName::try_from("localhost")?,
        fallbacks: Vec::new(),
        ca: ca.to_owned(),
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        renew: false,
        answer_timeout: Duration::from_secs(60),
    })
}

impl Node {
    /// Opens the outbox in `folder` and begins to ship.
    pub fn start(folder: &Path, name: &str, target: CollectorTarget) -> Result<Self> {
        let limits = Limits {
            max_bytes: 64 << 20,
            segment_bytes: 64 << 10,
            max_age: Duration::from_secs(3600),
        };
        // A program that another test is just starting holds every file of this process until it runs.
        let (outbox, _) = wait_until("the outbox", LIMIT, || match Outbox::open(folder, name, limits) {
            Err(OutboxError::Locked { .. }) => Ok(None),
            opened => Ok(Some(opened?)),
        })?;
        let hello = Hello {
            node: name.to_owned(),
            epoch: outbox.epoch(),
            agent_version: "test".to_owned(),
            ..Default::default()
        };
        let status = Arc::new(Mutex::new(ShipStatus::default()));
        let (standing_tx, standing) = watch::channel(Standing::AsExpected);
        let (stop, stopped) = watch::channel(false);
        let (events_tx, alarms) = std::sync::mpsc::channel();
        let shipping = Shipping {
            target,
            hello,
            reader: outbox.reader(),
            beside: Beside {
                fleet: None,
                promises: Promises {
                    checkpoints: Checkpoints::open(folder),
                    events: events_tx,
                },
            },
            status: Arc::clone(&status),
            standing: standing_tx,
            chain_file: folder.join("chain"),
        };
        let shipping = tokio::spawn(ship::run(shipping, stopped));
        Ok(Self {
            outbox,
            status,
            standing,
            life: 1,
            _alarms: alarms,
            _stop: stop,
            shipping,
        })
    }

    /// Takes in events, as a round of the pipeline does.
    pub fn append(&mut self, count: u64) {
        for _ in 0..count {
            let mut event = event("", 0, self.outbox.next_sequence());
            event.process.get_or_insert_default().gid = self.life;
            self.outbox.append(&mut event);
        }
        self.outbox.sync_soon();
        self.outbox.tick();
        self.heed();
    }

    /// As the pipeline does where the collector holds what this outbox never gave.
    fn heed(&mut self) {
        if let Standing::Foreign(holds) = *self.standing.borrow() {
            self.outbox.give_anew(holds);
        }
    }

    /// Waits until everything is acknowledged.
    pub async fn shipped(&mut self, limit: Duration) -> Result<()> {
        loop {
            let all = self.outbox.next_sequence() - 1;
            self.acknowledged(all, limit).await?;
            if self.outbox.next_sequence() - 1 == all {
                return Ok(());
            }
        }
    }

    /// Waits until everything up to a sequence is acknowledged.
    pub async fn acknowledged(&mut self, sequence: u64, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while self.outbox.acked() < sequence {
            self.heed();
            self.outbox.sync_soon();
            if started.elapsed() > limit {
                let status = self.status.lock().map_err(|_| anyhow::anyhow!("poisoned"))?;
                return Err(anyhow::anyhow!("{:?}", *status)).context("the events are not acknowledged");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// As SIGKILL: nothing is finished.
    pub async fn kill(self) {
        self.shipping.abort();
        self.shipping.await.ok();
    }
}
