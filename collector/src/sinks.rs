//! Forwarding: each sink reads the audit log with a cursor of its own.
//!
//! Delivery is at least once. Syslog has no acknowledgement, so a message counts as delivered when the
//! connection on which it was flushed was still alive some time later, or was closed in order by both sides; on
//! any break everything since is sent again. A message that comes twice carries the same event id. A sink that
//! cannot deliver delays itself and nobody else: the audit log is its queue.

mod cursor;
mod session;
mod syslog;

pub use session::SinkError;

use crate::audit::AuditLog;
use crate::config::Config;
use session::Sink;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long sinks may take to send the rest and to end their connections in order.
const DRAIN: Duration = Duration::from_secs(5);

/// Running sinks.
#[derive(Debug)]
pub struct Sinks {
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Starts every sink that is configured.
pub fn start(config: &Config, log: &AuditLog) -> Result<Sinks, SinkError> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    for sink in &config.sinks {
        let sink = Sink::open(sink.clone(), &config.cursor_dir(), log)?;
        tasks.spawn(sink.run(stop.clone()));
    }
    tasks.close();
    Ok(Sinks { tasks, stop })
}

/// How far all sinks have read the log.
#[derive(Clone, Debug)]
pub struct Delivered {
    cursors: Vec<PathBuf>,
}

impl Delivered {
    /// Of the sinks of a configuration.
    pub fn of(config: &Config) -> Self {
        let folder = config.cursor_dir();
        let cursors = config.sinks.iter().map(|sink| folder.join(&sink.name));
        Self {
            cursors: cursors.collect(),
        }
    }

    /// Every record up to this one was delivered by all of them.
    pub fn through(&self) -> u64 {
        self.each().map(|(_, through)| through).min().unwrap_or(u64::MAX)
    }

    /// Every sink by its name, and up to which record it has delivered all.
    pub fn each(&self) -> impl Iterator<Item = (String, u64)> {
        self.cursors.iter().map(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let text = std::fs::read_to_string(path).unwrap_or_default();
            (name, text.trim().parse::<u64>().unwrap_or(1).saturating_sub(1))
        })
    }
}

impl Sinks {
    /// Lets each sink send what is there, as far as that goes at once, and ends them.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "a sink did not end in time; what it had not delivered is sent after the next start"
            );
        }
    }
}
