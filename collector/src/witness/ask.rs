//! What a collector does to have its checkpoints cosigned.
//!
//! Each checkpoint goes to every witness at once, with the proof that it goes on from the one that the witness cosigned
//! last; what comes back is kept with the checkpoint. Nothing waits for a witness: where one does not answer, the next
//! checkpoint is a new attempt. A quorum that is missing for long, and a witness that remembers another log, are
//! records of the audit log.

use super::http::{Address, post};
use super::tls::{self, TlsError};
use crate::audit::{AuditLog, Promises};
use http::StatusCode;
use norma_tlog::note::SignatureLine;
use norma_tlog::submission::Submission;
use norma_tlog::{Checkpoint, Note, Policy, VerifierKey};
use norma_wire::audit::record::Body;
use norma_wire::audit::{CheckpointConflict, WitnessQuorum};
use rustls::ClientConfig;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// A witness answers within this, or is asked again with the next checkpoint.
const PATIENCE: Duration = Duration::from_secs(5);
/// Attempts without a quorum after which that is recorded, in checkpoint intervals.
const RECORD_AFTER: u32 = 12;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Witnesses {
    /// The witnesses, with their URLs, and the quorum.
    pub policy: Policy,
    /// Authorities of the witnesses' certificates.
    pub ca: Option<PathBuf>,
}

/// Whether the witnesses of a policy can be asked.
///
/// # Errors
/// What is wrong: no witness, one without a usable URL, or a URL with TLS where no authorities are given.
pub fn check(policy: &Policy, has_ca: bool) -> Result<(), String> {
    if policy.witnesses.is_empty() {
        return Err("it has no `witness` line".to_owned());
    }
    for witness in &policy.witnesses {
        let address = witness.url.as_deref().and_then(Address::parse);
        match address {
            Some(address) if address.is_tls() && !has_ca => {
                return Err(format!(
                    "witness `{}` is asked over TLS: name the authorities of its certificate in audit.witness_ca",
                    witness.name
                ));
            }
            Some(_) => {}
            None => {
                return Err(format!(
                    "witness `{}` has no URL such as https://witness.example.org:7444",
                    witness.name
                ));
            }
        }
    }
    Ok(())
}

/// A witness that is asked.
#[derive(Clone, Debug)]
struct Asked {
    name: String,
    key: VerifierKey,
    address: Address,
    /// Size that it cosigned last, as far as known.
    size: u64,
    /// It was recorded that it remembers another log.
    conflict: bool,
}

/// What became of asking.
#[derive(Debug)]
enum Outcome {
    Cosigned(SignatureLine),
    Conflict(String),
    Failed(String),
}

/// Begins to ask; ends with `stop`.
pub fn start(
    log: &AuditLog,
    witnesses: &Witnesses,
    checkpoint_interval: Duration,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, TlsError> {
    let tls = witnesses.ca.as_deref().map(tls::client).transpose()?;
    let policy = witnesses.policy.clone().with_log(log.promises().key().clone());
    let asked = policy
        .witnesses
        .iter()
        .filter_map(|witness| {
            Some(Asked {
                name: witness.name.clone(),
                key: witness.key.clone(),
                address: Address::parse(witness.url.as_deref()?)?,
                size: 0,
                conflict: false,
            })
        })
        .collect();
    let asking = Asking {
        log: log.clone(),
        policy,
        tls,
        asked,
        patience: checkpoint_interval * RECORD_AFTER,
        reached: Instant::now(),
        reached_wall_ns: 0,
        missing: false,
    };
    Ok(tokio::spawn(asking.run(stop)))
}

struct Asking {
    log: AuditLog,
    policy: Policy,
    tls: Option<Arc<ClientConfig>>,
    asked: Vec<Asked>,
    patience: Duration,
    reached: Instant,
    reached_wall_ns: u64,
    /// It was recorded that there is no quorum.
    missing: bool,
}

impl Asking {
    async fn run(mut self, stop: CancellationToken) {
        let mut newest = self.log.promises().watch();
        newest.mark_changed();
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return; },
                () = stop.cancelled() => return,
            }
            newest.mark_unchanged();
            let Some((checkpoint, note)) = self.log.promises().newest() else {
                continue;
            };
            tokio::select! {
                () = self.ask_all(&checkpoint, note) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn ask_all(&mut self, checkpoint: &Checkpoint, mut note: Note) {
        let mut asking = JoinSet::new();
        for (number, asked) in self.asked.iter().enumerate() {
            let (mut asked, promises) = (asked.clone(), self.log.promises().clone());
            let (tls, checkpoint, note) = (self.tls.clone(), checkpoint.clone(), note.clone());
            asking.spawn(async move {
                let outcome = timeout(PATIENCE, asked.ask(&promises, tls.as_ref(), &checkpoint, &note)).await;
                let outcome = outcome.unwrap_or_else(|_| Outcome::Failed("no answer in time".to_owned()));
                (number, asked, outcome)
            });
        }
        let mut failures = Vec::new();
        while let Some(joined) = asking.join_next().await {
            let Ok((number, asked, outcome)) = joined else {
                continue;
            };
            let name = asked.name.clone();
            let was_told = std::mem::replace(&mut self.asked[number], asked).conflict;
            match outcome {
                Outcome::Cosigned(line) => {
                    self.asked[number].conflict = false;
                    note.signatures.push(line);
                }
                Outcome::Conflict(detail) => {
                    self.asked[number].conflict = true;
                    if !was_told {
                        self.conflict(&name, &note, &detail).await;
                    }
                    failures.push(format!("{name}: {detail}"));
                }
                Outcome::Failed(why) => {
                    tracing::debug!(witness = name, why, "no cosignature");
                    failures.push(format!("{name}: {why}"));
                }
            }
        }
        let quorum = self.policy.check(&note).is_ok_and(|trusted| trusted.quorum);
        if note.signatures.len() > 1 {
            self.log.keep_cosigned(note, quorum);
        }
        self.account(quorum, &failures).await;
    }

    /// Records that a quorum is missing for long, and that it is there again.
    async fn account(&mut self, quorum: bool, failures: &[String]) {
        let since_wall_ns = self.reached_wall_ns;
        if quorum {
            self.reached = Instant::now();
            self.reached_wall_ns = crate::clock::wall_ns();
        }
        let missing = !quorum && self.reached.elapsed() >= self.patience;
        if missing == self.missing || (!quorum && !missing) {
            return;
        }
        let detail = failures.join("; ");
        if missing {
            tracing::error!(detail, "no quorum of witnesses cosigns the checkpoints");
        } else {
            tracing::info!("witnesses cosign the checkpoints again");
        }
        let record = WitnessQuorum {
            reached: quorum,
            since_wall_ns,
            detail,
        };
        match self.log.note(Body::WitnessQuorum(record)).await {
            Ok(()) => self.missing = missing,
            Err(error) => tracing::error!(%error, "cannot record that"),
        }
    }

    async fn conflict(&self, witness: &str, note: &Note, detail: &str) {
        tracing::error!(witness, detail, "a witness remembers another audit log");
        let record = CheckpointConflict {
            who: format!("witness {witness}"),
            remembered: String::new(),
            checkpoint: note.to_string(),
            detail: detail.to_owned(),
        };
        if let Err(error) = self.log.note(Body::CheckpointConflict(record)).await {
            tracing::error!(%error, "cannot record that");
        }
    }
}

impl Asked {
    /// Asks once, and a second time where the witness is elsewhere than was thought.
    async fn ask(
        &mut self,
        promises: &Promises,
        tls: Option<&Arc<ClientConfig>>,
        checkpoint: &Checkpoint,
        note: &Note,
    ) -> Outcome {
        for _ in 0..2 {
            let proof = match promises.proof(self.size, checkpoint.size) {
                Ok(proof) => proof,
                Err(error) => return Outcome::Failed(error.to_string()),
            };
            let submission = Submission {
                old_size: self.size,
                proof,
                checkpoint: note.clone(),
            };
            let (status, body) = match post(&self.address, tls, submission.to_string()).await {
                Ok(answered) => answered,
                Err(error) => return Outcome::Failed(error),
            };
            let text = String::from_utf8_lossy(&body).into_owned();
            match status {
                StatusCode::OK => return self.cosigned(checkpoint, note, &text),
                StatusCode::CONFLICT => {
                    let Ok(size) = text.trim().parse::<u64>() else {
                        return Outcome::Failed("it does not say what it cosigned last".to_owned());
                    };
                    if size > checkpoint.size {
                        return Outcome::Conflict(format!(
                            "it cosigned {size} entries, and this log has {}: its end was removed, or it was set back \
                             to an older copy",
                            checkpoint.size
                        ));
                    }
                    self.size = size;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Outcome::Conflict(format!(
                        "this log does not go on from the {} entries that it cosigned",
                        self.size
                    ));
                }
                other => return Outcome::Failed(format!("{other}: {}", text.trim())),
            }
        }
        Outcome::Failed("it is asked by somebody else as well".to_owned())
    }

    fn cosigned(&mut self, checkpoint: &Checkpoint, note: &Note, text: &str) -> Outcome {
        let lines = text.lines().filter_map(|line| line.parse::<SignatureLine>().ok());
        for line in lines.filter(|line| line.is_of(&self.key)) {
            if self.key.verify(&note.text, &line).is_ok() {
                self.size = checkpoint.size;
                return Outcome::Cosigned(line);
            }
        }
        Outcome::Failed("its answer has no cosignature under the key that the policy has for it".to_owned())
    }
}
