//! `baseline diff`.

use crate::pick;
use crate::shelf::{Kept, Shelf};
use crate::{Output, Place, Program, json};
use anyhow::{Context as _, bail};
use clap::Args;
use norma_baseline::revision::release_delta;

/// Options of `diff`.
#[derive(Debug, Args)]
pub struct Options {
    /// The workload: its name, or a part that only one has.
    workload: String,
    /// Its revision to compare from, or a part that only one has; the one that the other inherits from where none is given.
    from: Option<String>,
    /// Its revision to compare with, or a part that only one has; the newest where none is given.
    to: Option<String>,
    /// Compare from the newest revision of this other workload.
    #[arg(long, value_name = "WORKLOAD", conflicts_with = "from")]
    against: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Options {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let shelf = self.place.read(program)?;
        let workload = pick::workload(&shelf, &self.workload)?;
        let to = pick::revision(&shelf, &workload, self.to.as_deref())?;
        let from = match (&self.against, self.from.as_deref()) {
            (Some(other), _) => {
                let other = pick::workload(&shelf, other)?;
                shelf
                    .revisions(&other)
                    .next_back()
                    .cloned()
                    .with_context(|| format!("there is no baseline of `{other}`"))?
            }
            (None, Some(from)) => pick::revision(&shelf, &workload, Some(from))?.clone(),
            (None, None) => before(&shelf, to)?,
        };
        if from.subject() == to.subject() {
            bail!("{} is compared with itself; name another revision", to.subject());
        }
        let delta = release_delta(&from.norm, &to.norm, &to.evidence);
        match self.output {
            Output::Json => json(&delta),
            Output::Human if self.against.is_some() => {
                Ok(format!("Compared from {}\n{delta}", from.subject().workload))
            }
            Output::Human => Ok(delta.to_string()),
        }
    }
}

/// The revision that another is compared from, where nobody names one.
fn before(shelf: &Shelf, to: &Kept) -> anyhow::Result<Kept> {
    if let Some(predecessor) = shelf.predecessor(to) {
        return Ok(predecessor.clone());
    }
    shelf
        .revisions(&to.subject().workload)
        .take_while(|kept| kept.subject() != to.subject())
        .last()
        .cloned()
        .with_context(|| {
            format!(
                "{} is the only revision that is known of this workload: there is nothing to compare it with",
                to.subject()
            )
        })
}
