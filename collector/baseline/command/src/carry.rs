//! Baselines carried by hand: `baseline export --format bundle` and `baseline import`.
//!
//! A bundle has, for each revision of the chosen workloads, the norm and the evidence that it rests on, and the
//! decisions on them. Evidence and decisions merge with what is there; of the norm only the time counts from
//! which on each field was ready.

use crate::decide::{self, Plan};
use crate::inbox;
use crate::key::{Person, Signing};
use crate::shelf::Kept;
use crate::{Output, Place, Program, ask, json};
use anyhow::{Context as _, bail};
use clap::Args;
use norma_baseline::Timestamp;
use norma_baseline::bundle::{BundleError, Entry, Sealed};
use norma_baseline::evidence::Evidence;
use norma_baseline::export::document::{DOCUMENT_MAX, Document};
use norma_baseline::file::{self, FormatError};
use norma_baseline::norm::Norm;
use norma_baseline::overlay::{Overlay, SignedDecision};
use norma_baseline::signature::{PublicKey, TrustedKeys};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

const NORM: &str = "norm";
const EVIDENCE: &str = "evidence";
const DECISIONS: &str = "decisions";
/// How a file of baselines begins.
const MAGIC: &[u8] = b"NormaBL";

/// What a bundle holds, after its signature was found to be that of a trusted key.
#[derive(Clone, Debug)]
pub struct Carried {
    /// Who made it, in their own words.
    pub who: String,
    /// With which key.
    pub key: PublicKey,
    /// When.
    pub at: Timestamp,
    /// What was learned.
    pub kept: Vec<Kept>,
    /// What people decided, as far as trusted keys signed it.
    pub overlay: Overlay,
    /// Decisions that a trusted key did not sign, each with the reason. They do not count.
    pub untrusted: Vec<(SignedDecision, String)>,
}

/// A bundle that is refused, or whose files are not those of baselines.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// Its signature or its files.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A file cannot be read.
    #[error("the bundle is refused: {name}: {reason}")]
    File {
        /// Its name in the bundle.
        name: String,
        /// What is wrong with it.
        reason: FormatError,
    },
    /// A file that no bundle of baselines has, or one without its other half.
    #[error("the bundle is refused: what {0} is for is not known")]
    Stray(String),
}

impl Carried {
    /// Puts baselines and the decisions on them in a signed bundle.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn seal(kept: &[&Kept], overlay: &Overlay, person: &Person, at: Timestamp) -> anyhow::Result<Sealed> {
        let mut entries = Vec::new();
        for (number, kept) in kept.iter().enumerate() {
            entries.push(Entry {
                name: format!("{number:05}.{NORM}"),
                content: file::to_bytes(&kept.norm)?,
            });
            entries.push(Entry {
                name: format!("{number:05}.{EVIDENCE}"),
                content: file::to_bytes(&kept.evidence)?,
            });
        }
        let about: Vec<SignedDecision> = overlay
            .decisions()
            .filter(|signed| {
                let workload = &signed.decision().workload;
                kept.iter().any(|kept| kept.subject().workload == *workload)
            })
            .cloned()
            .collect();
        entries.push(Entry {
            name: DECISIONS.to_owned(),
            content: file::to_bytes(&Overlay::from(about))?,
        });
        Ok(Sealed::seal(entries, &person.name, at, &person.signer)?)
    }

    /// What is in a bundle that a trusted key signed. All of it can be read, or nothing is taken.
    ///
    /// # Errors
    /// It is not as it was signed, or nobody who is trusted did; what cannot be read.
    pub fn open(sealed: Sealed, keys: &TrustedKeys) -> Result<Self, CarryError> {
        let key = sealed.signer();
        let opened = sealed.open(keys)?;
        let mut norms: BTreeMap<String, Norm> = BTreeMap::new();
        let mut evidence: BTreeMap<String, Evidence> = BTreeMap::new();
        let mut overlay = Overlay::new();
        for Entry { name, content } in &opened.entries {
            match name.rsplit_once('.') {
                Some((stem, NORM)) => {
                    norms.insert(stem.to_owned(), part(name, content)?);
                }
                Some((stem, EVIDENCE)) => {
                    evidence.insert(stem.to_owned(), part(name, content)?);
                }
                None if name == DECISIONS => overlay = part(name, content)?,
                _ => return Err(CarryError::Stray(name.clone())),
            }
        }
        let mut kept = Vec::new();
        for (stem, norm) in norms {
            let Some(evidence) = evidence.remove(&stem) else {
                return Err(CarryError::Stray(format!("{stem}.{NORM}")));
            };
            kept.push(Kept { norm, evidence });
        }
        if let Some(stem) = evidence.into_keys().next() {
            return Err(CarryError::Stray(format!("{stem}.{EVIDENCE}")));
        }
        let untrusted = overlay
            .retain_trusted(keys)
            .into_iter()
            .map(|(decision, reason)| (decision, reason.to_string()))
            .collect();
        Ok(Self {
            who: opened.who,
            key,
            at: opened.at,
            kept,
            overlay,
            untrusted,
        })
    }
}

fn part<T: file::Filed>(name: &str, content: &[u8]) -> Result<T, CarryError> {
    file::from_bytes(content).map_err(|reason| CarryError::File {
        name: name.to_owned(),
        reason,
    })
}

/// Options of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// A bundle, or a YAML document, as `baseline export` writes them.
    file: PathBuf,
    #[command(flatten)]
    signing: Signing,
    /// Why you decide as a YAML document says. A bundle has its own signatures.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What a bundle says of itself.
#[derive(Debug, Serialize)]
struct Report {
    who: String,
    at: u64,
    key: String,
    baselines: Vec<Content>,
    decisions: usize,
    outcome: decide::Told,
}

#[derive(Debug, Serialize)]
struct Content {
    workload: String,
    revision: String,
    facts: usize,
}

impl Import {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let bytes = read(&self.file)?;
        if bytes.starts_with(MAGIC) {
            return self.bundle(program, &bytes);
        }
        let text = std::str::from_utf8(&bytes)
            .with_context(|| format!("{} is neither a bundle nor text", self.file.display()))?;
        let document =
            Document::from_yaml(text).with_context(|| format!("cannot read {}", self.file.display()))?;
        let why = self.why.as_deref().context(
            "what a document says becomes decisions of your own: say --why you take it over (a bundle carries its own)",
        )?;
        let person = self.signing.person()?;
        let decisions: Vec<_> = document
            .decisions(&person.name, decide::now(), decide::why(why)?)
            .collect();
        if decisions.is_empty() {
            bail!("{} says nothing", self.file.display());
        }
        let plan = Plan {
            headline: format!(
                "Take over {} as decisions on {}",
                self.file.display(),
                document.subject()
            ),
            lines: decisions
                .iter()
                .map(|decision| match &decision.item {
                    norma_baseline::overlay::Item::Fact(fact) => {
                        format!("{} {} {fact}", decision.verb.name(), fact.code())
                    }
                    norma_baseline::overlay::Item::Whole => decision.verb.name().to_owned(),
                })
                .collect(),
            decisions,
        };
        plan.carry_out(program, &self.place, &person, self.yes, self.output)
    }

    fn bundle(&self, program: &Program, bytes: &[u8]) -> anyhow::Result<String> {
        let at = || format!("cannot take over {}", self.file.display());
        let sealed: Sealed = file::from_bytes(bytes).with_context(at)?;
        let key = sealed.signer();
        // Whether that key is to be trusted is for the program to say. That it signed what is here is seen at once.
        let itself: TrustedKeys = [key].into_iter().collect();
        let carried = Carried::open(sealed, &itself).with_context(at)?;
        let mut lines = vec![format!("made by {} at {}, key {key}", carried.who, carried.at)];
        let mut contents = Vec::new();
        for kept in &carried.kept {
            let facts = kept.evidence.facts().count();
            lines.push(format!("evidence of {}: {facts} behaviours", kept.subject()));
            contents.push(Content {
                workload: kept.subject().workload.to_string(),
                revision: kept.subject().revision.to_string(),
                facts,
            });
        }
        let decisions = carried.overlay.decisions().count() + carried.untrusted.len();
        lines.push(format!("{decisions} decisions"));
        let headline = format!("Take over the bundle {}", self.file.display());
        ask::confirm(&headline, &lines, self.yes)?;
        let outcome = inbox::hand_over_bundle(&self.place.directory(program), bytes)?;
        let told = decide::Told::of(program, outcome)?;
        match self.output {
            Output::Human => Ok(format!("{}\n", told.words)),
            Output::Json => json(&Report {
                who: carried.who,
                at: carried.at.as_unix(),
                key: key.to_string(),
                baselines: contents,
                decisions,
                outcome: told,
            }),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let at = || format!("cannot read {}", path.display());
    let most = inbox::BYTES_MAX.max(DOCUMENT_MAX as u64);
    let file = File::open(path).with_context(at)?;
    let length = file.metadata().with_context(at)?.len();
    if length > most {
        bail!(
            "cannot take over {}: {length} bytes are more than the {most} that are taken",
            path.display()
        );
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).with_context(at)?;
    Ok(bytes)
}
