//! Our own YAML: `apiVersion: norma.dev/v1alpha1`, `kind: Baseline`.
//!
//! It is for people to read, to keep beside the code of a workload and to carry from one cluster to another. It
//! is not evidence: what is imported is believed because somebody with a name says so, as decisions.

use super::{ExportError, commented, head};
use crate::estimate::State;
use crate::fact::{Fact, Field};
use crate::norm::Norm;
use crate::overlay::{Decision, Item, Subject, Verb};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

const API_VERSION: &str = "norma.dev/v1alpha1";
const KIND: &str = "Baseline";
/// Largest document that is read, in bytes.
pub const DOCUMENT_MAX: usize = 32 << 20;

/// A norm as a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    api_version: String,
    kind: String,
    /// Whose.
    pub metadata: Metadata,
    /// What.
    pub spec: Spec,
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Namespace / owner kind / owner name / container name.
    pub workload: Arc<str>,
    /// Image digest and command.
    pub revision: Arc<str>,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// How far each field is; what is missing is not complete.
    #[serde(default)]
    pub fields: BTreeMap<Field, Progress>,
    /// Expected facts and patterns, in order.
    pub behaviours: Vec<Fact>,
    /// What people rejected, in order.
    #[serde(default)]
    pub rejected: Vec<Fact>,
}

/// How far a field is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Progress {
    /// It is judged.
    pub ready: bool,
    /// In words.
    pub state: String,
    /// New behaviours to be expected in a day.
    pub expected_per_day: f64,
    /// Part of the behaviour that is known, 0 to 1.
    pub coverage: f64,
}

/// A text that is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than is read.
    #[error("{0} bytes are more than the {DOCUMENT_MAX} that are read")]
    TooLarge(usize),
    /// With line and column.
    #[error("{0}")]
    Yaml(String),
    /// Something else, or of another version.
    #[error(
        "not a baseline that can be read: apiVersion {api_version}, kind {kind}; wanted are {API_VERSION}, {KIND}"
    )]
    Other {
        /// What it says.
        api_version: String,
        /// What it says.
        kind: String,
    },
}

impl Document {
    /// Of a norm.
    #[must_use]
    pub fn of(norm: &Norm) -> Self {
        let mut behaviours: Vec<Fact> = norm.expected().collect();
        behaviours.sort();
        let mut rejected: Vec<Fact> = norm
            .standings()
            .filter(|(_, standing)| *standing == crate::norm::Standing::Rejected)
            .map(|(fact, _)| fact.owned())
            .collect();
        rejected.sort();
        let fields = Field::ALL
            .into_iter()
            .map(|field| {
                let estimate = norm.survey().field(field);
                let progress = Progress {
                    ready: matches!(estimate.state, State::Ready { .. }),
                    state: estimate.state.to_string(),
                    expected_per_day: rounded(estimate.per_day.point),
                    coverage: rounded(estimate.coverage),
                };
                (field, progress)
            })
            .collect();
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata: Metadata {
                workload: Arc::clone(&norm.subject().workload),
                revision: Arc::clone(&norm.subject().revision),
            },
            spec: Spec {
                fields,
                behaviours,
                rejected,
            },
        }
    }

    /// As text, with a head that says what it was derived from.
    pub fn to_yaml(&self, norm: &Norm) -> Result<String, ExportError> {
        let body = serde_saphyr::to_string(self).map_err(|error| ExportError::Yaml(error.to_string()))?;
        let head = head(norm, &[], "what was observed and what people decided");
        Ok(commented(&head) + &body)
    }

    /// Of text. Unknown keys are errors: a misspelt one would be a hole that nobody sees.
    pub fn from_yaml(text: &str) -> Result<Self, DocumentError> {
        if text.len() > DOCUMENT_MAX {
            return Err(DocumentError::TooLarge(text.len()));
        }
        let document: Self =
            serde_saphyr::from_str(text).map_err(|error| DocumentError::Yaml(error.to_string()))?;
        if document.api_version != API_VERSION || document.kind != KIND {
            return Err(DocumentError::Other {
                api_version: document.api_version,
                kind: document.kind,
            });
        }
        Ok(document)
    }

    /// Whose it is.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject {
            workload: Arc::clone(&self.metadata.workload),
            revision: Arc::clone(&self.metadata.revision),
        }
    }

    /// What somebody decides who imports it: each expected fact is approved, each rejected one rejected. To be
    /// signed.
    pub fn decisions(&self, who: &str, at: Timestamp, why: &str) -> impl Iterator<Item = Decision> {
        let (who, why): (Arc<str>, Arc<str>) = (Arc::from(who), Arc::from(why));
        let approved = self.spec.behaviours.iter().map(|fact| (fact, Verb::Approve));
        let rejected = self.spec.rejected.iter().map(|fact| (fact, Verb::Reject));
        approved.chain(rejected).map(move |(fact, verb)| Decision {
            workload: Arc::clone(&self.metadata.workload),
            revision: Some(Arc::clone(&self.metadata.revision)),
            item: Item::Fact(fact.clone()),
            verb,
            who: Arc::clone(&who),
            at,
            why: Arc::clone(&why),
        })
    }
}

fn rounded(value: f64) -> f64 {
    if value.is_finite() {
        (value * 1e4).round() / 1e4
    } else {
        value
    }
}
