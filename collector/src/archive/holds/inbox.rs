//! How a hold gets to the collector, and what becomes of it: files in `holds/inbox/` of the state directory.

use super::{ChangeError, Holds};
use crate::archive::inbox::{self, Inbox, Outcome, Undone};
use norma_wire::audit::{HoldPlaced, HoldReleased, HoldScope};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const REQUEST: &str = "hold";
/// How often the collector looks.
const EVERY: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// A new hold.
    Place {
        /// Its name.
        id: String,
        /// Only of this node.
        node: Option<String>,
        /// Only of this namespace.
        namespace: Option<String>,
        /// Only from this time on, nanoseconds since 1970.
        from_wall_ns: Option<u64>,
        /// Only up to this time.
        to_wall_ns: Option<u64>,
        /// Only of this segment.
        segment: Option<u64>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// The end of one.
    Release {
        /// Its name.
        id: String,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
}

/// Takes what is handed over until told to stop.
pub fn take(directory: &Path, holds: Holds, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let mut inbox = Inbox::open(directory, REQUEST)?;
    Ok(tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            for path in inbox.waiting() {
                let done = carry_out(&path, &holds).await;
                inbox::settle(&path, done);
            }
        }
    }))
}

async fn carry_out(path: &Path, holds: &Holds) -> Result<(), Undone> {
    let (wish, uid) = inbox::read::<Wish>(path)?;
    let (Wish::Place { reason, who, .. } | Wish::Release { reason, who, .. }) = &wish;
    inbox::check_words(reason, who)?;
    let done = match wish {
        Wish::Place {
            id,
            node,
            namespace,
            from_wall_ns,
            to_wall_ns,
            segment,
            reason,
            who,
        } => {
            let scope = HoldScope {
                node: node.unwrap_or_default(),
                namespace: namespace.unwrap_or_default(),
                from_wall_ns: from_wall_ns.unwrap_or_default(),
                to_wall_ns: to_wall_ns.unwrap_or_default(),
                segment,
            };
            let scope = Some(scope);
            let placed = HoldPlaced {
                id,
                scope,
                reason,
                who,
                uid,
                actor: String::new(),
            };
            holds.place(placed).await
        }
        Wish::Release { id, reason, who } => {
            let released = HoldReleased {
                id,
                reason,
                who,
                uid,
                actor: String::new(),
            };
            holds.release(released).await
        }
    };
    done.map_err(|error| match error {
        ChangeError::Unknown(_) => Undone::Refused(error.to_string()),
        ChangeError::Log(_) | ChangeError::File(_) => {
            tracing::error!(%error, "a legal hold cannot be recorded; trying again");
            Undone::Later
        }
    })
}

/// Hands a wish over, and waits for what becomes of it.
///
/// # Errors
/// It cannot be put there.
pub fn hand_over(directory: &Path, wish: &Wish) -> io::Result<Outcome> {
    inbox::hand_over(directory, REQUEST, wish)
}
