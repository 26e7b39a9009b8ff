//! Policy files: the document as typed, and its reading.

use super::pattern::{PathClause, PeerClause, Selector};
use super::{Clause, ClauseRef, Policy, Response, Subject, Verb};
use norma_settings::{Faults, SettingsError, Spanned};
use norma_wire::pb::Severity;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The only version that there is.
const API_VERSION: &str = "norma.dev/v1alpha1";

/// A policy as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyDocument {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    select: RawSelect,
    #[serde(default)]
    process: Vec<Spanned<RawProcess>>,
    #[serde(default)]
    file: Vec<Spanned<RawFile>>,
    #[serde(default)]
    network: Vec<Spanned<RawNetwork>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSelect {
    workload: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProcess {
    allow: Option<Vec<Spanned<String>>>,
    alert: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    response: Option<Spanned<RawResponse>>,
    severity: Option<RawSeverity>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    allow: Option<Vec<Spanned<String>>>,
    alert: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    access: Option<Vec<RawAccess>>,
    response: Option<Spanned<RawResponse>>,
    severity: Option<RawSeverity>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNetwork {
    allow: Option<Vec<Spanned<String>>>,
    alert: Option<Vec<Spanned<String>>>,
    deny: Option<Vec<Spanned<String>>>,
    ports: Option<Vec<Spanned<u16>>>,
    response: Option<Spanned<RawResponse>>,
    severity: Option<RawSeverity>,
    why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawResponse {
    Alert,
    Deny,
    Kill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawAccess {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSeverity {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl From<RawSeverity> for Severity {
    fn from(raw: RawSeverity) -> Self {
        match raw {
            RawSeverity::Info => Self::Info,
            RawSeverity::Low => Self::Low,
            RawSeverity::Medium => Self::Medium,
            RawSeverity::High => Self::High,
            RawSeverity::Critical => Self::Critical,
        }
    }
}

/// The policy files that a place names: itself, or the `.yaml` and `.yml` files of a directory, sorted.
pub fn files(place: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(place)?.is_dir() {
        return Ok(vec![place.to_owned()]);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(place)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml")
        })
        .collect();
    files.sort();
    Ok(files)
}

/// Reads the policies of a file.
pub(super) fn read(file: &Path, faults: &mut Faults) -> Vec<Policy> {
    let documents: Vec<PolicyDocument> = match norma_settings::read_all(file) {
        Ok(documents) => documents,
        Err(SettingsError::Wrong(more)) => {
            faults.0.extend(more.0);
            return Vec::new();
        }
        Err(unreadable) => {
            faults.0.push(norma_settings::Fault {
                path: file.to_owned(),
                line: 0,
                column: 0,
                message: unreadable.to_string(),
            });
            return Vec::new();
        }
    };
    let revision: Arc<str> =
        crate::config::hex(&Sha256::digest(std::fs::read(file).unwrap_or_default())).into();
    documents
        .into_iter()
        .map(|document| understand(file, &document, &revision, faults))
        .collect()
}

fn understand(file: &Path, document: &PolicyDocument, revision: &Arc<str>, faults: &mut Faults) -> Policy {
    if document.api_version.value != API_VERSION {
        let message = format!(
            "apiVersion `{}` is not known; use `{API_VERSION}`",
            document.api_version.value
        );
        faults.push(file, &document.api_version, message);
    }
    if document.kind.value != "Policy" {
        let message = format!("kind `{}` is not known; use `Policy`", document.kind.value);
        faults.push(file, &document.kind, message);
    }
    if document.metadata.name.value.is_empty() {
        faults.push(file, &document.metadata.name, "a policy needs a name");
    }
    let spec = &document.spec;
    let select = Selector::parse(
        spec.select.workload.as_ref(),
        spec.select.image.as_ref(),
        &mut |at, message| faults.push(file, at, message),
    );
    let mut reading = Reading {
        file,
        name: document.metadata.name.value.as_str().into(),
        revision,
        faults,
    };
    let mut clauses = Vec::new();
    for raw in &spec.process {
        clauses.extend(reading.process(raw));
    }
    for raw in &spec.file {
        clauses.extend(reading.file(raw));
    }
    for raw in &spec.network {
        clauses.extend(reading.network(raw));
    }
    Policy {
        name: Arc::clone(&reading.name),
        select,
        clauses,
    }
}

struct Reading<'a> {
    file: &'a Path,
    name: Arc<str>,
    revision: &'a Arc<str>,
    faults: &'a mut Faults,
}

type Patterns = Option<Vec<Spanned<String>>>;

impl Reading<'_> {
    fn process(&mut self, raw: &Spanned<RawProcess>) -> Option<Clause> {
        let clause = &raw.value;
        let (verb, patterns) = self.verb(raw, [&clause.allow, &clause.alert, &clause.deny])?;
        let response = self.response(
            verb,
            clause.response.as_ref(),
            Some(Response::Kill),
            &[RawResponse::Kill],
        )?;
        let paths = self.paths(patterns)?;
        Some(self.clause(
            raw,
            verb,
            response,
            clause.severity,
            &clause.why,
            Subject::Process(paths),
        ))
    }

    fn file(&mut self, raw: &Spanned<RawFile>) -> Option<Clause> {
        let clause = &raw.value;
        let (verb, patterns) = self.verb(raw, [&clause.allow, &clause.alert, &clause.deny])?;
        let response = self.response(verb, clause.response.as_ref(), None, &[RawResponse::Kill])?;
        let paths = self.paths(patterns)?;
        let wants = |access| clause.access.as_ref().is_none_or(|list| list.contains(&access));
        let subject = Subject::File {
            paths,
            read: wants(RawAccess::Read),
            write: wants(RawAccess::Write),
        };
        Some(self.clause(raw, verb, response, clause.severity, &clause.why, subject))
    }

    fn network(&mut self, raw: &Spanned<RawNetwork>) -> Option<Clause> {
        let clause = &raw.value;
        let (verb, patterns) = self.verb(raw, [&clause.allow, &clause.alert, &clause.deny])?;
        let response = self.response(
            verb,
            clause.response.as_ref(),
            Some(Response::Deny),
            &[RawResponse::Deny, RawResponse::Kill],
        )?;
        let ports: Vec<u16> = clause.ports.iter().flatten().map(|port| port.value).collect();
        if let Some(zero) = clause.ports.iter().flatten().find(|port| port.value == 0) {
            self.faults.push(
                self.file,
                zero,
                "port 0 does not exist; leave `ports` out for every port",
            );
            return None;
        }
        let (file, faults) = (self.file, &mut *self.faults);
        let peers = PeerClause::parse(patterns, ports, &mut |at, message| faults.push(file, at, message))?;
        Some(self.clause(
            raw,
            verb,
            response,
            clause.severity,
            &clause.why,
            Subject::Network(peers),
        ))
    }

    fn verb<'p, T>(
        &mut self,
        at: &Spanned<T>,
        lists: [&'p Patterns; 3],
    ) -> Option<(Verb, &'p [Spanned<String>])> {
        let mut given = [Verb::Allow, Verb::Alert, Verb::Deny]
            .into_iter()
            .zip(lists)
            .filter_map(|(verb, list)| list.as_deref().map(|list| (verb, list)));
        match (given.next(), given.next()) {
            (Some((verb, list)), None) if !list.is_empty() => Some((verb, list)),
            (Some(_), None) => {
                self.faults.push(self.file, at, "the clause lists nothing");
                None
            }
            _ => {
                let message =
                    "a clause has exactly one of `allow`, `alert` and `deny`; write one clause for each";
                self.faults.push(self.file, at, message);
                None
            }
        }
    }

    /// The response, or its default for a denial; outer `None` for one that makes no sense.
    #[expect(
        clippy::option_option,
        reason = "outside: the clause is faulty; inside: only an alert"
    )]
    fn response(
        &mut self,
        verb: Verb,
        raw: Option<&Spanned<RawResponse>>,
        default: Option<Response>,
        possible: &[RawResponse],
    ) -> Option<Option<Response>> {
        let Some(raw) = raw else {
            return Some(if verb == Verb::Deny { default } else { None });
        };
        match raw.value {
            RawResponse::Alert => Some(None),
            chosen if verb == Verb::Deny && possible.contains(&chosen) => {
                Some(Some(if chosen == RawResponse::Deny {
                    Response::Deny
                } else {
                    Response::Kill
                }))
            }
            _ if verb != Verb::Deny => {
                self.faults.push(
                    self.file,
                    raw,
                    "only a `deny` clause can have a response other than `alert`",
                );
                None
            }
            _ => {
                let message = "this response is not possible here: a process clause can `kill`, a file clause can \
                               `kill` (after the open), a network clause can `deny` or `kill`";
                self.faults.push(self.file, raw, message);
                None
            }
        }
    }

    fn paths(&mut self, patterns: &[Spanned<String>]) -> Option<PathClause> {
        let (file, faults) = (self.file, &mut *self.faults);
        PathClause::parse(patterns, &mut |at, message| faults.push(file, at, message))
    }

    fn clause<T>(
        &self,
        at: &Spanned<T>,
        verb: Verb,
        response: Option<Response>,
        severity: Option<RawSeverity>,
        why: &Option<String>,
        subject: Subject,
    ) -> Clause {
        let default = match verb {
            Verb::Deny => Severity::High,
            Verb::Alert => Severity::Medium,
            Verb::Allow => Severity::Info,
        };
        let file = self.file.file_name().unwrap_or_default().to_string_lossy();
        Clause {
            verb,
            response,
            severity: severity.map_or(default, Severity::from),
            why: why.clone(),
            reference: ClauseRef {
                policy: Arc::clone(&self.name),
                place: format!("{file}:{}", at.referenced.line()).into(),
                revision: Arc::clone(self.revision),
            },
            subject,
        }
    }
}
