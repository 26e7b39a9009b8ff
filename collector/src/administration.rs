//! The collector's own administration, in the same audit log as everything else (NIST 800-53 AU-12, CM-3).
//!
//! What the collector is told by its files is recorded when it takes it: its configuration with what changed since it
//! ran last, the key of the log, its certificate, authorities and revocation lists. What people ask of it
//! over its API is recorded before it is answered, under the name in their certificate. What root does to files while no
//! collector runs cannot be recorded by the collector; the log itself shows it where it concerns the log.

mod configuration;
mod credentials;

pub use configuration::Given;
pub use credentials::News;

use crate::audit::{AuditLog, StorageError};
use crate::clock::note;
use crate::config::Config;
use norma_wire::audit::record::Body;
use norma_wire::audit::{Administration, AdministrativeAct as Act};
use norma_wire::describe;
use norma_wire::pb::Attribute;
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whom a record names where nobody asked.
const COLLECTOR: &str = "collector";

/// Something that the collector did by itself.
fn own(act: Act, object: impl Into<String>, facts: Vec<Attribute>) -> Administration {
    Administration {
        actor: COLLECTOR.to_owned(),
        act: act.into(),
        object: object.into(),
        facts,
        ..Administration::default()
    }
}

/// A fact by name.
pub(crate) fn fact(name: &str, value: impl Into<String>) -> Attribute {
    Attribute {
        name: name.to_owned(),
        value: value.into(),
    }
}

/// Records that something was done.
pub async fn record(log: &AuditLog, done: Administration) -> Result<(), StorageError> {
    tracing::info!("{}", describe::administration(&done));
    log.note(Body::Administration(done)).await
}

/// Records by what the collector works: its configuration, and the key of the log.
pub async fn begin(config: &Config, log: &AuditLog) -> Result<(), StorageError> {
    if let Some(given) = &config.given {
        let kept = config.state_dir.join(configuration::KEPT);
        let before = tokio::task::block_in_place(|| configuration::read(&kept));
        record(log, configuration::record(given, before.as_ref())).await?;
        if let Err(error) = tokio::task::block_in_place(|| configuration::keep(&kept, given)) {
            tracing::warn!(
                %error, file = %kept.display(),
                "cannot keep the configuration: the next start will not tell what changed"
            );
        }
    }
    let key = log.promises().key().to_string();
    let facts = vec![
        fact("verifier key", key),
        fact("from", config.audit.key.to_string()),
    ];
    record(log, own(Act::LogKey, log.promises().key().name(), facts)).await?;
    let encryption = config
        .archive
        .as_ref()
        .and_then(|archive| archive.encryption.as_ref());
    // One that cannot be read ends the start in a moment.
    if let Some((source, Ok(kek))) = encryption.map(|source| (source, source.open())) {
        let facts = vec![fact("from", source.to_string())];
        record(log, own(Act::SegmentKeys, kek.id(), facts)).await?;
    }
    Ok(())
}

/// Records when the key of the log, which may be in a token, does not sign, and when it does again, until told to stop.
pub fn watch_signing(log: AuditLog, stop: CancellationToken) -> JoinHandle<()> {
    let mut signing = log.signing();
    let name = log.promises().key().name().to_owned();
    tokio::spawn(async move {
        let mut since: Option<Instant> = None;
        loop {
            let fault = signing.borrow_and_update().fault.clone();
            let done = match (fault, since) {
                (Some(fault), None) => {
                    since = Some(Instant::now());
                    let mut done = own(
                        Act::Signing,
                        &name,
                        vec![fact("checkpoints", "unsigned from now on")],
                    );
                    done.refused = fault;
                    Some(done)
                }
                (None, Some(begin)) => {
                    since = None;
                    let seconds = begin.elapsed().as_secs();
                    let facts = vec![fact("checkpoints", format!("signed again after {seconds} s"))];
                    Some(own(Act::Signing, &name, facts))
                }
                // Another reason is in the program's log.
                _ => None,
            };
            if let Some(done) = done {
                tracing::info!("{}", describe::administration(&done));
                if note(&log, Body::Administration(done), &stop).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = signing.changed() => if changed.is_err() { return },
            }
        }
    })
}

/// Records credentials whenever they are taken or refused, until told to stop.
pub fn watch(log: AuditLog, mut news: watch::Receiver<News>, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        news.mark_changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // Whoever takes connections ends before this does.
                changed = news.changed() => if changed.is_err() { return },
            }
            let done = news.borrow_and_update().record();
            tracing::info!("{}", describe::administration(&done));
            if note(&log, Body::Administration(done), &stop).await.is_err() {
                return;
            }
        }
    })
}
