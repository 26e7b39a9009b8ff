//! One sink: connect, send what is new, move the cursor over what has settled, and begin again on a break.

use super::cursor::Cursor;
use super::syslog::{Message, Receiver, ReceiverError};
use crate::audit::{AuditLog, Follower, Head, ReadError};
use crate::config::{Send, SinkConfig};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

/// A message counts as delivered when its connection is still alive so long after it was flushed: longer than a
/// reset from a receiver that is gone takes on any sane network.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the cursor is moved.
const CURSOR_INTERVAL: Duration = Duration::from_millis(500);
/// Records read at a time.
const CHUNK: usize = 512;
/// A receiver that takes nothing for so long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a receiver may take to close its side once everything is sent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why a sink cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Its cursor cannot be used.
    #[error("cannot use the cursor of sink {name} in {}: {source}", directory.display())]
    Cursor {
        /// The sink.
        name: String,
        /// Where its cursor lies.
        directory: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Its certificates cannot be used.
    #[error("sink {name}: {source}")]
    Receiver {
        /// The sink.
        name: String,
        /// What is wrong.
        source: ReceiverError,
    },
}

/// A sink and what it needs.
#[derive(Debug)]
pub struct Sink {
    name: String,
    send: Send,
    receiver: Receiver,
    cursor: Cursor,
    directory: PathBuf,
    head: watch::Receiver<Head>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error("the receiver closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("the receiver took nothing for {WRITE_TIMEOUT:?}")]
    Stuck,
    #[error(transparent)]
    Read(#[from] ReadError),
}

type Tls = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

impl Sink {
    /// Prepares a sink; it is not connected yet.
    pub fn open(config: SinkConfig, cursors: &Path, log: &AuditLog) -> Result<Self, SinkError> {
        let name = config.name;
        let mut cursor = Cursor::open(cursors, &name).map_err(|source| SinkError::Cursor {
            name: name.clone(),
            directory: cursors.to_owned(),
            source,
        })?;
        // A new sink begins with what is still there; it could not have what policy removed before.
        if let Some(first) = log.first_after_removed(cursor.next_index()) {
            tracing::warn!(
                sink = name,
                from = cursor.next_index(),
                to = first,
                "records were removed by policy before this sink was there; it begins after them"
            );
            cursor.advance(first).map_err(|source| SinkError::Cursor {
                name: name.clone(),
                directory: cursors.to_owned(),
                source,
            })?;
        }
        let send = config.syslog.send;
        let receiver = Receiver::new(config.syslog).map_err(|source| SinkError::Receiver {
            name: name.clone(),
            source,
        })?;
        Ok(Self {
            name,
            send,
            receiver,
            cursor,
            directory: log.directory(),
            head: log.head(),
        })
    }

    /// Delivers until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let retries = ExponentialBuilder::default()
            .with_min_delay(FIRST_RETRY)
            .with_max_delay(LAST_RETRY)
            .without_max_times()
            .with_jitter();
        let mut delays = retries.build();
        while !stop.is_cancelled() {
            let connected = tokio::select! {
                connected = self.receiver.connect() => connected,
                () = stop.cancelled() => return,
            };
            let since = Instant::now();
            let sink = &self.name;
            let reason = match connected {
                Ok(tls) => {
                    tracing::info!(sink, next_record = self.cursor.next_index(), "connected");
                    match self.session(tls, &stop).await {
                        Ok(()) => return,
                        Err(reason) => reason.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            if since.elapsed() > SETTLE {
                delays = retries.build();
            }
            let delay = delays.next().unwrap_or(LAST_RETRY);
            let waiting = (self.head.borrow().index + 1).saturating_sub(self.cursor.next_index());
            tracing::warn!(
                sink = self.name,
                reason,
                ?delay,
                waiting_records = waiting,
                "not delivering"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Delivers over one connection; returns without an error when told to stop.
    async fn session(&mut self, tls: Tls, stop: &CancellationToken) -> Result<(), Break> {
        let (mut from, mut to) = tokio::io::split(tls);
        let mut follower = Follower::new(&self.directory, self.cursor.next_index());
        let mut unsettled = VecDeque::new();
        let mut cursor_ticks = interval(CURSOR_INTERVAL);
        cursor_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut head = self.head.clone();
        head.mark_changed();
        loop {
            tokio::select! {
                biased;
                end = peer_end(&mut from) => return Err(end),
                () = stop.cancelled() => break,
                _ = cursor_ticks.tick() => self.settle(&mut unsettled),
                // The log's writer ends before the sinks do; what it wrote is still to be sent.
                changed = head.changed() => {
                    let durable = head.borrow_and_update().index;
                    if self.send_chunk(&mut follower, durable, &mut to).await? {
                        unsettled.push_back((Instant::now(), follower.next_index()));
                    }
                    if follower.next_index() <= durable {
                        head.mark_changed();
                    }
                    if changed.is_err() {
                        stop.cancelled().await;
                    }
                }
            }
        }
        let durable = head.borrow().index;
        while self.send_chunk(&mut follower, durable, &mut to).await? {}
        self.close(from, to, follower.next_index()).await
    }

    /// Sends the next records; false when there are none.
    async fn send_chunk(
        &self,
        follower: &mut Follower,
        durable: u64,
        to: &mut WriteHalf<Tls>,
    ) -> Result<bool, Break> {
        let records = tokio::task::block_in_place(|| follower.read(durable, CHUNK))?;
        if records.is_empty() {
            return Ok(false);
        }
        let mut frames = Vec::new();
        for record in &records {
            if let Some(message) = Message::of(record, self.send) {
                message.push_frame(&mut frames);
            }
        }
        let written = timeout(WRITE_TIMEOUT, async {
            to.write_all(&frames).await?;
            to.flush().await
        });
        written.await.map_err(|_| Break::Stuck)??;
        Ok(true)
    }

    /// Moves the cursor over what was flushed long enough ago.
    fn settle(&mut self, unsettled: &mut VecDeque<(Instant, u64)>) {
        let mut settled = None;
        while let Some((_, next_index)) = unsettled.pop_front_if(|(flushed, _)| flushed.elapsed() >= SETTLE) {
            settled = Some(next_index);
        }
        if let Some(next_index) = settled {
            self.advance(next_index);
        }
    }

    /// Ends the connection; a receiver that closes it in turn has read everything.
    async fn close(
        &mut self,
        mut from: ReadHalf<Tls>,
        mut to: WriteHalf<Tls>,
        next_index: u64,
    ) -> Result<(), Break> {
        let closed = timeout(CLOSE_TIMEOUT, async {
            to.shutdown().await?;
            Ok::<_, io::Error>(matches!(peer_end(&mut from).await, Break::Closed))
        });
        if matches!(closed.await, Ok(Ok(true))) {
            self.advance(next_index);
        } else {
            tracing::info!(
                sink = self.name,
                "the receiver did not close; the newest messages are sent again"
            );
        }
        Ok(())
    }

    fn advance(&mut self, next_index: u64) {
        if let Err(error) = self.cursor.advance(next_index) {
            let sink = &self.name;
            tracing::warn!(sink, %error, "cannot move the cursor; a restart would send messages again");
        }
    }
}

/// Waits until the receiver ends the connection; a syslog receiver never says anything else.
async fn peer_end(from: &mut ReadHalf<Tls>) -> Break {
    let mut ignored = [0; 512];
    loop {
        match from.read(&mut ignored).await {
            Ok(0) => return Break::Closed,
            Ok(_) => {}
            Err(error) => return Break::Broken(error),
        }
    }
}
