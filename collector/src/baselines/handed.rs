//! What people hand over to the collector: decisions and bundles. Each is a record of the audit log.

use super::{Baselines, DecideError};
use crate::audit::{AuditLog, StorageError};
use norma_baseline::overlay::SignedDecision;
use norma_baseline::signature::TrustedKeys;
use norma_baseline_command::audit::{self, Source};
use norma_baseline_command::inbox::{self, Content, Delivery};
use norma_wire::audit::record::Body;
use norma_wire::describe;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long after a failure it is tried again to write to the log.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// Takes what is handed over until it is told to stop.
pub fn take(
    directory: &Path,
    keys: TrustedKeys,
    baselines: Baselines,
    log: AuditLog,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let deliveries = inbox::take(directory, keys)?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    // The inbox's channel is one to wait on, which a task must not.
    std::thread::Builder::new()
        .name("inbox-relay".to_owned())
        .spawn(move || {
            for delivery in deliveries {
                if sender.blocking_send(delivery).is_err() {
                    return;
                }
            }
        })?;
    Ok(tokio::spawn(async move {
        loop {
            tokio::select! {
                delivery = receiver.recv() => match delivery {
                    Some(delivery) => settle(delivery, &baselines, &log).await,
                    None => return,
                },
                () = stop.cancelled() => return,
            }
        }
    }))
}

async fn settle(mut delivery: Delivery, baselines: &Baselines, log: &AuditLog) {
    let taken = match &mut delivery.content {
        Content::Write => {
            baselines.write().await;
            Ok(Vec::new())
        }
        Content::Refused { file, decisions, why } => Ok(audit::refused(file, decisions, why)),
        Content::Decisions(overlay) => baselines.decide(overlay.clone()).await.map(|_| {
            let say = |signed| audit::decision(signed, Source::Command, None);
            overlay.decisions().map(say).collect()
        }),
        Content::Bundle(carried) => match baselines.import(carried.kept.clone()).await {
            Ok(()) => baselines.decide(carried.overlay.clone()).await.map(|_| {
                let decisions: Vec<SignedDecision> = carried.overlay.decisions().cloned().collect();
                audit::bundle(carried, &decisions).collect()
            }),
            Err(error) => Err(error),
        },
    };
    let (records, outcome) = match taken {
        Ok(records) => (records, Ok(())),
        // It is there when the collector runs again.
        Err(DecideError::Stopping) => return,
        Err(error) => {
            let why = error.to_string();
            (audit::refused("decisions or a bundle", &[], &why), Err(why))
        }
    };
    for record in records {
        if record.refused.is_empty() {
            tracing::info!("{}", describe::decision(&record));
        } else {
            tracing::warn!("{}", describe::decision(&record));
        }
        // Nothing is settled that is not in the log. Where the collector ends before it can be written, the file is
        // taken again, and so is said twice rather than never.
        while let Err(error) = log.note(Body::BaselineDecision(record.clone())).await {
            if matches!(error, StorageError::Closed) {
                return;
            }
            tokio::time::sleep(NOTE_AGAIN).await;
        }
    }
    delivery.settle(outcome);
}

#[cfg(test)]
mod tests;
