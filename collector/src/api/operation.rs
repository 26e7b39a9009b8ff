//! What operators ask.

use super::desk::{Desk, asked};
use super::holding::Holding;
use crate::enrolment::Issuer;
use crate::enrolment::token::{LIFETIME, Tokens};
use crate::pki::{NodeName, Role};
use norma_baseline::file;
use norma_baseline::overlay::Overlay;
use norma_baseline_command::inbox::{self, Outcome};
use norma_wire::api::operation_server::Operation;
use norma_wire::api::{
    DecideReply, DecideRequest, HoldsReply, HoldsRequest, PlaceHoldReply, PlaceHoldRequest, ReleaseHoldReply,
    ReleaseHoldRequest, StatusReply, StatusRequest, TokenReply, TokenRequest,
};
use norma_wire::audit::AdministrativeAct as Act;
use std::path::PathBuf;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// Longest that a token made here is good.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The service.
#[derive(Debug)]
pub struct OperationService {
    /// Knows who asks.
    pub desk: Desk,
    /// Does what is asked of legal holds.
    pub holding: Holding,
    /// Issues certificates; `None` where the collector does not.
    pub issuer: Option<Issuer>,
    /// Where tokens lie.
    pub tokens: PathBuf,
    /// Where decisions are handed over.
    pub baselines: PathBuf,
}

#[tonic::async_trait]
impl Operation for OperationService {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        self.desk.status(&peer).await.map(Response::new)
    }

    async fn holds(&self, request: Request<HoldsRequest>) -> Result<Response<HoldsReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        self.holding.list(&peer).await
    }

    async fn place_hold(
        &self,
        request: Request<PlaceHoldRequest>,
    ) -> Result<Response<PlaceHoldReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        self.holding.place(&peer, request.into_inner()).await
    }

    async fn release_hold(
        &self,
        request: Request<ReleaseHoldRequest>,
    ) -> Result<Response<ReleaseHoldReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        self.holding.release(&peer, request.into_inner()).await
    }

    async fn make_token(&self, request: Request<TokenRequest>) -> Result<Response<TokenReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        let TokenRequest { node, seconds } = request.into_inner();
        let object = format!("node {node}");
        let lifetime = if seconds == 0 {
            LIFETIME
        } else {
            Duration::from_secs(seconds)
        };
        let made = match (&self.issuer, node.parse::<NodeName>()) {
            (None, _) => Err(Status::failed_precondition(
                "this collector issues no certificates: configure `enrolment` there",
            )),
            (_, Err(error)) => Err(Status::invalid_argument(error.to_string())),
            (Some(_), Ok(_)) if lifetime > LONGEST => {
                Err(Status::invalid_argument("a token is good for 7 days at most"))
            }
            (Some(issuer), Ok(node)) => Ok((issuer, node)),
        };
        let (issuer, node) = match made {
            Ok(made) => made,
            Err(why) => return Err(self.desk.refuse(&peer, Act::Token, object, why).await),
        };
        let facts = vec![asked("good for", &format!("{lifetime:?}"))];
        self.desk.record(&peer, Act::Token, object, facts).await?;
        let token = tokio::task::block_in_place(|| {
            let authority = issuer.authority().map_err(|error| error.to_string())?;
            let tokens = Tokens::in_directory(&self.tokens);
            tokens
                .make(&node, lifetime, &authority)
                .map_err(|error| error.to_string())
        });
        let token = token.map_err(Status::internal)?;
        Ok(Response::new(TokenReply {
            token: token.to_string(),
        }))
    }

    async fn decide(&self, request: Request<DecideRequest>) -> Result<Response<DecideReply>, Status> {
        let peer = self.desk.caller(&request, Role::Operator)?;
        let overlay = match file::from_bytes::<Overlay>(&request.into_inner().overlay) {
            Ok(overlay) => overlay,
            Err(error) => {
                let why = Status::invalid_argument(format!("these are no decisions: {error}"));
                return Err(self.desk.refuse(&peer, Act::Decisions, "baselines", why).await);
            }
        };
        let facts = vec![asked("decisions", &overlay.decisions().count().to_string())];
        self.desk
            .record(&peer, Act::Decisions, "baselines", facts)
            .await?;
        let baselines = self.baselines.clone();
        let handed = tokio::task::spawn_blocking(move || inbox::hand_over_decisions(&baselines, &overlay));
        let outcome = handed
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(format!("{error:#}")))?;
        match outcome {
            Outcome::InForce => Ok(Response::new(DecideReply {
                outcomes: vec!["in force".to_owned()],
            })),
            Outcome::Refused(why) => Err(Status::failed_precondition(format!("refused: {why}"))),
            Outcome::Waiting | Outcome::Slow => Ok(Response::new(DecideReply {
                outcomes: vec![
                    "handed in; the collector has not come to it yet, the audit log will tell".to_owned(),
                ],
            })),
        }
    }
}
