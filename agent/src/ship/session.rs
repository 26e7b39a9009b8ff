//! One stream to the collector, from handshake to its end.

use super::chain::Chain;
use super::holders::Holders;
use super::patience::Patience;
use super::route::Place;
use super::unanswered::Unanswered;
use super::{Beside, SharedStatus, ShipError, Standing, tls};
use crate::config::{CollectorAddress, CollectorTarget};
use crate::fleet::ShippingEnd;
use crate::outbox::SpoolReader;
use hyper_util::rt::TokioIo;
use norma_wire::head;
use norma_wire::pb::ingest_client::IngestClient;
use norma_wire::pb::{Ack, Batch, BatchHead, Hello, ToCollector, Welcome, to_agent, to_collector};
use prost::Message as _;
use rustls::ClientConfig;
use std::error::Error;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};

/// Most events that are sent and not acknowledged.
pub const WINDOW: u64 = 16_384;
/// Most events of a batch.
const BATCH_EVENTS: usize = 1_024;
/// Size at which a batch is closed, in bytes of events.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that wait in memory for the network.
const QUEUED_BATCHES: usize = 4;
/// And what is told of baselines.
const QUEUED: usize = QUEUED_BATCHES + 1;
/// What the fleet knows of a workload comes in one message; the collector stays below.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const WELCOME_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE: Duration = Duration::from_secs(15);
/// While events trickle, those of this time go together: each batch costs a signature.
const PACE: Duration = Duration::from_millis(25);
/// How often the newest acknowledged head is remembered on the disk.
const REMEMBER: Duration = Duration::from_secs(1);
/// How often the identity files are looked at.
const IDENTITY_CHECK: Duration = Duration::from_secs(10);

/// How a stream ended without an error.
pub enum Ended {
    /// The agent stops and everything is acknowledged.
    Drained,
    /// Certificate files were replaced.
    NewIdentity,
}

/// What a stream goes between, and whom it tells how it goes.
pub struct Ends<'a> {
    /// The collectors.
    pub target: &'a CollectorTarget,
    /// The one that is tried.
    pub place: &'a Place,
    /// There is no other one.
    pub is_only: bool,
    /// This node.
    pub hello: &'a Hello,
    /// Told how it goes.
    pub status: &'a SharedStatus,
    /// Told what the collector holds that was not expected.
    pub standing: &'a watch::Sender<Standing>,
}

/// What is remembered from stream to stream.
pub struct Memory<'a> {
    /// What was signed.
    pub chain: &'a mut Chain,
    /// Who holds what.
    pub holders: &'a mut Holders,
    /// Who cannot store.
    pub patience: &'a mut Patience,
}

/// Opens a stream and ships until it ends. `identity` is the last one that could be used.
pub async fn run(
    ends: &Ends<'_>,
    identity: &mut Option<tls::Identity>,
    reader: &mut SpoolReader,
    memory: Memory<'_>,
    beside: &mut Beside,
    stop: &mut watch::Receiver<bool>,
) -> Result<Ended, ShipError> {
    let Memory {
        chain,
        holders,
        patience,
    } = memory;
    let Ends {
        target,
        place,
        is_only,
        hello,
        status,
        standing,
    } = *ends;
    let Beside { fleet, promises } = beside;
    let mut fleet = fleet.as_mut();
    let files = tls::fingerprint(target);
    match (tls::identity(target), &*identity) {
        (Ok(current), _) => *identity = Some(current),
        (Err(error @ tls::IdentityError::Unusable { .. }), Some(_)) => {
            tracing::warn!(%error, "keeping the certificate and key from before");
        }
        (Err(error), _) => return Err(error.into()),
    }
    let Some(tls::Identity { config, signer }) = identity.clone() else {
        return Err(ShipError::Stream("there is no certificate".to_owned()));
    };
    let channel = connect(target, place, config).await?;
    let mut client = IngestClient::new(channel)
        .send_compressed(CompressionEncoding::Zstd)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let (outgoing, queue) = mpsc::channel(QUEUED);
    let message = |message| ToCollector {
        message: Some(message),
    };
    let gone = || ShipError::Stream("the connection is closed".to_owned());
    let acknowledged = reader.acked();
    let handover = holders.statement(acknowledged, chain.newest(acknowledged));
    let hello = Hello {
        handover: handover.map(|handover| signer.hand_over(&handover)).transpose()?,
        ..hello.clone()
    };
    outgoing
        .send(message(to_collector::Message::Hello(hello)))
        .await
        .map_err(|_| gone())?;
    let deliver = client.deliver(ReceiverStream::new(queue));
    let mut incoming = tokio::time::timeout(WELCOME_TIMEOUT, deliver)
        .await
        .map_err(|_| ShipError::Stream("no answer".to_owned()))?
        .map_err(|status| ShipError::Stream(explain(target, &status)))?
        .into_inner();

    let first = tokio::time::timeout(WELCOME_TIMEOUT, incoming.message())
        .await
        .map_err(|_| ShipError::Stream("no welcome".to_owned()))?
        .map_err(|status| ShipError::Stream(explain(target, &status)))?;
    let welcome = match first.and_then(|answer| answer.message) {
        Some(to_agent::Message::Welcome(welcome)) => welcome,
        Some(to_agent::Message::Busy(busy)) => return Err(self::busy(busy)),
        _ => return Err(ShipError::Stream("the first answer was not a welcome".to_owned())),
    };
    let by_this = holders.acknowledged_by(&welcome.log, acknowledged);
    let mut sent = resume(reader, chain, &welcome, by_this, standing)?;
    if !welcome.log.is_empty() {
        tokio::task::block_in_place(|| holders.deliver_to(&welcome.log, acknowledged))
            .map_err(ShipError::Holders)?;
    }
    let mut unanswered;
    {
        let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
        status.connected = true;
        status.address = Some(place.at.address.clone());
        status.log = Some(welcome.log.clone()).filter(|log| !log.is_empty());
        status.last_error = None;
        status.sessions += 1;
        unanswered = Unanswered::new(Arc::clone(&status.answers));
    }
    tracing::info!(
        collector = place.at.address,
        log = welcome.log,
        version = welcome.collector_version,
        resume_after = welcome.durable_sequence,
        "shipping"
    );

    if let Some(fleet) = &mut fleet {
        fleet.join().await;
    }
    let mut identity_check = tokio::time::interval(IDENTITY_CHECK);
    let mut remember = tokio::time::interval(REMEMBER);
    let mut paced = tokio::time::Instant::now();
    loop {
        if *stop.borrow() && reader.acked() >= reader.durable() {
            return Ok(Ended::Drained);
        }
        let room = sent.saturating_sub(reader.acked()) < WINDOW;
        let full = reader.durable().saturating_sub(sent) >= BATCH_EVENTS as u64;
        tokio::select! {
            answer = incoming.message() => match answer.map_err(|status| ShipError::Stream(explain(target, &status)))? {
                None => return Err(gone()),
                Some(answer) => {
                if let Some(to_agent::Message::Ack(Ack { checkpoint: Some(checkpoint), .. })) = &answer.message {
                    promises.hear(&place.at.address, checkpoint);
                }
                if let Some(message) = answer.message {
                    let acknowledged = reader.acked();
                    if let to_agent::Message::Busy(_) = &message {
                        patience.busy(place, tokio::time::Instant::now());
                        unanswered.heard(tokio::time::Instant::now());
                    }
                    take(reader, chain, status, fleet.as_deref(), message).await;
                    unanswered.acknowledged(reader.acked(), tokio::time::Instant::now());
                    if reader.acked() > acknowledged {
                        patience.stored();
                    }
                }
            }
            },
            () = until(patience.ends(place)), if !is_only => {
                let last_error = status.lock().unwrap_or_else(PoisonError::into_inner).last_error.clone();
                return Err(ShipError::StaysBusy(last_error.unwrap_or_default()));
            },
            () = until(unanswered.silent_since().map(|since| since + patience.with_silence())) => {
                return Err(ShipError::Silent(patience.with_silence()));
            },
            // Reserved first: a batch that was read is never dropped by another branch. And while there is no room, since
            // the collector reads nothing, what it answers is heard all the same.
            slot = ready(reader, &outgoing, paced, full), if room && !outgoing.is_closed() => {
                let slot = slot.map_err(|_| gone())?;
                let batch = tokio::task::block_in_place(|| reader.next_batch(BATCH_EVENTS, BATCH_BYTES))?;
                if !batch.events.is_empty() {
                    let head = chain.head(&signer, &batch, sent, reader.kernel_lost())?;
                    sent = batch.last;
                    holders.sent(sent);
                    let now = tokio::time::Instant::now();
                    unanswered.sent(sent, now);
                    paced = now + PACE;
                    slot.send(message(to_collector::Message::Batch(Batch {
                        events: batch.events,
                        head: Some(head),
                    })));
                }
            }
            told = next(fleet.as_deref_mut(), &outgoing), if !outgoing.is_closed() => match told {
                (Ok(slot), Some(told)) => slot.send(message(told)),
                (Err(_), _) => return Err(gone()),
                // The judge has ended; what is on the disk is shipped without it.
                (Ok(_), None) => fleet = None,
            },
            _ = identity_check.tick() => {
                if tls::fingerprint(target) != files && tls::identity(target).is_ok() {
                    return Ok(Ended::NewIdentity);
                }
            }
            _ = remember.tick() => chain.save(reader.acked()),
            changed = stop.changed(), if !*stop.borrow() => {
                if changed.is_err() {
                    return Ok(Ended::Drained);
                }
            }
        }
    }
}

/// Finds out where to go on; what comes before is known to be on the stable storage of a collector. `by_this` is what
/// this one acknowledged itself.
fn resume(
    reader: &mut SpoolReader,
    chain: &mut Chain,
    welcome: &Welcome,
    by_this: u64,
    standing: &watch::Sender<Standing>,
) -> Result<u64, ShipError> {
    let (holds, acknowledged) = (welcome.durable_sequence, reader.acked());
    if tokio::task::block_in_place(|| is_foreign(reader, welcome))? {
        standing.send_replace(Standing::Foreign(holds));
        return Err(ShipError::Foreign(holds));
    }
    if holds < by_this {
        standing.send_replace(Standing::Behind {
            holds,
            acknowledged: by_this,
        });
    }
    // What was acknowledged is gone from the spool, even if this collector has forgotten it.
    let after = chain.resume(holds, welcome.head.as_ref(), acknowledged);
    reader.resume_after(after);
    Ok(after)
}

/// Whether what the collector holds beyond what it acknowledged cannot be what this spool has there.
///
/// Only what was on the disk is ever sent, so a collector that holds more has it from an earlier life of this disk, or
/// from a copy. Where it holds less, its newest batch head says of which events it is.
fn is_foreign(reader: &SpoolReader, welcome: &Welcome) -> Result<bool, ShipError> {
    let (holds, acknowledged, durable) = (welcome.durable_sequence, reader.acked(), reader.durable());
    if holds <= acknowledged {
        return Ok(false);
    }
    if holds > durable {
        return Ok(true);
    }
    let head = welcome
        .head
        .as_ref()
        .and_then(|signed| BatchHead::decode(&signed.head[..]).ok());
    let Some(head) = head.filter(|head| {
        head.epoch == reader.epoch() && head.first_sequence > acknowledged && head.last_sequence <= durable
    }) else {
        return Ok(false);
    };
    let events = reader.range(head.first_sequence, head.last_sequence)?;
    if events.len() as u64 != head.last_sequence - head.first_sequence + 1 {
        // Some were dropped here since: it cannot be told.
        return Ok(false);
    }
    let hashes: Vec<_> = events.iter().map(|event| head::hash(event)).collect();
    Ok(head.events != hashes.len() as u64 || head.digest != head::digest(&hashes))
}

type Outgoing = mpsc::Sender<ToCollector>;
type Slot<'a> = Result<mpsc::Permit<'a, ToCollector>, mpsc::error::SendError<()>>;

/// Waits until there is something to read, until it is time for another batch where that is not a `full` one, and until
/// there is room for it on the way.
async fn ready<'a>(
    reader: &mut SpoolReader,
    outgoing: &'a Outgoing,
    paced: tokio::time::Instant,
    full: bool,
) -> Slot<'a> {
    reader.ready().await;
    if !full {
        tokio::time::sleep_until(paced).await;
    }
    outgoing.reserve().await
}

/// Waits until then, or for ever.
async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// What is to be told of baselines, with room for it on the way; nothing ever, where this node tells nothing.
async fn next<'a>(
    fleet: Option<&mut ShippingEnd>,
    outgoing: &'a Outgoing,
) -> (Slot<'a>, Option<to_collector::Message>) {
    match fleet {
        Some(fleet) => (outgoing.reserve().await, fleet.next().await),
        None => std::future::pending().await,
    }
}

async fn take(
    reader: &SpoolReader,
    chain: &mut Chain,
    status: &SharedStatus,
    fleet: Option<&ShippingEnd>,
    message: to_agent::Message,
) {
    match message {
        to_agent::Message::Ack(ack) => {
            reader.acknowledge(ack.through.min(reader.durable()));
            chain.acknowledged(reader.acked());
        }
        to_agent::Message::Rejection(rejection) => {
            let reason = norma_wire::pb::RejectionReason::try_from(rejection.reason).map_or_else(
                |_| rejection.reason.to_string(),
                |reason| reason.as_str_name().to_owned(),
            );
            tracing::error!(
                sequence = rejection.sequence,
                reason,
                detail = rejection.detail,
                "the collector rejected an event"
            );
            status.lock().unwrap_or_else(PoisonError::into_inner).rejected += 1;
        }
        // The collector tries again by itself and acknowledges when it can store.
        to_agent::Message::Busy(busy) => {
            tracing::warn!(
                detail = busy.detail,
                "the collector cannot store now; what is not acknowledged stays in the outbox"
            );
            status.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(busy.detail);
        }
        to_agent::Message::Welcome(_) => {}
        of_baselines => {
            if let Some(fleet) = fleet {
                fleet.hear(of_baselines).await;
            }
        }
    }
}

fn busy(busy: norma_wire::pb::Busy) -> ShipError {
    ShipError::Busy {
        detail: busy.detail,
        retry_after: Duration::from_millis(busy.retry_after_ms.into()),
    }
}

pub(super) async fn connect(
    target: &CollectorTarget,
    place: &Place,
    config: Arc<ClientConfig>,
) -> Result<Channel, ShipError> {
    let connector = TlsConnector::from(config);
    let CollectorAddress { address, server_name } = place.at.clone();
    let failed = |reason: String| ShipError::Connect {
        address: match place.socket {
            Some(socket) if socket.to_string() != place.at.address => {
                format!("{} ({socket})", place.at.address)
            }
            _ => place.at.address.clone(),
        },
        reason,
    };
    // The URI only gives HTTP/2 its authority; the connection is made by the connector.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| failed(error.to_string()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let socket = place.socket;
    let service = tower::service_fn(move |_: http::Uri| {
        let (connector, address, name) = (connector.clone(), address.clone(), server_name.clone());
        async move {
            let tcp = match socket {
                Some(socket) => TcpStream::connect(socket).await?,
                None => TcpStream::connect(&address).await?,
            };
            tcp.set_nodelay(true)?;
            let stream = connector.connect(name, tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    endpoint
        .connect_with_connector(service)
        .await
        .map_err(|error| failed(explain_text(target, causes(&error))))
}

/// An error with its causes, which is where the reason mostly is.
pub(crate) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

/// A gRPC status in words. With TLS 1.3 a refused client certificate shows only after the handshake, as a
/// broken connection.
fn explain(target: &CollectorTarget, status: &tonic::Status) -> String {
    explain_text(target, format!("{:?}: {}", status.code(), causes(status)))
}

fn explain_text(target: &CollectorTarget, text: String) -> String {
    if text.contains("received fatal alert") {
        return format!(
            "it does not accept this node's certificate {}: is it valid, and issued by the authority that the \
             collector trusts (tls.client_ca)? ({text})",
            target.certificate.display()
        );
    }
    text
}
