//! Shipping: the mTLS stream to the collector.
//!
//! One stream at a time. Events go up in order, at most [`session::WINDOW`] ahead of the
//! acknowledgements; when the stream breaks, the next one goes on after what the collector says it has.
//! Each batch goes with a head that is signed with this node's key and names the head before it ([`chain`]).
//! What is told of baselines goes over the same stream, a message at a time, and waits for nothing else than itself.
//! Nothing is given up: a collector that cannot be reached is tried again with growing, jittered delays. Where there are
//! several, the next one is tried at once ([`route`]), or after a while where one cannot store or says nothing any more
//! ([`patience`]), and is told what the others hold ([`holders`]).

mod chain;
mod checkpoints;
mod holders;
mod patience;
mod route;
mod session;
mod tls;
mod unanswered;

use crate::config::CollectorTarget;
use crate::fleet::ShippingEnd;
use crate::outbox::SpoolReader;
use crate::retry;
use chain::Chain;
use holders::Holders;
use norma_wire::Event;
use norma_wire::pb::Hello;
use patience::Patience;
use route::{Place, Route};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

pub use checkpoints::Checkpoints;
pub(crate) use session::causes;

/// Name that the collector's certificate must carry.
#[derive(Clone, Debug)]
pub struct TlsName(pub(crate) rustls_pki_types::ServerName<'static>);

impl TlsName {
    /// A DNS name or an IP address.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        rustls_pki_types::ServerName::try_from(text.to_owned())
            .map(Self)
            .map_err(|_| anyhow::anyhow!("`{text}` is neither a DNS name nor an IP address"))
    }
}

/// A connection to a collector with this node's identity, for something else than events.
pub(crate) async fn channel(target: &CollectorTarget) -> Result<tonic::transport::Channel, ShipError> {
    let identity = tls::identity(target)?;
    let mut route = Route::new(target);
    loop {
        let place = route.next().await;
        match session::connect(target, &place, Arc::clone(&identity.config)).await {
            Ok(channel) => return Ok(channel),
            Err(error) => {
                if !route.failed(place).await {
                    return Err(error);
                }
            }
        }
    }
}

/// First delay after a stream broke.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// Longest delay.
const LAST_DELAY: Duration = Duration::from_secs(30);

/// How shipping goes, for telemetry.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ShipStatus {
    /// A stream is open and welcomed.
    pub connected: bool,
    /// Where the collector of that stream is, or of the last one.
    pub address: Option<String>,
    /// Name of its audit log.
    pub log: Option<String>,
    /// Why the last stream ended or could not be opened.
    pub last_error: Option<String>,
    /// Streams that were opened.
    pub sessions: u64,
    /// Events that the collector refused to take as events.
    pub rejected: u64,
    /// How often a collector was left because it could not store for long.
    pub left_busy: u64,
    /// How often one was left because it acknowledged nothing and did not say why.
    pub left_silent: u64,
    /// Which one was left last, and why.
    pub last_left: Option<String>,
    /// From a batch's sending to its acknowledgement.
    #[serde(skip)]
    pub answers: Arc<norma_metrics::Histogram>,
}

/// The status, shared.
pub type SharedStatus = Arc<Mutex<ShipStatus>>;

/// What ended a stream.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// This node's certificate, key or CA cannot be used.
    #[error(transparent)]
    Identity(#[from] tls::IdentityError),
    /// Its key does not sign.
    #[error("cannot sign what is sent: {0}")]
    Sign(#[from] rustls::Error),
    /// No connection.
    #[error("cannot connect to the collector at {address}: {reason}")]
    Connect {
        /// Where.
        address: String,
        /// Why, with causes.
        reason: String,
    },
    /// The collector ended the stream.
    #[error("the collector ended the stream: {0}")]
    Stream(String),
    /// The collector cannot store at the moment.
    #[error("the collector cannot store now: {detail}")]
    Busy {
        /// Why.
        detail: String,
        /// After which time it wants to be asked again.
        retry_after: Duration,
    },
    /// The collector could not store for so long that another one is tried.
    #[error("the collector still cannot store: {0}")]
    StaysBusy(String),
    /// The collector took events, and neither acknowledged them nor said why not.
    #[error(
        "the collector has acknowledged nothing for {} s of what it was sent (collector.answer_timeout): does it hang, or \
         its disk?", .0.as_secs()
    )]
    Silent(Duration),
    /// Another outbox delivered under this epoch.
    #[error(
        "the collector holds events up to {0} of this epoch that are not those of this outbox; its own get new places first"
    )]
    Foreign(u64),
    /// It cannot be noted who is to hold what.
    #[error("cannot note to which audit log events go: {0}")]
    Holders(std::io::Error),
    /// The spool cannot be read.
    #[error("cannot read the outbox: {0}")]
    Spool(#[from] std::io::Error),
}

/// What the collector holds that this spool did not expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What was expected.
    AsExpected,
    /// Events up to this sequence that are not those of this spool: the node's disk was set back, or is a copy. What was
    /// not delivered gets places after that first.
    Foreign(u64),
    /// Less than it had acknowledged: the collector was set back.
    Behind {
        /// Up to which sequence it holds events now.
        holds: u64,
        /// Up to which it had acknowledged them.
        acknowledged: u64,
    },
}

/// What is shipped, where to, and who is told.
pub struct Shipping {
    /// The collector.
    pub target: CollectorTarget,
    /// This node.
    pub hello: Hello,
    /// The events.
    pub reader: SpoolReader,
    /// What goes over the stream beside them.
    pub beside: Beside,
    /// Told how it goes.
    pub status: SharedStatus,
    /// Told what the collector holds that was not expected.
    pub standing: watch::Sender<Standing>,
    /// Where the newest acknowledged head is remembered.
    pub chain_file: PathBuf,
}

/// What goes over the stream beside the events.
#[derive(Debug)]
pub struct Beside {
    /// What was learned of workloads; `None` where this node tells nothing.
    pub fleet: Option<ShippingEnd>,
    /// What collectors promise of their audit logs.
    pub promises: Promises,
}

/// What this node remembers of collectors' audit logs, and where it says that one took something back.
#[derive(Debug)]
pub struct Promises {
    /// What is remembered.
    pub checkpoints: Checkpoints,
    /// Takes the events.
    pub events: std::sync::mpsc::Sender<Event>,
}

impl Promises {
    fn hear(&mut self, address: &str, checkpoint: &norma_wire::pb::Checkpoint) {
        let event = tokio::task::block_in_place(|| self.checkpoints.hear(address, checkpoint));
        if event.is_some_and(|event| self.events.send(event).is_err()) {
            tracing::error!(
                collector = address,
                "the audit log took back what it had promised"
            );
        }
    }
}

/// Notes that a collector is left that could be reached, if that is why a stream ended.
fn note_left(error: &ShipError, place: &Place, status: &SharedStatus) -> bool {
    let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
    match error {
        ShipError::StaysBusy(_) => status.left_busy += 1,
        ShipError::Silent(_) => status.left_silent += 1,
        _ => return false,
    }
    status.last_left = Some(format!("{}: {error}", place.at.address));
    true
}

/// Ships until `stop` says so, and then until everything is acknowledged or the caller's patience ends.
pub async fn run(shipping: Shipping, mut stop: watch::Receiver<bool>) {
    let Shipping {
        target,
        mut hello,
        mut reader,
        mut beside,
        status,
        standing,
        chain_file,
    } = shipping;
    let new_delays = || retry::delays(FIRST_DELAY, LAST_DELAY);
    let mut delays = new_delays();
    let mut chain = Chain::open(&chain_file, &hello.node, hello.epoch);
    let holders_file = chain_file.with_file_name("holders");
    let mut holders = Holders::open(&holders_file, &hello.node, hello.epoch, reader.durable());
    let mut route = Route::new(&target);
    let mut patience = Patience::new(target.answer_timeout);
    let mut identity = None;
    loop {
        beside.promises.checkpoints.tell(&mut hello);
        let place = route.next().await;
        let is_only = !route.has_others(&place).await;
        let ends = session::Ends {
            target: &target,
            place: &place,
            is_only,
            hello: &hello,
            status: &status,
            standing: &standing,
        };
        let result = session::run(
            &ends,
            &mut identity,
            &mut reader,
            session::Memory {
                chain: &mut chain,
                holders: &mut holders,
                patience: &mut patience,
            },
            &mut beside,
            &mut stop,
        )
        .await;
        chain.save(reader.acked());
        let was_connected = {
            let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
            status.last_error = result.as_ref().err().map(ToString::to_string);
            std::mem::take(&mut status.connected)
        };
        if was_connected {
            delays = new_delays();
        }
        let error = match result {
            Ok(session::Ended::Drained) => return,
            Ok(session::Ended::NewIdentity) => {
                route.worked(place);
                tracing::info!("certificate files changed; connecting anew with them");
                continue;
            }
            Err(error) => error,
        };
        if note_left(&error, &place, &status) {
            patience.over();
            if !is_only {
                tracing::warn!(%error, collector = place.at.address, "leaving it for the next collector");
                route.left(place);
                continue;
            }
        }
        if was_connected {
            route.worked(place);
        } else if route.failed(place).await && !*stop.borrow() {
            tracing::warn!(%error, "not shipping there; trying the next collector");
            continue;
        }
        let mut delay = delays.next().unwrap_or(LAST_DELAY);
        if let ShipError::Busy { retry_after, .. } = &error {
            delay = delay.max(*retry_after);
        }
        tracing::warn!(%error, retry_in = ?delay, backlog = reader.durable().saturating_sub(reader.acked()), "not shipping");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            changed = stop.changed() => if changed.is_err() { return; }
        }
        if *stop.borrow() && reader.acked() >= reader.durable() {
            return;
        }
    }
}
