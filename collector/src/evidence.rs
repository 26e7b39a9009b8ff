//! Evidence for an assessment: what a verified audit log shows of a time and a namespace, as a signed in-toto statement
//! (DSSE), OSCAL assessment results, and a STIG checklist (CKLB).
//!
//! Nothing is taken from a log that does not verify. What is written depends on the log, the trust policy and the scope
//! alone: the same input gives the same bytes, and with an Ed25519 key the same signature.

mod assess;
mod checklist;
pub mod dsse;
mod facts;
mod oscal;
mod rules;
mod statement;
mod uuid;

pub use facts::Scope;
pub use rules::{RULES, Rule};

use crate::audit::ReadError;
use crate::audit::inventory::{self, InventoryError, Sealed};
use crate::audit::verify::{Expected, Report, VerifyError, verify};
use dsse::{KeyError, Signer};
use facts::Facts;
use norma_tlog::{Checkpoint, Note, Policy};
use norma_wire::text::Hex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The envelope.
pub const ENVELOPE: &str = "evidence.dsse.json";
/// The OSCAL document.
pub const OSCAL: &str = "oscal-assessment-results.json";
/// The checklist.
pub const CHECKLIST: &str = "checklist.cklb";
/// The public half of the key that signed.
pub const PUBLIC_KEY: &str = "evidence-key.pub.pem";
/// How somebody else checks all of it.
pub const INSTRUCTIONS: &str = "VERIFY.txt";

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The log cannot be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It was, and is not what was written.
    #[error("the audit log is not intact, so it is evidence of nothing:\n{0}")]
    NotIntact(Box<Report>),
    /// There is nothing that is signed.
    #[error(
        "{0} has no checkpoint: a log without a signature is no evidence; let a collector of this version open it"
    )]
    NoCheckpoint(PathBuf),
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Manifests or the checkpoint cannot be read.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// Nothing in scope.
    #[error("the log has no record of that time; `norma-collector audit show` tells what it has")]
    Nothing,
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Something is in the way.
    #[error("{} is there already; name a new folder", .0.display())]
    Exists(PathBuf),
    /// Cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// A verified log, and what it shows.
struct Evidence {
    report: Report,
    checkpoint: Checkpoint,
    note: Note,
    /// Sealed segments of the time.
    segments: Vec<Sealed>,
    facts: Facts,
}

/// What was written.
#[derive(Debug, serde::Serialize)]
pub struct Written {
    /// Records in scope.
    pub records: u64,
    /// Sealed segments that have them.
    pub segments: u64,
    /// Rules of the checklist by status.
    pub rules: std::collections::BTreeMap<String, u64>,
    /// SHA-256 of the public key, in hex.
    pub key: String,
    /// The folder.
    pub folder: PathBuf,
}

/// Writes evidence of the log in `directory` into the new folder `out`.
pub fn write(
    directory: &Path,
    policy: Policy,
    scope: Scope,
    signer: &Signer,
    out: &Path,
) -> Result<Written, EvidenceError> {
    // The checkpoint first: it can only lag behind what is verified.
    let (checkpoint, note) =
        inventory::checkpoint(directory)?.ok_or_else(|| EvidenceError::NoCheckpoint(directory.to_owned()))?;
    let expected = Expected {
        policy: Some(policy),
        // The statement names them.
        digests: true,
        ..Expected::default()
    };
    let report = verify(directory, &expected)?;
    if !report.is_intact() {
        return Err(EvidenceError::NotIntact(Box::new(report)));
    }
    let facts = Facts::read(directory, scope, report.head.index)?;
    if facts.records == 0 {
        return Err(EvidenceError::Nothing);
    }
    let segments = inventory::sealed(directory)?
        .into_iter()
        .filter(|sealed| sealed.time_ns.0 <= facts.scope.to_ns && sealed.time_ns.1 >= facts.scope.from_ns)
        .collect();
    let evidence = Evidence {
        report,
        checkpoint,
        note,
        segments,
        facts,
    };
    let results = assess::all(&evidence);
    let oscal = text(&oscal::document(&evidence, &results));
    let checklist = text(&checklist::document(&evidence, &results));
    let documents = [(OSCAL, &oscal), (CHECKLIST, &checklist)];
    let statement = text(&statement::statement(&evidence, &documents));
    let envelope = text(&signer.envelope(statement::MEDIA_TYPE, statement.as_bytes())?);
    match fs::create_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(EvidenceError::Exists(out.to_owned()));
        }
        made => made.map_err(|source| EvidenceError::Write {
            path: out.to_owned(),
            source,
        })?,
    }
    let files = [
        (ENVELOPE, envelope),
        (OSCAL, oscal),
        (CHECKLIST, checklist),
        (PUBLIC_KEY, signer.public_pem()),
        (INSTRUCTIONS, instructions(&evidence)),
    ];
    for (name, content) in files {
        let path = out.join(name);
        fs::write(&path, content).map_err(|source| EvidenceError::Write { path, source })?;
    }
    let mut rules = std::collections::BTreeMap::new();
    for result in &results {
        *rules.entry(result.status.cklb().to_owned()).or_default() += 1;
    }
    Ok(Written {
        records: evidence.facts.records,
        segments: evidence.segments.len() as u64,
        rules,
        key: signer.key_id().to_owned(),
        folder: out.to_owned(),
    })
}

/// JSON as it is written: for people too, and the same bytes each time.
fn text(value: &Value) -> String {
    format!("{value:#}\n")
}

/// SHA-256 in hex.
fn sha256(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}

/// Nanoseconds since 1970 as documents write times.
fn date(wall_ns: u64) -> String {
    crate::audit::show::time(wall_ns)
}

fn instructions(evidence: &Evidence) -> String {
    format!(
        "Evidence from the audit log `{}`, {} to {}{}.\n\
         \n\
         {ENVELOPE}: a DSSE envelope (secure-systems-lab/dsse) with an in-toto Statement v1. Its subjects are the sealed\n\
         segments of that time and the checkpoint over them, by SHA-256; its predicate says what they show, and has the\n\
         SHA-256 of {OSCAL} and {CHECKLIST}. Check its signature with the key that you got\n\
         in another way; {PUBLIC_KEY} is a copy of it for convenience, and proves nothing by itself.\n\
         \n\
         With openssl and jq alone (Ed25519):\n\
         \n\
         payload=$(jq -r .payload {ENVELOPE} | base64 -d; echo x); payload=${{payload%x}}\n\
         printf 'DSSEv1 28 application/vnd.in-toto+json %d %s' \"$(printf %s \"$payload\" | wc -c)\" \"$payload\" > pae\n\
         jq -r '.signatures[0].sig' {ENVELOPE} | base64 -d > sig\n\
         openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in pae -sigfile sig\n\
         \n\
         The log that it speaks of is verified with `norma-collector audit verify`, or without Norma as docs/audit.md says.\n",
        evidence.checkpoint.origin,
        date(evidence.facts.scope.from_ns),
        date(evidence.facts.scope.to_ns),
        match &evidence.facts.scope.namespace {
            Some(namespace) => format!(", namespace {namespace}"),
            None => String::new(),
        },
    )
}
