//! What is taken out of an audit log for others: proofs, gaps, bundles.

use super::{EXIT_NOT_VERIFIED, policy};
use crate::audit::export::{self, Archive, ExportError, Folder, Target};
use crate::audit::prove::{self, Wanted};
use crate::audit::together::together;
use crate::audit::verify::Expected;
use crate::audit::{gaps, show};
use crate::cli::{Failure, Output};
use clap::Args;
use jiff::Timestamp;
use norma_wire::Event;
use norma_wire::audit::record::Body;
use prost::Message as _;
use serde_json::json;
use std::path::PathBuf;

/// Options of `prove`.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// Directory of the audit log
    path: PathBuf,
    /// The event as NODE/EPOCH/SEQUENCE, as `audit show` and alerts name it, or the index of a record
    wanted: Wanted,
    /// Trust policy: the newest checkpoint that satisfies it is taken, instead of the newest of all
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// File to write the proof to (`.tlog-proof`), instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `check-proof`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The proof
    file: PathBuf,
    /// Trust policy (C2SP tlog-policy): the verifier keys of the log and of its witnesses, and their quorum
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// Options of `gaps`.
#[derive(Debug, Args)]
pub struct GapsArgs {
    /// Directory of the audit log; of several, what is missing in all of them together is told
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// These are all the logs: have what another one is said to hold told as missing, also of one log alone
    #[arg(long)]
    together: bool,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Directory of the audit log
    path: PathBuf,
    /// From this time on, such as 2026-11-01T00:00:00Z; the segments that it is in are exported whole
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    to: Timestamp,
    /// New folder, or new file that ends with `.tar`, to write to
    #[arg(long, value_name = "DIR|FILE.tar")]
    out: PathBuf,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

fn unverified(error: impl std::fmt::Display) -> Failure {
    Failure::Code(EXIT_NOT_VERIFIED, error.to_string())
}

impl ProveArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let policy = self.policy.as_deref().map(policy).transpose()?;
        let proof = prove::prove(&self.path, &self.wanted, policy.as_ref()).map_err(unverified)?;
        match self.out {
            Some(out) => std::fs::write(&out, proof.to_string())
                .map_err(|error| unverified(format!("cannot write {}: {error}", out.display()))),
            None => {
                print!("{proof}");
                Ok(())
            }
        }
    }
}

impl CheckArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let policy = policy(&self.policy)?;
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", self.file.display());
        let text = std::fs::read_to_string(&self.file).map_err(|error| unverified(at(&error)))?;
        let proven = prove::check(&text, &policy)
            .map_err(|error| Failure::Code(1, format!("NOT PROVEN: {}", at(&error))))?;
        let trusted = &proven.trusted;
        match self.output {
            Output::Json => println!(
                "{:#}",
                json!({
                    "proven": true,
                    "record": proven.record,
                    "log": trusted.checkpoint.origin,
                    "size": trusted.checkpoint.size,
                    "signed_by": trusted.log.to_string(),
                    "cosigned_by": trusted.cosigned,
                })
            ),
            Output::Human => {
                let event = match &proven.record.body {
                    Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
                    _ => None,
                };
                println!(
                    "proven: record {} of the log {}",
                    proven.record.index, trusted.checkpoint.origin
                );
                println!("  {}", show::words(&proven.record, event.as_ref()));
                println!(
                    "  received by the collector: {}",
                    show::time(proven.record.received_wall_ns)
                );
                println!(
                    "  under a checkpoint of {} entries, signed by {}",
                    trusted.checkpoint.size, trusted.log
                );
                for (witness, seconds) in &trusted.cosigned {
                    let when = show::time(seconds.saturating_mul(1_000_000_000));
                    println!("  cosigned by {witness} at {when}");
                }
            }
        }
        Ok(())
    }
}

impl GapsArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let (text, are_explained) = match self.paths.as_slice() {
            [path] if !self.together => {
                let gaps = gaps::gaps(path).map_err(unverified)?;
                (self.output.of(&gaps)?, gaps.are_explained())
            }
            paths => {
                let report = together(paths, &Expected::default()).map_err(unverified)?;
                (self.output.of(&report.gaps())?, report.is_complete())
            }
        };
        print!("{text}");
        if are_explained { Ok(()) } else { Err(Failure::Told) }
    }
}

impl ExportArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let told = |error: ExportError| unverified(error);
        let mut target: Box<dyn Target> = if self.out.extension().is_some_and(|found| found == "tar") {
            Box::new(Archive::create(&self.out).map_err(told)?)
        } else {
            Box::new(Folder::create(&self.out).map_err(told)?)
        };
        let exported = export::export(&self.path, self.from, self.to, target.as_mut()).map_err(told)?;
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&exported).map_err(unverified)?),
            Output::Human => {
                let (first, last) = exported.segments;
                println!(
                    "segments {first} to {last} (records {} to {}, {} bytes) are in {}",
                    exported.records.0,
                    exported.records.1,
                    exported.bytes,
                    self.out.display()
                );
                if exported.removed > 0 {
                    println!(
                        "{} of these segments were removed by policy: their manifests and tombstones are in it, their \
                         records are not",
                        exported.removed
                    );
                }
                println!(
                    "{} in it says how somebody else verifies them",
                    export::INSTRUCTIONS
                );
            }
        }
        Ok(())
    }
}
