//! Does one small thing in one way, and prints what truly happened as a JSON object.
//!
//! - `norma-deed list` says what there is.
//! - `norma-deed NAME` does it. Exit status 0 means that it was done, or that the object says in `skipped` what
//!   this machine lacks for it.

#![forbid(unsafe_code)]

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use norma_rig::deed;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Small truthful acts that a sensor is proven with.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// Name of the deed, or `list`.
    deed: String,
    /// Where its folder is made; it is gone afterwards.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.deed == "list" {
        list(arguments.output);
        return Ok(ExitCode::SUCCESS);
    }
    let deed = deed::find(&arguments.deed)
        .with_context(|| format!("there is no deed `{}`; see `norma-deed list`", arguments.deed))?;
    let parent = arguments.dir.unwrap_or_else(std::env::temp_dir);
    Ok(match deed.perform(&parent)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn list(output: Output) {
    match output {
        Output::Text => {
            for deed in deed::deeds() {
                println!(
                    "{:26} {:24} {:18} {}",
                    deed.name, deed.operation, deed.technique, deed.what
                );
            }
        }
        Output::Json => {
            let list: Vec<_> = deed::deeds()
                .map(|deed| {
                    json!({
                        "deed": deed.name,
                        "family": deed.family,
                        "operation": deed.operation,
                        "technique": deed.technique,
                        "what": deed.what,
                    })
                })
                .collect();
            println!("{}", json!(list));
        }
    }
}
