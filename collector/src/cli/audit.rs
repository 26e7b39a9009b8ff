//! `norma-collector audit`.

mod archive;
mod evidence;
pub mod hold;
mod shred;

use super::{Failure, Output};
use crate::audit::key::KeySource;
use crate::audit::show::{Filter, Form, ShowError, show};
use crate::audit::together::together;
use crate::audit::verify::{Expected, Remembered, verify};
use crate::audit::{Head, ReadError};
use crate::heads::check::Authorities;
use clap::{Args, Subcommand};
use norma_tlog::{Note, Policy};
use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Nothing could be verified: a file cannot be read, or a policy is wrong.
const EXIT_NOT_VERIFIED: u8 = 2;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prove that an audit log is what the collector wrote
    ///
    /// Needs the files alone, and for whose signatures count a trust policy. Damage is located, and what is proven in
    /// spite of it is told. Exit status: 0 intact, 1 not intact, 2 nothing could be verified (a file or the policy
    /// cannot be read).
    Verify(VerifyArgs),
    /// Print an audit log
    Show(ShowArgs),
    /// Make a proof of one event that somebody else can check, with a trust policy alone
    Prove(evidence::ProveArgs),
    /// Check a proof of one event; exit status 1 where it proves nothing
    CheckProof(evidence::CheckArgs),
    /// Tell what nodes sent and did not arrive; exit status 1 where something is not accounted for
    Gaps(evidence::GapsArgs),
    /// Tell how many records of each node answer what, when, where, source, outcome and identity (NIST 800-53 AU-3)
    Coverage(super::coverage::CoverageArgs),
    /// Copy the sealed segments of a time so that they can be verified on a host that has nothing else
    Export(evidence::ExportArgs),
    /// Keep sealed segments as Parquet, check such files, and make segments of them again
    #[command(subcommand)]
    Archive(archive::Command),
    /// Keep records from being removed, whatever their age
    #[command(subcommand)]
    Hold(hold::Command),
    /// Destroy the keys of encrypted segments, so that nobody can read them any more, wherever their archive files are
    Shred(shred::ShredArgs),
    /// Print the verifier key of a log, as trust policies have it, making the key where there is none
    Key(KeyArgs),
}

#[derive(Debug, Args)]
pub struct KeyArgs {
    /// File of the private key, or PKCS #11 URI of a key in a token, which must be there already (see docs/keys.md).
    /// The collector's is `audit.key` in its state directory, if not configured otherwise
    #[arg(value_name = "FILE|URI")]
    key: String,
    /// Name of the log, such as `logs.example.org/norma`: of a key that is made (made up where it is not given), and of
    /// a key in a token
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Directory of an audit log, or one file of it; it may be one that is being written. Several are verified one by one
    /// and then held against one another: no event is in two of them unsaid, and what one says that another has is there
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// These are all the logs: have what another one is said to hold told as missing, also of one log alone
    #[arg(long)]
    together: bool,
    /// A head that was kept elsewhere, as an earlier verification printed it; the log must still hold it
    #[arg(long, value_name = "INDEX:HASH")]
    expect_head: Option<Head>,
    /// Trust policy (C2SP tlog-policy): the verifier keys of the log and of its witnesses, and their quorum
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere, by a witness, an agent or an earlier copy; the log must go on from it
    #[arg(long, value_name = "FILE")]
    expect: Vec<PathBuf>,
    /// Authorities of the nodes' certificates (PEM): each certificate by which a node signed must have been valid when it
    /// was received. Without, what nodes signed is held against the certificates that the log itself has
    #[arg(long, value_name = "FILE")]
    node_ca: Option<PathBuf>,
    /// A revocation list of one of them: what was signed after a revocation counts as wrong
    #[arg(long, value_name = "FILE", requires = "node_ca")]
    node_crl: Vec<PathBuf>,
    /// Work out the SHA-256 of each sealed segment's file as well, which its manifest states for those who have the file
    /// and no Norma. Of the records it proves nothing more: the root of the tree and the chain are over every byte
    #[arg(long)]
    digests: bool,
    /// Threads that hash and decode beside the one that follows the log; one for each processor if not given. The report
    /// is the same with any number
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Form of the report
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Directory of an audit log, or one file of it
    path: PathBuf,
    /// Only these kinds of events (exec, open, ...) or records (rejected, gap, refused, ...)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only these verdicts (expected, novel, violation, learning, unjudged)
    #[arg(long, value_name = "VERDICT", value_delimiter = ',')]
    verdict: Vec<String>,
    /// Only what somebody should look at
    #[arg(long)]
    alerts: bool,
    /// Only from the record with this index on
    #[arg(long, value_name = "INDEX", default_value_t)]
    from: u64,
    /// One line or one JSON object per record
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

impl Command {
    pub fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Verify(args) => args.execute(),
            Self::Show(args) => args.execute(),
            Self::Prove(args) => args.execute(),
            Self::CheckProof(args) => args.execute(),
            Self::Gaps(args) => args.execute(),
            Self::Coverage(args) => args.execute(),
            Self::Export(args) => args.execute(),
            Self::Archive(command) => command.execute(),
            Self::Hold(command) => command.execute(),
            Self::Shred(args) => args.execute(),
            Self::Key(args) => args.execute(),
        }
    }
}

impl VerifyArgs {
    fn execute(self) -> Result<(), Failure> {
        let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
        let expected = Expected {
            policy: self.policy.as_deref().map(policy).transpose()?,
            head: self.expect_head,
            checkpoints: self
                .expect
                .iter()
                .map(|path| remembered(path))
                .collect::<Result<_, _>>()?,
            node_authorities: self.node_authorities()?,
            threads: self.threads,
            digests: self.digests,
        };
        let unverified = |error: String| Failure::Code(EXIT_NOT_VERIFIED, error);
        let (text, is_intact) = match self.paths.as_slice() {
            [path] if !self.together => {
                let report = verify(path, &expected).map_err(|error| unverified(error.to_string()))?;
                (self.output.of(&report)?, report.is_intact())
            }
            paths => {
                if expected.head.is_some() {
                    let why = "--expect-head does not say of which log it is: verify that log alone, or use --expect";
                    return Err(unverified(why.to_owned()));
                }
                let report = together(paths, &expected).map_err(|error| unverified(error.to_string()))?;
                (self.output.of(&report)?, report.is_intact())
            }
        };
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|error| other(&error))?;
        if is_intact { Ok(()) } else { Err(Failure::Told) }
    }
}

impl VerifyArgs {
    fn node_authorities(&self) -> Result<Option<Authorities>, Failure> {
        let failed = |error: String| Failure::Code(EXIT_NOT_VERIFIED, error);
        let Some(path) = &self.node_ca else {
            return Ok(None);
        };
        let mut authorities = Authorities::read(path).map_err(failed)?;
        for list in &self.node_crl {
            authorities.revoke(list).map_err(failed)?;
        }
        Ok(Some(authorities))
    }
}

impl KeyArgs {
    fn execute(self) -> Result<(), Failure> {
        let told = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
        let source =
            KeySource::named(&self.key, Path::new(""), Path::new("")).map_err(|error| told(&error))?;
        let key = source
            .open(self.origin.as_deref())
            .map_err(|error| told(&error))?;
        if let KeySource::File(_) = source {
            source.publish(&key).map_err(|error| told(&error))?;
        }
        println!("{}", key.verifier());
        Ok(())
    }
}

/// Reads a trust policy.
fn policy(path: &Path) -> Result<Policy, Failure> {
    let failed = |error: String| Failure::Code(EXIT_NOT_VERIFIED, format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Policy::parse(&text).map_err(|error| failed(error.to_string()))
}

fn remembered(path: &Path) -> Result<Remembered, Failure> {
    let failed = |error: String| Failure::Code(EXIT_NOT_VERIFIED, format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    Ok(Remembered {
        name: format!("the remembered checkpoint {}", path.display()),
        note: Note::parse(&bytes).map_err(|error| failed(format!("not a checkpoint: {error}")))?,
    })
}

impl ShowArgs {
    fn execute(self) -> Result<(), Failure> {
        let filter = Filter {
            kinds: self.kind,
            verdicts: self.verdict,
            alerts: self.alerts,
            from: self.from,
        };
        let form = match self.output {
            Output::Human => Form::Human,
            Output::Json => Form::Json,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let shown = show(&self.path, &filter, form, &mut out).and_then(|()| Ok(out.flush()?));
        match shown {
            // Whoever reads has seen enough, as `head` has.
            Err(ShowError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(ShowError::Read(error @ ReadError::Damaged { .. })) => {
                out.flush().map_err(|error| Failure::Other(error.to_string()))?;
                Err(Failure::Other(error.to_string()))
            }
            other => other.map_err(|error| Failure::Other(error.to_string())),
        }
    }
}
