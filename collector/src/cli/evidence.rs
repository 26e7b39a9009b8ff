//! `norma-collector evidence`.

use super::{Failure, Output};
use crate::evidence::dsse::Signer;
use crate::evidence::{self, ENVELOPE, EvidenceError, Scope};
use clap::Args;
use jiff::Timestamp;
use norma_tlog::Policy;
use std::path::PathBuf;

/// Nothing could be verified: a file cannot be read, or the policy is wrong.
const EXIT_NOT_VERIFIED: u8 = 2;
/// The key that signs where none is named, beside the log.
const DEFAULT_KEY: &str = "evidence-key.pem";

/// Options of `evidence`.
#[derive(Debug, Args)]
pub struct EvidenceArgs {
    /// Directory of the audit log
    path: PathBuf,
    /// Trust policy (C2SP tlog-policy): the verifier keys of the log and of its witnesses, and their quorum
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// From this time of receipt on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    to: Timestamp,
    /// Events of containers of this Kubernetes namespace alone
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// New folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Private key (PEM) that signs: Ed25519, P-256, P-384 or RSA. Without it, `evidence-key.pem` beside the directory
    /// of the log, which is made (Ed25519) where there is none
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl EvidenceArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let unusable = |error: String| Failure::Code(EXIT_NOT_VERIFIED, error);
        let (from, to) = (nanoseconds(self.from)?, nanoseconds(self.to)?);
        if from > to {
            return Err(unusable("--from is after --to".to_owned()));
        }
        let policy = std::fs::read_to_string(&self.policy)
            .map_err(|error| error.to_string())
            .and_then(|text| Policy::parse(&text).map_err(|error| error.to_string()))
            .map_err(|error| unusable(format!("{}: {error}", self.policy.display())))?;
        let signer = match &self.key {
            Some(key) => Signer::load(key),
            None => Signer::load_or_make(&self.path.join("..").join(DEFAULT_KEY)),
        }
        .map_err(|error| unusable(error.to_string()))?;
        let scope = Scope {
            from_ns: from,
            to_ns: to,
            namespace: self.namespace,
        };
        let written = match evidence::write(&self.path, policy, scope, &signer, &self.out) {
            Ok(written) => written,
            Err(error @ EvidenceError::NotIntact(_)) => return Err(Failure::Code(1, error.to_string())),
            Err(error) => return Err(unusable(error.to_string())),
        };
        match self.output {
            Output::Json => println!("{:#}", serde_json::json!(written)),
            Output::Human => {
                println!(
                    "{} records of {} sealed segments; {} in {} is signed with the key {}",
                    written.records,
                    written.segments,
                    ENVELOPE,
                    written.folder.display(),
                    written.key
                );
                for (status, rules) in &written.rules {
                    println!("  {rules} rules: {}", status.replace('_', " "));
                }
            }
        }
        Ok(())
    }
}

fn nanoseconds(time: Timestamp) -> Result<u64, Failure> {
    u64::try_from(time.as_nanosecond())
        .map_err(|_| Failure::Code(EXIT_NOT_VERIFIED, format!("{time} is no time of this log")))
}
