//! The collector's life: open the log, accept agents, feed the sinks, and end in the reverse order.

use crate::administration;
use crate::api;
use crate::archive::task::{self as archive, StartError as ArchiveStartError};
use crate::audit::{self, OpenError, StorageError};
use crate::baselines::{self, OpenError as BaselinesError};
use crate::clock;
use crate::config::Config;
use crate::heads::{self, Heads};
use crate::ingest::{self, StartError};
use crate::metrics::Sources;
use crate::sinks::{self, SinkError};
use crate::storage;
use crate::witness::{TlsError, ask};
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why the collector did not start, or did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No runtime, no signals.
    #[error("cannot set up the process: {0}")]
    Process(#[from] io::Error),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// What nodes signed.
    #[error(transparent)]
    Heads(#[from] heads::OpenError),
    /// What nodes learned.
    #[error(transparent)]
    Baselines(#[from] BaselinesError),
    /// The port or the certificates.
    #[error(transparent)]
    Ingest(#[from] StartError),
    /// What archives segments.
    #[error(transparent)]
    Archive(#[from] ArchiveStartError),
    /// The port for metrics.
    #[error("metrics.listen: cannot listen there: {0}")]
    Metrics(#[source] io::Error),
    /// A sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The authorities of witnesses.
    #[error("audit.witness_ca: {0}")]
    Witnesses(#[from] TlsError),
    /// The first records, or the last.
    #[error("the audit log could not be begun or ended in order: {0}")]
    End(#[from] StorageError),
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Config) -> Result<(), RunError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(live(config))
}

async fn live(config: &Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let (log, writing) = audit::open(&config.audit_dir(), &config.audit)?;
    let started = async {
        administration::begin(config, &log).await?;
        let sinks = sinks::start(config, &log)?;
        let beside_stop = CancellationToken::new();
        let (baselines, task) = baselines::start(
            &config.baselines_dir(),
            config.trusted_keys.clone(),
            beside_stop.clone(),
        )?;
        let inbox = baselines::handed::take(
            &config.baselines_dir(),
            config.trusted_keys.clone(),
            baselines.clone(),
            log.clone(),
            beside_stop.clone(),
        )?;
        let interval = config.audit.checkpoint_interval;
        let witnesses = config
            .witnesses
            .as_ref()
            .map(|witnesses| ask::start(&log, witnesses, interval, beside_stop.clone()))
            .transpose()?;
        let heads = tokio::task::block_in_place(|| Heads::open(&config.heads_file(), &log))?;
        let settings = archive::Settings {
            state_dir: &config.state_dir,
            archive: config.archive.as_ref(),
            retention: config.retention,
            audit: &config.audit,
            delivered: sinks::Delivered::of(config),
        };
        let archive = tokio::task::block_in_place(|| archive::start(&settings, &log, beside_stop.clone()))?;
        let ingest = ingest::start(config, &log, &heads, &baselines).await?;
        let beside = [
            clock::watch(log.clone(), beside_stop.clone()),
            storage::watch(
                log.clone(),
                config.audit_dir(),
                config.storage_warning,
                beside_stop.clone(),
            ),
            administration::watch(log.clone(), ingest.credentials.news(), beside_stop.clone()),
            administration::watch_signing(log.clone(), beside_stop.clone()),
        ];
        let api = match &config.api {
            Some(offered) => {
                let api = api::start(offered, config, &log, archive.holds(), &ingest).await?;
                tracing::info!(address = %api.address, "auditors and operators can ask");
                Some(api)
            }
            None => None,
        };
        let metrics = match config.metrics {
            Some(listen) => {
                let sources = Sources {
                    log: log.clone(),
                    directory: config.audit_dir(),
                    counts: Arc::clone(ingest.refused.counts()),
                    delivered: sinks::Delivered::of(config),
                    backlog: archive.backlog(),
                };
                let serving = norma_metrics::serve(listen, Arc::new(move || sources.page()))
                    .await
                    .map_err(RunError::Metrics)?;
                tracing::info!(address = %serving.address, "metrics can be read");
                Some(serving)
            }
            None => None,
        };
        Ok::<_, RunError>((
            metrics,
            sinks,
            ingest,
            api,
            heads,
            beside_stop,
            task,
            inbox,
            witnesses,
            beside,
            archive,
        ))
    };
    let (_metrics, sinks, ingest, api, heads, beside_stop, baselines, inbox, witnesses, beside, archive) =
        match started.await {
            Ok(started) => started,
            Err(error) => {
                writing.stop(&format!("start failed: {error}")).await?;
                return Err(error);
            }
        };
    tracing::info!(address = %ingest.address, state = %config.state_dir.display(), "ready");

    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(reason, "stopping");
    if let Some(api) = api {
        api.stop().await;
    }
    ingest.stop().await;
    heads.close();
    beside_stop.cancel();
    if inbox.await.is_err() {
        tracing::error!("what takes decisions ended in a panic");
    }
    for task in beside {
        if task.await.is_err() {
            tracing::error!("what records the clock or the collector's administration ended in a panic");
        }
    }
    if baselines.await.is_err() {
        tracing::error!("what keeps baselines ended in a panic");
    }
    if let Some(witnesses) = witnesses
        && witnesses.await.is_err()
    {
        tracing::error!("what asks witnesses ended in a panic");
    }
    archive.ended().await;
    writing.stop(reason).await?;
    sinks.stop().await;
    tracing::info!("stopped");
    Ok(())
}
