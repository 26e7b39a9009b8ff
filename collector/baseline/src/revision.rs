//! What a new revision does differently: one release delta to decide on, instead of a stream of findings.
//!
//! A new revision inherits the norm of the one before ([`Inputs::predecessor`](crate::norm::Inputs)), so what it
//! does as before is expected from its first second. The rest is the delta: what was added, what is gone, and
//! what only changed in a version, an argument or a port.

use crate::evidence::{Evidence, Sampling};
use crate::fact::{ArgumentShape, Fact, Field};
use crate::norm::{Norm, Standing};
use crate::overlay::{Decision, Item, Subject, Verb};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A fact that the new revision showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// The fact.
    pub fact: Fact,
    /// What it counts for by now.
    pub standing: Standing,
    /// Sampling units and starts in which it was seen.
    pub incidence: u64,
    /// Replicas in which it was seen.
    pub replicas: u64,
    /// When first.
    pub first_seen: Timestamp,
}

/// A fact that took the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What was expected before.
    pub from: Fact,
    /// What was seen instead.
    pub to: Added,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDelta {
    /// The new revision.
    pub subject: Subject,
    /// The one before.
    pub from: Arc<str>,
    /// Sampling units of the new one so far.
    pub units: u64,
    /// What a unit is.
    pub sampling: Sampling,
    /// Starts of the new one so far.
    pub starts: u64,
    /// Replicas of the new one so far.
    pub replicas: u64,
    /// Until when it was observed.
    pub until: Timestamp,
    /// In the order of facts.
    pub added: Vec<Added>,
    /// In the order of facts.
    pub changed: Vec<Changed>,
    /// What was expected before and was not seen yet. In the order of facts.
    pub gone: Vec<Fact>,
    /// What the one before was not learned in: nothing can be said of it.
    #[serde(default)]
    pub not_compared: Vec<Field>,
}

/// What the new revision does differently, in the fields in which the old one was learned. `norm` and `evidence` are
/// those of the new one.
#[must_use]
pub fn release_delta(old: &Norm, norm: &Norm, evidence: &Evidence) -> ReleaseDelta {
    let expected: BTreeSet<Fact> = old.expected().collect();
    let standings: BTreeMap<Fact<&str>, Standing> = norm.standings().collect();
    let not_compared: Vec<Field> = old.survey().still_learned().collect();
    let mut added: Vec<Added> = evidence
        .tallies()
        .filter(|(_, fact, _)| !not_compared.contains(&fact.field()))
        .filter_map(|(_, fact, tally)| {
            let standing = *standings.get(&fact)?;
            let is_new = standing != Standing::Inherited && !expected.contains(&fact.owned());
            is_new.then(|| Added {
                fact: fact.owned(),
                standing,
                incidence: tally.incidence(),
                replicas: tally.replicas,
                first_seen: tally.first_seen,
            })
        })
        .collect();
    added.sort_by(|left, right| left.fact.cmp(&right.fact));
    let gone: Vec<Fact> = old
        .standings()
        .filter(|(fact, standing)| standing.is_expected() && evidence.tally_of(fact).is_none())
        .filter(|(fact, _)| !not_compared.contains(&fact.field()))
        // One name of an open set is as good as another.
        .filter(|(fact, _)| old.patterns().of(fact, &crate::pattern::Unprotected).is_none())
        .map(|(fact, _)| fact.owned())
        .collect();
    let (added, changed, gone) = pair(added, gone);
    let total = evidence.total();
    ReleaseDelta {
        subject: norm.subject().clone(),
        from: Arc::clone(&old.subject().revision),
        units: total.units[0],
        sampling: evidence.sampling(),
        starts: total.starts,
        replicas: total.replicas,
        until: total.until,
        added,
        changed,
        gone,
        not_compared,
    }
}

/// Puts together what differs in a version, an argument or a port only.
fn pair(added: Vec<Added>, mut gone: Vec<Fact>) -> (Vec<Added>, Vec<Changed>, Vec<Fact>) {
    gone.sort();
    let mut by_stem: BTreeMap<Fact<String>, Vec<Fact>> = BTreeMap::new();
    for fact in gone.into_iter().rev() {
        by_stem.entry(stem(&fact)).or_default().push(fact);
    }
    let mut left = Vec::new();
    let mut changed = Vec::new();
    for new in added {
        match by_stem.get_mut(&stem(&new.fact)).and_then(Vec::pop) {
            Some(from) => changed.push(Changed { from, to: new }),
            None => left.push(new),
        }
    }
    let mut gone: Vec<Fact> = by_stem.into_values().flatten().collect();
    gone.sort();
    (left, changed, gone)
}

/// What stays the same of a fact from one version of a program to the next. What was only read and is now
/// written is no change of version, and neither is another peer.
fn stem(fact: &Fact) -> Fact<String> {
    let mut stem = fact.map(|text| without_numbers(text));
    match &mut stem {
        Fact::Exec {
            arguments, script, ..
        } => {
            *arguments = ArgumentShape::default();
            *script = None;
        }
        Fact::Connect { port, .. } | Fact::Listen { port, .. } | Fact::Accept { port, .. } => *port = 0,
        _ => {}
    }
    stem
}

/// `libssl.so.1.1` and `libssl.so.3` become the same.
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_number = false;
    for character in text.chars() {
        if character.is_ascii_digit() {
            if !in_number {
                out.push('#');
            }
            in_number = true;
        } else if !(in_number && character == '.') {
            in_number = false;
            out.push(character);
        }
    }
    out
}

impl ReleaseDelta {
    /// The new revision does nothing that was not expected, and lacks nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.gone.is_empty()
    }

    /// A decision on the delta as a whole, as far as it was seen at that time. To be signed.
    #[must_use]
    pub fn decide(&self, verb: Verb, who: &str, at: Timestamp, why: &str) -> Decision {
        self.decide_on(Item::Whole, verb, who, at, why)
    }

    /// A decision on one of its facts. To be signed.
    #[must_use]
    pub fn decide_on(&self, item: Item, verb: Verb, who: &str, at: Timestamp, why: &str) -> Decision {
        Decision {
            workload: Arc::clone(&self.subject.workload),
            revision: Some(Arc::clone(&self.subject.revision)),
            item,
            verb,
            who: Arc::from(who),
            at,
            why: Arc::from(why),
        }
    }

    fn write_added(&self, out: &mut fmt::Formatter<'_>, added: &Added) -> fmt::Result {
        write!(
            out,
            "      {}: {} of {} replicas, since {}",
            added.fact.code(),
            added.replicas.min(self.replicas),
            self.replicas,
            added.first_seen
        )?;
        match added.standing {
            Standing::Pending => writeln!(out),
            standing => writeln!(out, ", {}", standing.name()),
        }
    }
}

/// Plain text that fits into a change request.
impl fmt::Display for ReleaseDelta {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "Release delta of {}", self.subject.workload)?;
        writeln!(out, "  from  {}", self.from)?;
        writeln!(out, "  to    {}", self.subject.revision)?;
        writeln!(
            out,
            "  as of {}: {} {}, {} starts, {} replicas",
            self.until,
            self.units,
            self.sampling.unit(),
            self.starts,
            self.replicas
        )?;
        if !self.not_compared.is_empty() {
            let fields: Vec<_> = self.not_compared.iter().map(ToString::to_string).collect();
            writeln!(
                out,
                "  not compared, as the revision before was not learned in it: {}",
                fields.join(", ")
            )?;
        }
        if self.is_empty() {
            return writeln!(out, "\nNothing differs.");
        }
        if !self.added.is_empty() {
            writeln!(out, "\nAdded ({}):", self.added.len())?;
            for added in &self.added {
                writeln!(out, "  + [{}] {}", added.fact.field(), added.fact)?;
                self.write_added(out, added)?;
            }
        }
        if !self.changed.is_empty() {
            writeln!(out, "\nChanged ({}):", self.changed.len())?;
            for Changed { from, to } in &self.changed {
                writeln!(out, "  - [{}] {from}", from.field())?;
                writeln!(out, "  + [{}] {}", to.fact.field(), to.fact)?;
                self.write_added(out, to)?;
            }
        }
        if !self.gone.is_empty() {
            writeln!(out, "\nNot seen yet ({}):", self.gone.len())?;
            for fact in &self.gone {
                writeln!(out, "  - [{}] {fact}", fact.field())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Criteria, Settled};
    use crate::norm::Inputs;
    use crate::overlay::Overlay;
    use crate::pattern::Unprotected;
    use crate::signature::Signer;
    use crate::testing::{evidence_of, library, read_of};

    fn norm(evidence: &Evidence, revision: &str, predecessor: Option<&Norm>, overlay: &Overlay) -> Norm {
        Inputs {
            subject: &Subject {
                workload: "shop/deployment/web/app".into(),
                revision: revision.into(),
            },
            evidence,
            predecessor,
            overlay,
            settled: &Settled::default(),
            replicas: 3,
            criteria: &Criteria::default(),
            protection: &Unprotected,
            facts_max: 1_000,
        }
        .compile()
    }

    fn seen(paths: &[&str], libraries: &[&str]) -> Evidence {
        let mut evidence = evidence_of("n", 1, paths.iter().map(|path| ((*path).to_owned(), [90, 25])));
        for name in libraries {
            evidence.merge(&library("n", name));
        }
        evidence
    }

    #[test]
    fn it_tells_what_is_new_from_what_is_a_new_version() {
        let none = Overlay::new();
        let old_evidence = seen(&["/etc/app.conf", "/srv/old"], &["/usr/lib/libssl.so.1.1"]);
        let old = norm(&old_evidence, "sha256:1", None, &none);
        let evidence = seen(&["/etc/app.conf", "/root/.ssh/id"], &["/usr/lib/libssl.so.3"]);
        let new = norm(&evidence, "sha256:2", Some(&old), &none);
        let delta = release_delta(&old, &new, &evidence);
        assert_eq!(
            delta.to_string(),
            "\
Release delta of shop/deployment/web/app
  from  sha256:1
  to    sha256:2
  as of 1970-01-16T17:46:40Z: 100 container-hours, 3 starts, 3 replicas

Added (1):
  + [file] /bin/x reads /root/.ssh/id
      f10783cb3e18db87: 2 of 3 replicas, since 1970-01-12T13:46:40Z

Changed (1):
  - [library] /bin/x maps /usr/lib/libssl.so.1.1
  + [library] /bin/x maps /usr/lib/libssl.so.3
      644b61ee11bcea62: 2 of 3 replicas, since 1970-01-12T13:46:40Z

Not seen yet (1):
  - [file] /bin/x reads /srv/old
"
        );
        let read: ReleaseDelta = rmp_serde::from_slice(&rmp_serde::to_vec(&delta).unwrap()).unwrap();
        assert_eq!(read, delta);

        let signer = Signer::of_seed(&[1; 32]).unwrap();
        let at = Timestamp::from_unix(1_400_000);
        let approve = delta.decide(Verb::Approve, "ada", at, "CHG-17");
        let item = Item::Fact(read_of("/root/.ssh/id"));
        let reject = delta.decide_on(item, Verb::Reject, "ada", at, "what for?");
        let decisions = [approve, reject].map(|decision| decision.sign(&signer).unwrap());
        let decided = norm(
            &evidence,
            "sha256:2",
            Some(&old),
            &Overlay::from(decisions.to_vec()),
        );
        let delta = release_delta(&old, &decided, &evidence);
        assert_eq!(delta.added[0].standing, Standing::Rejected);
        assert_eq!(delta.changed[0].to.standing, Standing::Approved);
    }

    #[test]
    fn what_was_not_learned_before_is_not_compared() {
        let none = Overlay::new();
        // Each of them seen once: there are more to come.
        let names = (0..40).map(|number| (format!("/srv/word{}", "x".repeat(number)), [1, 1]));
        let mut old_evidence = evidence_of("n", 1, names);
        old_evidence.merge(&library("n", "/usr/lib/libssl.so.1.1"));
        let old = norm(&old_evidence, "sha256:1", None, &none);
        assert_eq!(old.survey().still_learned().collect::<Vec<_>>(), [Field::File]);

        let new_evidence = seen(&["/srv/other"], &["/usr/lib/libssl.so.3"]);
        let new = norm(&new_evidence, "sha256:2", Some(&old), &none);
        let delta = release_delta(&old, &new, &new_evidence);
        assert!(delta.added.is_empty() && delta.gone.is_empty(), "{delta}");
        assert_eq!(delta.changed.len(), 1, "{delta}");
        assert!(
            delta.to_string().contains("was not learned in it: file"),
            "{delta}"
        );
    }

    #[test]
    fn the_same_again_is_no_delta() {
        let none = Overlay::new();
        let evidence = seen(&["/etc/app.conf"], &["/usr/lib/libssl.so.3"]);
        let old = norm(&evidence, "sha256:1", None, &none);
        let new = norm(&evidence, "sha256:2", Some(&old), &none);
        let delta = release_delta(&old, &new, &evidence);
        assert!(delta.is_empty());
        assert!(delta.to_string().ends_with("\nNothing differs.\n"));
    }
}
