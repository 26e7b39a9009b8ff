//! Legal holds: both roles see them, operators place and release them.
//!
//! A request is an administrative record under the name in the certificate, and what comes of it is the hold's own record,
//! which has that name as well.

use super::desk::{Desk, asked};
use crate::archive::holds::{self, ChangeError, Holds, check, scope};
use crate::ingest::Peer;
use norma_wire::api::{
    Hold, HoldOn, HoldsReply, PlaceHoldReply, PlaceHoldRequest, ReleaseHoldReply, ReleaseHoldRequest,
};
use norma_wire::audit::{AdministrativeAct as Act, HoldPlaced, HoldReleased, HoldScope};
use tonic::{Response, Status};

/// Longest reason, and name of who wants something, in bytes.
const MAX_WORDS: usize = 4096;

/// What is done with holds.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Records who asks.
    pub desk: Desk,
    /// The holds.
    pub holds: Holds,
}

impl Holding {
    /// Those in force.
    pub async fn list(&self, peer: &Peer) -> Result<Response<HoldsReply>, Status> {
        self.desk
            .record(peer, Act::Holds, "the holds in force", Vec::new())
            .await?;
        let in_force = self.holds.in_force().await;
        let holds = in_force.list().map(told).collect();
        Ok(Response::new(HoldsReply { holds }))
    }

    /// Places one.
    pub async fn place(
        &self,
        peer: &Peer,
        request: PlaceHoldRequest,
    ) -> Result<Response<PlaceHoldReply>, Status> {
        let PlaceHoldRequest { on, reason, who } = request;
        let on = on.unwrap_or_default();
        let everything = on.everything;
        let wanted = HoldScope {
            node: on.node,
            namespace: on.namespace,
            from_wall_ns: on.from_wall_ns,
            to_wall_ns: on.to_wall_ns,
            segment: on.segment,
        };
        let object = scope(Some(&wanted));
        let checked = check(&wanted, everything).and_then(|()| check_words(&reason, &who));
        if let Err(why) = checked {
            let why = Status::invalid_argument(why);
            return Err(self.desk.refuse(peer, Act::Hold, object, why).await);
        }
        let id = holds::new_id().ok_or_else(|| Status::internal("the system gives no random bytes"))?;
        let facts = vec![asked("hold", &id), asked("reason", &reason), asked("who", &who)];
        self.desk.record(peer, Act::Hold, object, facts).await?;
        let placed = HoldPlaced {
            id: id.clone(),
            scope: Some(wanted),
            reason,
            who,
            uid: own_uid(),
            actor: peer.who.to_string(),
        };
        self.holds.place(placed).await.map_err(|error| undone(&error))?;
        Ok(Response::new(PlaceHoldReply { id }))
    }

    /// Releases one.
    pub async fn release(
        &self,
        peer: &Peer,
        request: ReleaseHoldRequest,
    ) -> Result<Response<ReleaseHoldReply>, Status> {
        let ReleaseHoldRequest { id, reason, who } = request;
        let is_there = self.holds.in_force().await.list().any(|hold| hold.id == id);
        let checked = if is_there {
            check_words(&reason, &who).map_err(Status::invalid_argument)
        } else {
            Err(undone(&ChangeError::Unknown(id.clone())))
        };
        if let Err(why) = checked {
            return Err(self.desk.refuse(peer, Act::HoldRelease, id, why).await);
        }
        let facts = vec![asked("reason", &reason), asked("who", &who)];
        self.desk
            .record(peer, Act::HoldRelease, id.clone(), facts)
            .await?;
        let released = HoldReleased {
            id,
            reason,
            who,
            uid: own_uid(),
            actor: peer.who.to_string(),
        };
        self.holds
            .release(released)
            .await
            .map_err(|error| undone(&error))?;
        Ok(Response::new(ReleaseHoldReply {}))
    }
}

fn own_uid() -> u32 {
    rustix::process::getuid().as_raw()
}

fn check_words(reason: &str, who: &str) -> Result<(), &'static str> {
    if reason.trim().is_empty() || who.trim().is_empty() {
        return Err("say why, and who wants it");
    }
    if reason.len() > MAX_WORDS || who.len() > MAX_WORDS {
        return Err("reason and name take 4,096 bytes each");
    }
    Ok(())
}

fn undone(error: &ChangeError) -> Status {
    match error {
        ChangeError::Unknown(_) => Status::not_found(error.to_string()),
        ChangeError::Log(_) => Status::unavailable(error.to_string()),
        ChangeError::File(_) => Status::internal(error.to_string()),
    }
}

fn told(hold: &holds::Hold) -> Hold {
    let on = hold.scope();
    Hold {
        id: hold.id.clone(),
        on: Some(HoldOn {
            everything: on == HoldScope::default(),
            node: on.node,
            namespace: on.namespace,
            from_wall_ns: on.from_wall_ns,
            to_wall_ns: on.to_wall_ns,
            segment: on.segment,
        }),
        reason: hold.reason.clone(),
        who: hold.who.clone(),
        actor: hold.actor.clone(),
        uid: hold.uid,
        placed_wall_ns: hold.placed_wall_ns,
    }
}
