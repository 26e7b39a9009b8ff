//! Which baseline, which revision, which behaviour: found by what a person types.

use crate::shelf::{Kept, Shelf};
use anyhow::{Context as _, bail};
use norma_baseline::fact::Fact;
use norma_baseline::overlay::{Item, SignedDecision};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Fewest digits by which a behaviour is named.
const CODE_MIN: usize = 4;
/// How many names an error lists.
const LISTED: usize = 8;

/// The workload of this name, or the only one whose name contains it.
pub fn workload(shelf: &Shelf, name: &str) -> anyhow::Result<Arc<str>> {
    let all: BTreeSet<&Arc<str>> = shelf.all().iter().map(|kept| &kept.subject().workload).collect();
    if let Some(exact) = all.iter().find(|workload| ****workload == *name) {
        return Ok(Arc::clone(exact));
    }
    let like: Vec<&str> = all
        .iter()
        .map(|workload| &***workload)
        .filter(|workload| !name.is_empty() && workload.contains(name))
        .collect();
    match like.as_slice() {
        [only] => Ok(Arc::from(*only)),
        [] if all.is_empty() => bail!("there are no baselines here yet"),
        [] => bail!(
            "there is no baseline of `{name}`; there are:\n{}",
            listed(all.iter().map(ToString::to_string))
        ),
        several => bail!(
            "`{name}` can be one of several; name one of:\n{}",
            listed(several.iter().map(|workload| (*workload).to_owned()))
        ),
    }
}

/// A workload's revision of this name, or the only one whose name contains it; the newest where none is named.
pub fn revision<'a>(shelf: &'a Shelf, workload: &'a str, name: Option<&str>) -> anyhow::Result<&'a Kept> {
    let Some(name) = name else {
        return shelf
            .revisions(workload)
            .next_back()
            .with_context(|| format!("there is no baseline of `{workload}`"));
    };
    if let Some(exact) = shelf
        .revisions(workload)
        .find(|kept| *kept.subject().revision == *name)
    {
        return Ok(exact);
    }
    let like: Vec<&Kept> = shelf
        .revisions(workload)
        .filter(|kept| !name.is_empty() && kept.subject().revision.contains(name))
        .collect();
    let names = |kept: Vec<&Kept>| listed(kept.iter().map(|kept| kept.subject().revision.to_string()));
    match like.as_slice() {
        [only] => Ok(only),
        [] => bail!(
            "{workload} has no revision `{name}`; it has:\n{}",
            names(shelf.revisions(workload).collect())
        ),
        _ => bail!(
            "`{name}` can be one of several revisions of {workload}; name one of:\n{}",
            names(like)
        ),
    }
}

/// All that is known of a workload, in whatever standing: seen, decided on, or a pattern.
pub fn facts(shelf: &Shelf, workload: &str) -> BTreeSet<Fact> {
    let mut all = BTreeSet::new();
    for kept in shelf.revisions(workload) {
        all.extend(kept.evidence.facts().map(|(_, fact)| fact.owned()));
        all.extend(kept.norm.standings().map(|(fact, _)| fact.owned()));
        all.extend(kept.norm.patterns().facts());
    }
    let decided = shelf.overlay.decisions().map(SignedDecision::decision);
    all.extend(
        decided
            .filter(|decision| *decision.workload == *workload)
            .filter_map(|decision| match &decision.item {
                Item::Fact(fact) => Some(fact.clone()),
                Item::Whole => None,
            }),
    );
    all
}

/// The behaviour that a person means: by the beginning of its id, by its text, or, one that was never seen, by
/// its JSON as `show --output json` prints it.
pub fn fact(facts: &BTreeSet<Fact>, workload: &str, named: &str) -> anyhow::Result<Fact> {
    let named = named.trim();
    if named.starts_with('{') {
        return serde_json::from_str(named).with_context(|| {
            format!("`{named}` is no behaviour in JSON; `baseline show --output json` prints how they look")
        });
    }
    let is_code = named.len() >= CODE_MIN && named.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lower = named.to_ascii_lowercase();
    let found: Vec<&Fact> = facts
        .iter()
        .filter(|fact| (is_code && fact.code().to_string().starts_with(&lower)) || fact.to_string() == named)
        .collect();
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => bail!(
            "{workload} has no behaviour `{named}`: give an id ({CODE_MIN} digits or more) or a text as \
             `baseline show {workload}` prints them"
        ),
        several => bail!(
            "`{named}` can be one of several behaviours; give more digits of:\n{}",
            listed(several.iter().map(|fact| format!("{}  {fact}", fact.code())))
        ),
    }
}

fn listed(names: impl ExactSizeIterator<Item = String>) -> String {
    let more = names.len().saturating_sub(LISTED);
    let mut lines: Vec<String> = names.take(LISTED).map(|name| format!("  {name}")).collect();
    if more > 0 {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}
