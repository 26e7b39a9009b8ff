//! `norma-collector api hold`.

use super::{Target, other, told};
use crate::archive::holds::{scope, whose};
use crate::audit::show;
use crate::cli::audit::hold::ScopeArgs;
use crate::cli::{Failure, Output};
use clap::{Args, Subcommand};
use norma_wire::api::audit_client::AuditClient;
use norma_wire::api::operation_client::OperationClient;
use norma_wire::api::{Hold, HoldOn, HoldsRequest, PlaceHoldRequest, ReleaseHoldRequest};
use norma_wire::audit::HoldScope;
use serde_json::json;
use tonic::transport::Channel;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the segments that have something of this from being removed (operator)
    ///
    /// What is named narrows the hold; at least one of --node, --namespace, --from, --to, --segment and --everything is
    /// needed. The name in the certificate becomes a record of the audit log, with who wants it, and why.
    #[command(visible_alias = "set")]
    Place(PlaceArgs),
    /// End a hold (operator)
    Release(ReleaseArgs),
    /// The holds in force (auditor or operator)
    List,
}

#[derive(Debug, Args)]
pub struct PlaceArgs {
    #[command(flatten)]
    on: ScopeArgs,
    #[command(flatten)]
    words: Words,
}

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Name of the hold
    id: String,
    #[command(flatten)]
    words: Words,
}

#[derive(Debug, Args)]
struct Words {
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who wants it, such as a name and a case number
    #[arg(long, value_name = "TEXT")]
    who: String,
}

impl Command {
    pub async fn ask(self, channel: Channel, target: &Target, output: Output) -> Result<(), Failure> {
        match self {
            Self::Place(PlaceArgs { on, words }) => {
                let (scope, everything) = on.scope()?;
                let request = PlaceHoldRequest {
                    on: Some(HoldOn {
                        node: scope.node,
                        namespace: scope.namespace,
                        from_wall_ns: scope.from_wall_ns,
                        to_wall_ns: scope.to_wall_ns,
                        segment: scope.segment,
                        everything,
                    }),
                    reason: words.reason,
                    who: words.who,
                };
                let answer = OperationClient::new(channel).place_hold(request).await;
                let id = answer.map_err(|status| told(&status))?.into_inner().id;
                tell(&id, "placed", output);
            }
            Self::Release(ReleaseArgs { id, words }) => {
                let request = ReleaseHoldRequest {
                    id: id.clone(),
                    reason: words.reason,
                    who: words.who,
                };
                let answer = OperationClient::new(channel).release_hold(request).await;
                answer.map_err(|status| told(&status))?;
                tell(&id, "released", output);
            }
            Self::List => {
                let answer = if target.is_operator() {
                    OperationClient::new(channel).holds(HoldsRequest {}).await
                } else {
                    AuditClient::new(channel).holds(HoldsRequest {}).await
                };
                let holds = answer.map_err(|status| told(&status))?.into_inner().holds;
                list(&holds, output)?;
            }
        }
        Ok(())
    }
}

fn tell(id: &str, done: &str, output: Output) {
    match output {
        Output::Human => println!("{id} is {done}, and in the audit log"),
        Output::Json => println!("{:#}", json!({ "id": id, "state": done })),
    }
}

fn list(holds: &[Hold], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let holds = serde_json::to_value(holds).map_err(|error| other(&error))?;
        println!("{:#}", json!({ "holds": holds }));
        return Ok(());
    }
    for hold in holds {
        let on = hold.on.clone().unwrap_or_default();
        let on = HoldScope {
            node: on.node,
            namespace: on.namespace,
            from_wall_ns: on.from_wall_ns,
            to_wall_ns: on.to_wall_ns,
            segment: on.segment,
        };
        println!(
            "{} on {} since {} by {}: {}",
            hold.id,
            scope(Some(&on)),
            show::time(hold.placed_wall_ns),
            whose(&hold.who, hold.uid, &hold.actor),
            hold.reason
        );
    }
    if holds.is_empty() {
        println!("no hold is in force");
    }
    Ok(())
}
