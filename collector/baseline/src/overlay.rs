//! What people decided about a baseline, kept apart from what was observed.
//!
//! Evidence says what happened, a decision what is to be thought of it; neither overwrites the other. An
//! overlay is a set of signed decisions: merging is union, so it is a CRDT as well. Of several decisions on one
//! item the last one holds, and for two of the same second the one with the larger digest, so that all come to
//! the same. A decision on a single fact weighs more than one on the whole: what was rejected stays rejected,
//! also when the whole is approved later.

use crate::fact::Fact;
use crate::signature::{Signature, Signer, TrustedKeys, Untrusted};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What is learned as one: a workload, at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Namespace / owner kind / owner name / container name.
    pub workload: Arc<str>,
    /// Image digest and command.
    pub revision: Arc<str>,
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.workload, self.revision)
    }
}

/// What is decided on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Item {
    /// All that was observed until then.
    Whole,
    /// One fact, or what a pattern stands for.
    Fact(Fact),
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// It is normal.
    Approve,
    /// It is not normal, and will not be however often it happens. Of the whole: what was new in this revision.
    Reject,
    /// What is not known by now is novel, whatever the estimates say. Only of the whole.
    Lock,
    /// Learning goes on until the estimates say that it is done. Only of the whole.
    Unlock,
    /// As if it had not been seen until then, nor decided on.
    Forget,
}

impl Verb {
    /// As in commands and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Forget => "forget",
        }
    }
}

/// Who decided what, when and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// The workload.
    pub workload: Arc<str>,
    /// The revision; `None` for all, also those to come.
    pub revision: Option<Arc<str>>,
    /// What it is about.
    pub item: Item,
    /// What is decided.
    pub verb: Verb,
    /// The person, as the one who authenticated them names them.
    pub who: Arc<str>,
    /// When.
    pub at: Timestamp,
    /// In the person's words.
    pub why: Arc<str>,
}

/// A decision that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// Locking is of a baseline as a whole.
    #[error("only a whole baseline can be locked or unlocked, not a single item")]
    OfAnItem,
    /// The signature does not count.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
}

/// What comes before a decision's bytes where it is signed, so that nothing else that is signed can pass for one.
const CONTEXT: &[u8] = b"norma.dev/decision/v1\0";

impl Decision {
    /// Signs it.
    pub fn sign(self, signer: &Signer) -> Result<SignedDecision, DecisionError> {
        self.check()?;
        let signature = signer.sign(&self.canonical());
        Ok(SignedDecision {
            decision: self,
            signature,
        })
    }

    fn check(&self) -> Result<(), DecisionError> {
        match (&self.item, self.verb) {
            (Item::Fact(_), Verb::Lock | Verb::Unlock) => Err(DecisionError::OfAnItem),
            _ => Ok(()),
        }
    }

    /// What is signed: each text with its length in front, in the order of the fields. Of a fact it is the
    /// canonical form that its identity is made of.
    fn canonical(&self) -> Vec<u8> {
        let mut out = CONTEXT.to_vec();
        let mut text = |text: Option<&str>| match text {
            Some(text) => {
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text.as_bytes());
            }
            None => out.extend(u32::MAX.to_le_bytes()),
        };
        text(Some(&self.workload));
        text(self.revision.as_deref());
        text(Some(self.verb.name()));
        text(Some(&self.who));
        text(Some(&self.why));
        out.extend(self.at.as_unix().to_le_bytes());
        match &self.item {
            Item::Whole => out.push(0),
            Item::Fact(fact) => {
                out.push(1);
                fact.write_canonical(|bytes| out.extend(bytes));
            }
        }
        out
    }

    fn is_about(&self, subject: &Subject) -> bool {
        self.workload == subject.workload
            && self
                .revision
                .as_ref()
                .is_none_or(|revision| *revision == subject.revision)
    }
}

/// A decision with its signature.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedDecision {
    decision: Decision,
    signature: Signature,
}

impl SignedDecision {
    /// What was decided.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Who signed it.
    #[must_use]
    pub const fn signature(&self) -> &Signature {
        &self.signature
    }

    /// It was signed like this by a trusted key.
    pub fn verify(&self, keys: &TrustedKeys) -> Result<(), DecisionError> {
        self.decision.check()?;
        Ok(keys.verify(&self.decision.canonical(), &self.signature)?)
    }

    /// With the signature: the same decision under a key that is not trusted must not take its place.
    fn digest(&self) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.decision.canonical())
            .chain_update(self.signature.key.bytes())
            .chain_update(self.signature.bytes())
            .finalize()
            .into()
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<SignedDecision>", into = "Vec<SignedDecision>")]
pub struct Overlay {
    /// By time and digest: in the order in which they hold.
    decisions: BTreeMap<(Timestamp, [u8; 32]), SignedDecision>,
}

impl From<Vec<SignedDecision>> for Overlay {
    fn from(decisions: Vec<SignedDecision>) -> Self {
        let mut overlay = Self::default();
        for decision in decisions {
            overlay.insert(decision);
        }
        overlay
    }
}

impl From<Overlay> for Vec<SignedDecision> {
    fn from(overlay: Overlay) -> Self {
        overlay.decisions.into_values().collect()
    }
}

/// What was decided last on a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// What was first seen until then is normal.
    pub approved: Option<Timestamp>,
    /// What was new until then is not.
    pub rejected: Option<Timestamp>,
    /// What was first seen later is novel.
    pub locked: Option<Timestamp>,
    /// Readiness from before counts no more.
    pub unlocked: Option<Timestamp>,
    /// What was last seen until then counts no more.
    pub forgotten: Option<Timestamp>,
}

impl Overlay {
    /// Nothing was decided yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a decision, if it is signed by a trusted key. Whether it is a new one.
    pub fn add(&mut self, decision: SignedDecision, keys: &TrustedKeys) -> Result<bool, DecisionError> {
        decision.verify(keys)?;
        Ok(self.insert(decision))
    }

    /// Takes over what another has more, without looking at signatures.
    pub fn merge(&mut self, other: &Self) {
        for decision in other.decisions.values() {
            self.insert(decision.clone());
        }
    }

    /// Drops what is not signed by a trusted key: for what was read from a file or came from elsewhere. Gives
    /// what was dropped, with the reason.
    pub fn retain_trusted(&mut self, keys: &TrustedKeys) -> Vec<(SignedDecision, DecisionError)> {
        let mut dropped = Vec::new();
        self.decisions.retain(|_, decision| match decision.verify(keys) {
            Ok(()) => true,
            Err(error) => {
                dropped.push((decision.clone(), error));
                false
            }
        });
        dropped
    }

    /// All decisions in the order in which they were made.
    pub fn decisions(&self) -> impl Iterator<Item = &SignedDecision> {
        self.decisions.values()
    }

    /// The decision that holds for a single fact.
    #[must_use]
    pub fn ruling(&self, subject: &Subject, fact: &Fact) -> Option<&Decision> {
        self.rulings(subject)
            .filter(|(item, _)| *item == fact)
            .map(|(_, decision)| decision)
            .last()
    }

    /// A person rejected the fact.
    #[must_use]
    pub fn rejects(&self, subject: &Subject, fact: &Fact) -> bool {
        self.ruling(subject, fact)
            .is_some_and(|decision| decision.verb == Verb::Reject)
    }

    /// All decisions on single facts, in the order in which they were made.
    pub(crate) fn rulings<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = (&'a Fact, &'a Decision)> {
        self.about(subject).filter_map(|decision| match &decision.item {
            Item::Fact(fact) => Some((fact, decision)),
            Item::Whole => None,
        })
    }

    /// What holds for the whole.
    #[must_use]
    pub fn whole(&self, subject: &Subject) -> Whole {
        let mut whole = Whole::default();
        for decision in self
            .about(subject)
            .filter(|decision| decision.item == Item::Whole)
        {
            let at = Some(decision.at);
            match decision.verb {
                Verb::Approve => (whole.approved, whole.rejected) = (at, None),
                Verb::Reject => (whole.approved, whole.rejected) = (None, at),
                Verb::Lock => (whole.locked, whole.unlocked) = (at, None),
                Verb::Unlock => (whole.locked, whole.unlocked) = (None, at),
                Verb::Forget => {
                    whole = Whole {
                        forgotten: at,
                        unlocked: at,
                        ..Whole::default()
                    }
                }
            }
        }
        whole
    }

    fn about<'a>(&'a self, subject: &Subject) -> impl Iterator<Item = &'a Decision> {
        self.decisions
            .values()
            .map(SignedDecision::decision)
            .filter(|decision| decision.is_about(subject))
    }

    fn insert(&mut self, decision: SignedDecision) -> bool {
        let place = (decision.decision.at, decision.digest());
        self.decisions.insert(place, decision).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{NotAKey, PublicKey};
    use crate::testing::read_of;
    use proptest::prelude::*;

    fn signer(seed: u8) -> Signer {
        Signer::of_seed(&[seed; 32]).unwrap()
    }

    fn subject() -> Subject {
        Subject {
            workload: "shop/web".into(),
            revision: "sha256:1".into(),
        }
    }

    fn decide(verb: Verb, item: Item, at: u64) -> Decision {
        Decision {
            workload: "shop/web".into(),
            revision: None,
            item,
            verb,
            who: "ada".into(),
            at: Timestamp::from_unix(at),
            why: "looked at it".into(),
        }
    }

    fn overlay(decisions: &[Decision]) -> Overlay {
        let decisions = decisions.iter().cloned();
        Overlay::from(
            decisions
                .map(|decision| decision.sign(&signer(1)).unwrap())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn only_trusted_and_unchanged_decisions_count() {
        let trusted: TrustedKeys = [signer(1).key()].into_iter().collect();
        let decision = decide(Verb::Approve, Item::Fact(read_of("/x")), 1);
        let signed = decision.clone().sign(&signer(1)).unwrap();
        let mut overlay = Overlay::new();
        assert_eq!(overlay.add(signed.clone(), &trusted), Ok(true));
        assert_eq!(overlay.add(signed.clone(), &trusted), Ok(false));

        let mut changed = signed;
        changed.decision.item = Item::Fact(read_of("/y"));
        let error = overlay.add(changed.clone(), &trusted).unwrap_err();
        assert_eq!(error, DecisionError::Untrusted(Untrusted::Wrong(signer(1).key())));
        let foreign = decision.sign(&signer(2)).unwrap();
        let error = overlay.add(foreign.clone(), &trusted).unwrap_err();
        assert_eq!(
            error,
            DecisionError::Untrusted(Untrusted::UnknownKey(signer(2).key()))
        );
        overlay.merge(&Overlay::from(vec![changed, foreign]));
        assert_eq!(overlay.retain_trusted(&trusted).len(), 1 + 1);
    }

    #[test]
    fn every_part_of_a_decision_is_signed() {
        let base = decide(Verb::Approve, Item::Fact(read_of("/x")), 1);
        let changes: [fn(&mut Decision); 7] = [
            |decision| decision.workload = "other".into(),
            |decision| decision.revision = Some("".into()),
            |decision| decision.item = Item::Whole,
            |decision| decision.verb = Verb::Reject,
            |decision| decision.who = "eve".into(),
            |decision| decision.at = Timestamp::from_unix(2),
            |decision| decision.why = "".into(),
        ];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            assert_ne!(changed.canonical(), base.canonical(), "{changed:?}");
        }
    }

    #[test]
    fn the_last_word_on_a_fact_holds_and_outweighs_the_whole() {
        let fact = read_of("/x");
        let item = || Item::Fact(fact.clone());
        let decisions = [
            decide(Verb::Reject, item(), 10),
            decide(Verb::Approve, Item::Whole, 20),
            decide(Verb::Approve, item(), 5),
        ];
        let mut overlay = overlay(&decisions);
        assert!(overlay.rejects(&subject(), &fact));
        assert_eq!(overlay.whole(&subject()).approved, Some(Timestamp::from_unix(20)));
        overlay.insert(decide(Verb::Approve, item(), 30).sign(&signer(1)).unwrap());
        assert!(!overlay.rejects(&subject(), &fact));
        let other = Subject {
            workload: "shop/db".into(),
            ..subject()
        };
        assert_eq!(overlay.ruling(&other, &fact), None);
    }

    #[test]
    fn an_item_cannot_be_locked() {
        let decision = decide(Verb::Lock, Item::Fact(read_of("/x")), 1);
        assert_eq!(decision.sign(&signer(1)), Err(DecisionError::OfAnItem));
    }

    #[test]
    fn keys_are_what_they_are() {
        assert_eq!(Signer::of_pkcs8(b"x").unwrap_err(), NotAKey);
        assert_eq!(PublicKey::new([0xab; 32]).to_string(), "ab".repeat(32));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn merging_is_union(cut in 0..8_usize, from in 0..8_usize) {
            let decisions: Vec<_> = (0..8_u64)
                .map(|number| {
                    let verb = if number % 3 == 0 { Verb::Reject } else { Verb::Approve };
                    decide(verb, Item::Fact(read_of(&format!("/{}", number % 2))), number / 2)
                })
                .collect();
            let (left, right) = (overlay(&decisions[..cut]), overlay(&decisions[from..]));
            let merged = |mut left: Overlay, right: &Overlay| {
                left.merge(right);
                left
            };
            let both = merged(left.clone(), &right);
            prop_assert_eq!(&merged(right.clone(), &left), &both);
            prop_assert_eq!(&merged(both.clone(), &right), &both);
            let read: Overlay = rmp_serde::from_slice(&rmp_serde::to_vec(&both).unwrap()).unwrap();
            prop_assert_eq!(read, both);
        }
    }
}
