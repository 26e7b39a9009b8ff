//! `baseline approve|reject|lock|unlock|forget`: what people say of baselines, signed.

use crate::inbox::{self, Outcome};
use crate::key::{Person, Signing};
use crate::shelf::{Kept, Shelf};
use crate::show::Ruling;
use crate::{Output, Place, Program, ask, json, pick};
use anyhow::bail;
use clap::Args;
use norma_baseline::Timestamp;
use norma_baseline::fact::Fact;
use norma_baseline::norm::Standing;
use norma_baseline::overlay::{Decision, Item, Overlay, SignedDecision, Verb};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest reason, in bytes.
const WHY_MAX: usize = 2_000;

/// Options of decisions on behaviours.
#[derive(Debug, Args)]
pub struct Items {
    /// The workload: its name, or a part that only one has.
    workload: String,
    /// Behaviours: the beginning of an id as `show`, `diff` and findings print them, the text as they print it, or, for one
    /// that was never seen, its JSON as `show --output json` prints it.
    #[arg(value_name = "BEHAVIOUR", required_unless_present = "all")]
    behaviours: Vec<String>,
    /// Everything of the revision that was seen until now: its release delta, where it inherits from another.
    #[arg(long, alias = "release", conflicts_with = "behaviours")]
    all: bool,
    #[command(flatten)]
    whole: Common,
}

/// Options of decisions on a baseline as a whole.
#[derive(Debug, Args)]
pub struct Whole {
    /// The workload: its name, or a part that only one has.
    workload: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Only for this revision, or the only one whose name contains this. Without it a decision holds for all revisions, also
    /// those to come; --all is about the newest.
    #[arg(long)]
    revision: Option<String>,
    /// Why, for those who read it later.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    signing: Signing,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A verb with what it does, in words.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    verb: Verb,
    /// What becomes of what it is about.
    effect: &'static str,
}

pub(crate) const fn approve() -> Act {
    Act {
        verb: Verb::Approve,
        effect: "expected from now on",
    }
}

pub(crate) const fn reject() -> Act {
    Act {
        verb: Verb::Reject,
        effect: "a finding whenever it happens, and never learned",
    }
}

pub(crate) const fn lock() -> Act {
    Act {
        verb: Verb::Lock,
        effect: "what is not known by now is a finding, whatever the estimates say",
    }
}

pub(crate) const fn unlock() -> Act {
    Act {
        verb: Verb::Unlock,
        effect: "learning goes on until the estimates say that it is enough",
    }
}

pub(crate) const fn forget() -> Act {
    Act {
        verb: Verb::Forget,
        effect: "as if it had never been seen or decided on; it is learned anew",
    }
}

/// Decisions that are about to be signed, and how they are told of.
pub(crate) struct Plan {
    pub headline: String,
    pub lines: Vec<String>,
    pub decisions: Vec<Decision>,
}

/// What became of decisions.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    /// `in-force` or `waiting`.
    pub outcome: &'static str,
    /// In words.
    #[serde(skip)]
    pub words: String,
}

#[derive(Debug, Serialize)]
struct Report {
    decisions: Vec<Ruling>,
    #[serde(flatten)]
    told: Told,
}

impl Items {
    pub(crate) fn run(&self, program: &Program, act: Act) -> anyhow::Result<String> {
        let common = &self.whole;
        let shelf = common.place.read(program)?;
        let workload = pick::workload(&shelf, &self.workload)?;
        if self.all {
            return common.of_all(program, &shelf, &workload, act);
        }
        let known = pick::facts(&shelf, &workload);
        let mut facts: Vec<Fact> = Vec::new();
        for named in &self.behaviours {
            let fact = pick::fact(&known, &workload, named)?;
            if !facts.contains(&fact) {
                facts.push(fact);
            }
        }
        let newest = pick::revision(&shelf, &workload, common.revision.as_deref())?;
        let lines = facts
            .iter()
            .map(|fact| {
                let standing = standing(newest, fact);
                format!(
                    "{}  {fact}\n      {standing} now; then {}",
                    fact.code(),
                    act.effect
                )
            })
            .collect();
        let items: Vec<Item> = facts.into_iter().map(Item::Fact).collect();
        let revision = common.revision.is_some().then_some(newest);
        common.carry_out(program, &shelf, &workload, revision, &items, lines, act)
    }
}

impl Whole {
    pub(crate) fn run(&self, program: &Program, act: Act) -> anyhow::Result<String> {
        let common = &self.common;
        let shelf = common.place.read(program)?;
        let workload = pick::workload(&shelf, &self.workload)?;
        let named = pick::revision(&shelf, &workload, common.revision.as_deref())?;
        let revision = common.revision.is_some().then_some(named);
        let lines = vec![act.effect.to_owned()];
        common.carry_out(program, &shelf, &workload, revision, &[Item::Whole], lines, act)
    }
}

impl Common {
    /// On everything of one revision.
    fn of_all(
        &self,
        program: &Program,
        shelf: &Shelf,
        workload: &Arc<str>,
        act: Act,
    ) -> anyhow::Result<String> {
        let kept = pick::revision(shelf, workload, self.revision.as_deref())?;
        let is_new = |standing: Standing| match act.verb {
            Verb::Forget => standing != Standing::Absent,
            // What was learned or decided on before is not touched by a word on what is new.
            _ => matches!(standing, Standing::Pending | Standing::Withheld),
        };
        let mut lines: Vec<String> = kept
            .norm
            .standings()
            .filter(|(_, standing)| is_new(*standing))
            .map(|(fact, standing)| format!("{}  {fact} ({})", fact.code(), standing.name()))
            .collect();
        lines.sort();
        if lines.is_empty() {
            lines.push("nothing that is known by now changes its standing".to_owned());
        }
        lines.push(act.effect.to_owned());
        self.carry_out(program, shelf, workload, Some(kept), &[Item::Whole], lines, act)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is one answer to who decides what on which"
    )]
    fn carry_out(
        &self,
        program: &Program,
        shelf: &Shelf,
        workload: &Arc<str>,
        revision: Option<&Kept>,
        items: &[Item],
        lines: Vec<String>,
        act: Act,
    ) -> anyhow::Result<String> {
        let why: Arc<str> = Arc::from(why(&self.why)?);
        let person = self.signing.person()?;
        let who: Arc<str> = Arc::from(person.name.as_str());
        let at = after_all(shelf, workload);
        let of = match revision {
            Some(kept) => kept.subject().to_string(),
            None => format!("{workload}, in all its revisions"),
        };
        let revisions: Vec<Option<Arc<str>>> = match (revision, act.verb) {
            (Some(kept), _) => vec![Some(Arc::clone(&kept.subject().revision))],
            // Revisions to come inherit what is learned anew.
            (None, Verb::Forget) => shelf
                .revisions(workload)
                .map(|kept| Some(Arc::clone(&kept.subject().revision)))
                .collect(),
            (None, _) => vec![None],
        };
        let plan = Plan {
            headline: format!("{} for {of}, as {}:", capital(act.verb.name()), person.name),
            lines,
            decisions: revisions
                .iter()
                .flat_map(|revision| items.iter().map(move |item| (revision, item)))
                .map(|(revision, item)| Decision {
                    workload: Arc::clone(workload),
                    revision: revision.clone(),
                    item: item.clone(),
                    verb: act.verb,
                    who: Arc::clone(&who),
                    at,
                    why: Arc::clone(&why),
                })
                .collect(),
        };
        plan.carry_out(program, &self.place, &person, self.yes, self.output)
    }
}

impl Plan {
    /// Shows it, signs it, and hands it over.
    pub(crate) fn carry_out(
        self,
        program: &Program,
        place: &Place,
        person: &Person,
        yes: bool,
        output: Output,
    ) -> anyhow::Result<String> {
        ask::confirm(&self.headline, &self.lines, yes)?;
        let signed = self
            .decisions
            .into_iter()
            .map(|decision| decision.sign(&person.signer))
            .collect::<Result<Vec<SignedDecision>, _>>()?;
        let decisions = signed.iter().map(Ruling::of).collect();
        let outcome = inbox::hand_over_decisions(&place.directory(program), &Overlay::from(signed))?;
        let told = Told::of(program, outcome)?;
        match output {
            Output::Human => Ok(format!("{}\n", told.words)),
            Output::Json => json(&Report { decisions, told }),
        }
    }
}

impl Told {
    /// A refusal is an error of the command.
    pub(crate) fn of(program: &Program, outcome: Outcome) -> anyhow::Result<Self> {
        let name = program.name;
        let (outcome, words) = match outcome {
            Outcome::InForce => (
                "in-force",
                format!("In force: {name} has it on disk and judges by it."),
            ),
            Outcome::Waiting => (
                "waiting",
                format!("Handed over: {name} does not run; it takes it when it starts."),
            ),
            Outcome::Slow => (
                "waiting",
                format!("Handed over: {name} is busy and will take it; `baseline show` tells when it has."),
            ),
            Outcome::Refused(why) => bail!("{name} refused it: {why}"),
        };
        Ok(Self { outcome, words })
    }
}

/// The reason, if it says something and fits.
pub(crate) fn why(text: &str) -> anyhow::Result<&str> {
    let text = text.trim();
    if text.is_empty() {
        bail!("--why is empty: those who read the decision later want to know");
    }
    if text.len() > WHY_MAX || !is_line(text) {
        bail!("--why takes one line of at most {WHY_MAX} bytes");
    }
    Ok(text)
}

/// Neither a line break nor anything else that is not printed.
pub(crate) fn is_line(text: &str) -> bool {
    !text.chars().any(|character| {
        character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}

/// This moment.
pub(crate) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix(now.as_secs())
}

/// This moment, or the second after the last decision on the workload: of two of the same second it is not told
/// which one was made last.
fn after_all(shelf: &Shelf, workload: &str) -> Timestamp {
    let last = shelf
        .overlay
        .decisions()
        .map(SignedDecision::decision)
        .filter(|decision| *decision.workload == *workload)
        .map(|decision| decision.at)
        .max();
    let now = now();
    match last {
        // A clock that went wrong once must not put off all that comes after.
        Some(last) if last >= now && last.since(now) < Duration::from_secs(3_600) => {
            last.plus(Duration::from_secs(1))
        }
        _ => now,
    }
}

/// What a behaviour counts for now, in words.
fn standing(kept: &Kept, fact: &Fact) -> &'static str {
    kept.norm
        .standings()
        .find(|(known, _)| *known == fact.view())
        .map_or("unknown", |(_, standing)| standing.name())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
