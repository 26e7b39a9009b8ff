//! Who asks, whether they may, and that it is on record.

use crate::administration::{self, fact};
use crate::audit::AuditLog;
use crate::clock::wall_ns;
use crate::ingest::{Admission, Peer, Refusals};
use crate::pki::Role;
use norma_wire::api::StatusReply;
use norma_wire::audit::{Administration, AdministrativeAct as Act};
use norma_wire::pb::Attribute;
use norma_wire::text::printable;
use tonic::{Request, Status};

/// Longest text of a request that is recorded, in characters.
const MAX_TEXT: usize = 200;

/// What each service needs.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Where requests are recorded.
    pub log: AuditLog,
    /// Where refusals go.
    pub refusals: Refusals,
    /// Who may stay.
    pub admission: Admission,
}

impl Desk {
    /// Who asks; refused where the certificate is of another role than `role` or no longer counts.
    pub fn caller<T>(&self, request: &Request<T>, role: Role) -> Result<Peer, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        let reason = if peer.who.role() == role {
            let expired = peer.expires <= tokio::time::Instant::now();
            match self.admission.objection(&peer.chain) {
                None if expired => "the client certificate has expired".to_owned(),
                None => return Ok(peer),
                Some(objection) => objection,
            }
        } else {
            format!("{} asks for what only an {} may", peer.who, role.as_str())
        };
        self.refusals.refuse(peer.address, &reason, peer.who.node());
        Err(Status::permission_denied(reason))
    }

    /// Records what is asked for; nothing is answered that is not on record.
    pub async fn record(
        &self,
        peer: &Peer,
        act: Act,
        object: impl Into<String>,
        facts: Vec<Attribute>,
    ) -> Result<(), Status> {
        self.note(peer, act, object.into(), facts, String::new()).await
    }

    /// Records what was asked for and is not done, and gives what to answer.
    pub async fn refuse(&self, peer: &Peer, act: Act, object: impl Into<String>, why: Status) -> Status {
        let reason = why.message().to_owned();
        match self.note(peer, act, object.into(), Vec::new(), reason).await {
            Ok(()) => why,
            Err(error) => error,
        }
    }

    async fn note(
        &self,
        peer: &Peer,
        act: Act,
        object: String,
        facts: Vec<Attribute>,
        refused: String,
    ) -> Result<(), Status> {
        let done = Administration {
            actor: peer.who.to_string(),
            act: act.into(),
            object: short(&object),
            facts,
            peer: peer.address.ip().to_canonical().to_string(),
            refused: short(&refused),
        };
        administration::record(&self.log, done)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))
    }

    /// How the collector is, for who asks.
    pub async fn status(&self, peer: &Peer) -> Result<StatusReply, Status> {
        self.record(peer, Act::Status, "the collector", Vec::new())
            .await?;
        let promises = self.log.promises();
        let head = *self.log.head().borrow();
        Ok(StatusReply {
            collector_version: env!("CARGO_PKG_VERSION").to_owned(),
            origin: promises.key().name().to_owned(),
            records: head.index,
            head: head.to_string(),
            checkpoint_size: promises.newest().map_or(0, |(checkpoint, _)| checkpoint.size),
            wall_ns: wall_ns(),
        })
    }
}

/// A fact of a request, as much of it as is recorded.
pub fn asked(name: &str, value: &str) -> Attribute {
    fact(name, short(value))
}

fn short(text: &str) -> String {
    printable(text.as_bytes()).chars().take(MAX_TEXT).collect()
}
