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
