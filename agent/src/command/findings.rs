//! `findings`: every kind of finding that the agent makes by itself.

use super::{ExitStatus, say};
use crate::judge::kinds::{FindingKind, markdown};
use clap::{Args, ValueEnum};
use norma_wire::json;
use norma_wire::pb::Severity;

/// Options of `findings`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Form::Human)]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One line each.
    Human,
    /// JSON, one document per line.
    Json,
    /// The document of the handbook.
    Markdown,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    if options.output == Form::Markdown {
        say(markdown().trim_end())?;
        return Ok(ExitStatus::Success);
    }
    for kind in FindingKind::ALL {
        let row = kind.row();
        let severity = json::name::<Severity>(kind.severity(row.weight).into());
        say(&match options.output {
            Form::Human | Form::Markdown => {
                format!("{:<38} {:>3} {:<9} {}", row.code, row.weight, severity, row.what)
            }
            Form::Json => serde_json::json!({
                "code": row.code,
                "what": row.what,
                "weight": row.weight,
                "severity": severity,
                "at_least_high": row.grave,
                "while_learning": row.holds == crate::judge::kinds::Holds::Always,
                "why": row.why,
                "next": row.next,
                "controls": row.controls,
            })
            .to_string(),
        })?;
    }
    Ok(ExitStatus::Success)
}
