//! What goes between this node's baselines and the fleet's, beside the events.
//!
//! The judge's end is used from the pipeline, which never waits; the shipping end lives as long as the agent, and a
//! stream to the collector as long as it lasts. What could not be sent on one stream is asked for anew on the next.

use norma_baseline::Timestamp;
use norma_baseline::estimate::Settled;
use norma_baseline::evidence::{Evidence, Version};
use norma_baseline::file::{self, FormatError};
use norma_baseline::overlay::{Overlay, Subject};
use norma_wire::pb::{to_agent, to_collector};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Messages that wait for the stream; more evidence than that waits on the disk.
const TO_TELL: usize = 4;
/// Messages that wait for the pipeline.
const TOLD: usize = 16;

/// What the fleet knows of a workload at a revision.
#[derive(Clone, Debug)]
pub struct State {
    /// Whose.
    pub subject: Subject,
    /// The revision that it takes over from.
    pub predecessor: Option<Arc<str>>,
    /// What all others saw, added up.
    pub others: Others,
    /// This node alone is to report what the revision did differently in its first hours.
    pub report_release: bool,
}

/// What other nodes know of a workload at a revision.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// What they saw.
    pub evidence: Evidence,
    /// Since when the first of them judges each field.
    pub settled: Settled,
    /// Replicas that run in the whole fleet, those of this node included.
    pub replicas: u32,
    /// Replicas that ran when the first of them came to judge; `None` if none of them does.
    pub replicas_then: Option<u32>,
}

/// What the collector says of baselines.
#[derive(Debug)]
pub enum Told {
    /// A stream begins: nothing is known of what the collector has.
    Joined,
    /// The collector has this state of a recorder on stable storage.
    Held {
        /// Whose.
        subject: Subject,
        /// The recorder's run.
        run: u64,
        /// The state.
        version: Version,
    },
    /// What the fleet knows.
    State(Box<State>),
    /// What people decided.
    Decisions(Overlay),
    /// Evidence was not taken.
    Refused {
        /// Whose.
        subject: Subject,
        /// Why.
        reason: String,
        /// It may be taken later.
        later: bool,
    },
}

/// The judge's end.
#[derive(Debug)]
pub struct Link {
    /// What the collector says.
    pub told: mpsc::Receiver<Told>,
    /// What it is to be told.
    pub tell: mpsc::Sender<to_collector::Message>,
}

/// The shipping end.
#[derive(Debug)]
pub struct ShippingEnd {
    told: mpsc::Sender<Told>,
    tell: mpsc::Receiver<to_collector::Message>,
}

/// Both ends.
pub fn link() -> (Link, ShippingEnd) {
    let (told, hear) = mpsc::channel(TOLD);
    let (say, tell) = mpsc::channel(TO_TELL);
    (
        Link {
            told: hear,
            tell: say,
        },
        ShippingEnd { told, tell },
    )
}

impl ShippingEnd {
    /// A stream begins. What was meant for the one before is dropped.
    pub async fn join(&mut self) {
        while self.tell.try_recv().is_ok() {}
        self.pass(Told::Joined).await;
    }

    /// The next message to be sent.
    pub async fn next(&mut self) -> Option<to_collector::Message> {
        self.tell.recv().await
    }

    /// Hands on what the collector said, where it is about baselines.
    pub async fn hear(&self, message: to_agent::Message) {
        match tokio::task::block_in_place(|| Told::of(message)) {
            Ok(Some(told)) => self.pass(told).await,
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "what the collector says of baselines cannot be read"),
        }
    }

    async fn pass(&self, told: Told) {
        if self.told.send(told).await.is_err() {
            tracing::debug!("the judge has ended");
        }
    }
}

impl Told {
    /// What a message says of baselines; `None` if it is about something else.
    pub fn of(message: to_agent::Message) -> Result<Option<Self>, FormatError> {
        let subject = |workload: &str, revision: &str| Subject {
            workload: Arc::from(workload),
            revision: Arc::from(revision),
        };
        Ok(Some(match message {
            to_agent::Message::EvidenceHeld(held) => Self::Held {
                subject: subject(&held.workload, &held.revision),
                run: held.run,
                version: Version::of_number(held.version),
            },
            to_agent::Message::Fleet(state) => {
                let mut settled = Settled::default();
                for (field, since) in settled.iter_mut().zip(&state.ready_since) {
                    *field = (*since != 0).then(|| Timestamp::from_unix((*since).into()));
                }
                Self::State(Box::new(State {
                    subject: subject(&state.workload, &state.revision),
                    predecessor: (!state.predecessor.is_empty()).then(|| Arc::from(state.predecessor)),
                    others: Others {
                        evidence: file::from_bytes(&state.evidence)?,
                        settled,
                        replicas: state.replicas,
                        replicas_then: (state.replicas_then != 0).then_some(state.replicas_then),
                    },
                    report_release: state.report_release,
                }))
            }
            to_agent::Message::Decisions(decisions) => Self::Decisions(file::from_bytes(&decisions.overlay)?),
            to_agent::Message::EvidenceRefused(refused) => Self::Refused {
                subject: subject(&refused.workload, &refused.revision),
                reason: norma_wire::text::printable(refused.reason.as_bytes()),
                later: refused.later,
            },
            to_agent::Message::Welcome(_)
            | to_agent::Message::Ack(_)
            | to_agent::Message::Rejection(_)
            | to_agent::Message::Busy(_) => return Ok(None),
        }))
    }
}
