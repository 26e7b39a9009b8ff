//! `norma-collector audit coverage`.

use super::{Failure, Output};
use crate::au3::coverage::Coverage;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct CoverageArgs {
    /// Directory of the audit log, or one file of it
    path: PathBuf,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl CoverageArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let coverage = Coverage::read(&self.path).map_err(|error| Failure::Other(error.to_string()))?;
        match self.output {
            Output::Human => print!("{coverage}"),
            Output::Json => println!(
                "{:#}",
                serde_json::json!({ "nodes": coverage.nodes, "all": coverage.total() })
            ),
        }
        Ok(())
    }
}
