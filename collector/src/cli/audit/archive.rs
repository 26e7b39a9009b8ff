//! `norma-collector audit archive`.

use super::{EXIT_NOT_VERIFIED, policy};
use crate::archive::keys::{self, Kek, KekSource, SegmentKeys};
use crate::archive::write::{manifest_of, write};
use crate::archive::{ArchiveError, Cluster, verify};
use crate::audit::Segment;
use crate::audit::verify::Expected;
use crate::cli::{Failure, Output};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write the sealed segments of an audit log as Parquet, in plain; what is there already is checked and left
    Write(WriteArgs),
    /// Prove archive files from themselves, and with --log that a log sealed them
    ///
    /// Exit status: 0 intact, 1 not intact, 2 nothing could be verified.
    Verify(VerifyArgs),
    /// Make the segments again, byte for byte, that archive files were made of
    Restore(RestoreArgs),
    /// Wrap the keys of encrypted archive files under another key-encryption key
    ///
    /// The archive files stay as they are. It can be repeated, and done while the collector runs; then give the collector
    /// the new key, restart it, and do it once more for what was archived meanwhile.
    Rewrap(RewrapArgs),
}

/// Where the keys of encrypted archive files are.
#[derive(Debug, Args)]
struct KeyPlace {
    /// Directory of the keys of segments, `segment-keys` in the collector's state directory
    #[arg(long, value_name = "DIR", requires = "key")]
    keys: Option<PathBuf>,
    /// File or PKCS #11 URI of the key-encryption key that they are wrapped under (`archive.encryption.key`)
    #[arg(long, value_name = "FILE", requires = "keys")]
    key: Option<String>,
}

impl KeyPlace {
    fn open(&self) -> Result<Option<SegmentKeys>, Failure> {
        let (Some(directory), Some(key)) = (&self.keys, &self.key) else {
            return Ok(None);
        };
        if !directory.is_dir() {
            return Err(failed(format!(
                "{} is not a directory of keys",
                directory.display()
            )));
        }
        Ok(Some(SegmentKeys::new(directory, kek(key)?)))
    }
}

fn kek(text: &str) -> Result<Kek, Failure> {
    let source = KekSource::named(text, Path::new("")).map_err(failed)?;
    source.open().map_err(failed)
}

#[derive(Debug, Args)]
pub struct RewrapArgs {
    /// Directory of the keys of segments, `segment-keys` in the collector's state directory
    directory: PathBuf,
    /// File or PKCS #11 URI of the key-encryption key that they are wrapped under
    #[arg(long, value_name = "FILE")]
    from: String,
    /// File or PKCS #11 URI of the one that takes its place
    #[arg(long, value_name = "FILE")]
    to: String,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct WriteArgs {
    /// Directory of the audit log
    path: PathBuf,
    /// Directory below which the files are written, as cluster=NAME/day=YYYY-MM-DD/audit-FIRST.parquet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the cluster
    #[arg(long, value_name = "NAME")]
    cluster: Cluster,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Directory of archive files, or one of them
    path: PathBuf,
    /// Audit directory, or bundle of `audit export`, whose transparency log must have sealed them
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Trust policy for that log: the verifier keys of it and of its witnesses, and their quorum
    #[arg(long, value_name = "FILE", requires = "log")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    keys: KeyPlace,
    /// Form of the report
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Archive files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Directory for the segments: an audit directory that they were removed from, or a new one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    keys: KeyPlace,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl Command {
    pub fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Write(args) => args.execute(),
            Self::Verify(args) => args.execute(),
            Self::Restore(args) => args.execute(),
            Self::Rewrap(args) => args.execute(),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Code(EXIT_NOT_VERIFIED, error.to_string())
}

impl WriteArgs {
    fn execute(self) -> Result<(), Failure> {
        let segments = Segment::list(&self.path)
            .map_err(|error| failed(format!("cannot read {}: {error}", self.path.display())))?;
        let mut files = Vec::new();
        for segment in segments {
            let Some(manifest) = manifest_of(&segment).map_err(failed)? else {
                continue;
            };
            files.push(write(&segment, manifest, &self.out, &self.cluster, None).map_err(failed)?);
        }
        if files.is_empty() {
            return Err(failed(format!(
                "{} has no sealed segment; the newest is sealed by size or age (audit.segment_bytes, \
                 audit.segment_age)",
                self.path.display()
            )));
        }
        match self.output {
            Output::Human => {
                for file in &files {
                    let (first, last) = file.manifest.records;
                    println!(
                        "segment {} (records {first} to {last}): {}",
                        file.manifest.segment,
                        file.path.display()
                    );
                }
            }
            Output::Json => {
                let files: Vec<_> = files
                    .iter()
                    .map(|file| {
                        json!({
                            "segment": file.manifest.segment,
                            "records": file.manifest.records,
                            "file": file.path,
                            "bytes": file.bytes,
                        })
                    })
                    .collect();
                println!("{:#}", json!({ "files": files }));
            }
        }
        Ok(())
    }
}

impl VerifyArgs {
    fn execute(self) -> Result<(), Failure> {
        let expected = Expected {
            policy: self.policy.as_deref().map(policy).transpose()?,
            ..Expected::default()
        };
        let keys = self.keys.open()?;
        let report =
            verify::verify(&self.path, self.log.as_deref(), &expected, keys.as_ref()).map_err(failed)?;
        match self.output {
            Output::Human => print!("{report}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&report).map_err(failed)?),
        }
        if report.is_intact() {
            Ok(())
        } else {
            Err(Failure::Told)
        }
    }
}

impl RestoreArgs {
    fn execute(self) -> Result<(), Failure> {
        let keys = self.keys.open()?;
        let written = verify::restore(&self.files, &self.out, keys.as_ref());
        let written = written.map_err(|error: ArchiveError| failed(error))?;
        match self.output {
            Output::Human => written.iter().for_each(|path| println!("{}", path.display())),
            Output::Json => println!("{:#}", json!({ "files": written })),
        }
        Ok(())
    }
}

impl RewrapArgs {
    fn execute(self) -> Result<(), Failure> {
        let (from, to) = (kek(&self.from)?, kek(&self.to)?);
        if !self.directory.is_dir() {
            let place = self.directory.display();
            return Err(failed(format!("{place} is not a directory of keys")));
        }
        let done = keys::rewrap(&self.directory, &from, &to).map_err(failed)?;
        let (changed, before) = (done.changed, done.before);
        match self.output {
            Output::Human => println!(
                "{changed} keys are wrapped under {} now, {before} were before; destroy {} when the collector has the \
                 new one",
                to.id(),
                from.id()
            ),
            Output::Json => println!(
                "{:#}",
                json!({ "kek": to.id(), "changed": changed, "before": before })
            ),
        }
        Ok(())
    }
}
