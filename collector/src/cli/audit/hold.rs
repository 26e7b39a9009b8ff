//! `norma-collector audit hold`.

use crate::archive::Outcome;
use crate::archive::holds::inbox::{Wish, hand_over};
use crate::archive::holds::{check, new_id, read, scope, whose};
use crate::cli::{Failure, Output};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use norma_wire::audit::HoldScope;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the segments that have something of this from being removed, here and in the archive's store
    ///
    /// What is named narrows the hold; at least one of --node, --namespace, --from, --to, --segment and --everything is
    /// needed. Who places it, and why, become a record of the audit log.
    Place(PlaceArgs),
    /// End a hold
    Release(ReleaseArgs),
    /// Show the holds in force
    List(ListArgs),
}

#[derive(Debug, Args)]
struct Place {
    /// State directory of the collector (`state_dir` in its configuration)
    #[arg(long, value_name = "DIR", default_value = "/var/lib/norma-collector")]
    state: PathBuf,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// What a hold is on.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Only records of this node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Only records of containers in this namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only records from this time on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only records up to this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Only this segment, by its number
    #[arg(long, value_name = "NUMBER")]
    segment: Option<u64>,
    /// All that there is and will be
    #[arg(long, conflicts_with_all = ["node", "namespace", "from", "to", "segment"])]
    everything: bool,
}

impl ScopeArgs {
    /// As records have it, and whether everything is meant; refused where that says nothing, or contradicts itself.
    pub fn scope(self) -> Result<(HoldScope, bool), Failure> {
        let at = |time: Option<Timestamp>| {
            time.map_or(Ok(0), |time| {
                u64::try_from(time.as_nanosecond()).map_err(|_| failed(format!("{time} is before 1970")))
            })
        };
        let scope = HoldScope {
            node: self.node.unwrap_or_default(),
            namespace: self.namespace.unwrap_or_default(),
            from_wall_ns: at(self.from)?,
            to_wall_ns: at(self.to)?,
            segment: self.segment,
        };
        check(&scope, self.everything).map_err(failed)?;
        Ok((scope, self.everything))
    }
}

#[derive(Debug, Args)]
pub struct PlaceArgs {
    #[command(flatten)]
    on: ScopeArgs,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who places it, such as a name and a case number
    #[arg(long, value_name = "TEXT")]
    who: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Name of the hold
    id: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who releases it
    #[arg(long, value_name = "TEXT")]
    who: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: Place,
}

impl Command {
    pub fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Place(args) => args.execute(),
            Self::Release(args) => args.execute(),
            Self::List(args) => args.execute(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

impl PlaceArgs {
    fn execute(self) -> Result<(), Failure> {
        let (scope, _) = self.on.scope()?;
        let id = new_id().ok_or_else(|| failed("the system gives no random bytes"))?;
        let given = |text: String| (!text.is_empty()).then_some(text);
        let at = |time: u64| (time > 0).then_some(time);
        let wish = Wish::Place {
            id: id.clone(),
            node: given(scope.node),
            namespace: given(scope.namespace),
            from_wall_ns: at(scope.from_wall_ns),
            to_wall_ns: at(scope.to_wall_ns),
            segment: scope.segment,
            reason: self.reason,
            who: self.who,
        };
        tell(&self.place, &id, "placed", &wish)
    }
}

impl ReleaseArgs {
    fn execute(self) -> Result<(), Failure> {
        let wish = Wish::Release {
            id: self.id.clone(),
            reason: self.reason,
            who: self.who,
        };
        tell(&self.place, &self.id, "released", &wish)
    }
}

fn tell(place: &Place, id: &str, done: &str, wish: &Wish) -> Result<(), Failure> {
    let directory = directory(&place.state)?;
    let outcome = hand_over(&directory, wish).map_err(|error| {
        failed(format!(
            "cannot hand it over in {}: {error}; do it as the owner of that directory",
            directory.display()
        ))
    })?;
    let (state, words) = match outcome {
        Outcome::Done => (done, format!("{id} is {done}, and in the audit log")),
        Outcome::Waiting => (
            "waiting",
            format!(
                "{id} waits: no collector runs on {}; it is {done} when one does",
                place.state.display()
            ),
        ),
        Outcome::Slow => (
            "waiting",
            format!("{id} waits: the collector has not come to it yet; `audit hold list` shows when it has"),
        ),
        Outcome::Refused(why) => return Err(failed(format!("refused: {why}"))),
    };
    match place.output {
        Output::Human => println!("{words}"),
        Output::Json => println!("{:#}", json!({ "id": id, "state": state })),
    }
    Ok(())
}

impl ListArgs {
    fn execute(self) -> Result<(), Failure> {
        let directory = directory(&self.place.state)?;
        let stored = read(&directory).map_err(|error| failed(format!("cannot read the holds: {error}")))?;
        match self.place.output {
            Output::Human => {
                for hold in stored.list() {
                    println!(
                        "{} on {} since {} by {}: {}",
                        hold.id,
                        scope(Some(&hold.scope())),
                        crate::audit::show::time(hold.placed_wall_ns),
                        whose(&hold.who, hold.uid, &hold.actor),
                        hold.reason
                    );
                }
                if stored.list().next().is_none() {
                    println!("no hold is in force");
                }
            }
            Output::Json => {
                let holds: Vec<_> = stored.list().collect();
                println!("{:#}", json!({ "holds": holds }));
            }
        }
        Ok(())
    }
}

/// Where holds lie below a state directory, which must be there: a wrong one would take a hold that nobody sees.
fn directory(state: &Path) -> Result<PathBuf, Failure> {
    if state.join("audit").is_dir() {
        Ok(state.join(crate::config::HOLDS))
    } else {
        Err(failed(format!(
            "{} is not the state directory of a collector; name it with --state",
            state.display()
        )))
    }
}
