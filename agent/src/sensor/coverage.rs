//! The report of what is seen, at which tier, and what is not.

use super::attach::Outcome;
use super::evasion::{Sight, Technique};
use super::facts::Facts;
use std::error::Error;
use std::fmt;

/// How a capability is had, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// A BPF-LSM hook: sees every way into the kernel, and may refuse.
    Lsm,
    /// fentry on a `security_*` function: sees the same, cannot refuse.
    Fentry,
    /// A hook of a control group: sees what its processes do, and may refuse.
    Cgroup,
    /// A tracepoint with typed arguments.
    BtfTracepoint,
    /// The return from system calls: sees what came of them.
    SyscallTracepoint,
}

impl fmt::Display for Tier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Cgroup => "cgroup",
            Self::BtfTracepoint => "btf-tracepoint",
            Self::SyscallTracepoint => "syscall-tracepoint",
        })
    }
}

/// What this kernel and the held capabilities allow the agent to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageReport {
    /// Release of the running kernel.
    pub kernel: String,
    /// What was found out about the machine, as name and value.
    pub facts: Vec<(String, String)>,
    /// Each capability.
    pub capabilities: Vec<CapabilityReport>,
    /// Each evasion.
    pub techniques: Vec<TechniqueReport>,
}

/// One capability as it was had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityReport {
    /// Its name.
    pub name: &'static str,
    /// What it is, to complete "sees ...".
    pub what: &'static str,
    /// Somebody needs it; what nobody needs is not attached.
    pub wanted: bool,
    /// How it is had; `None` where it is not.
    pub tier: Option<Tier>,
    /// What is not seen or done; empty where the capability is not had at all.
    pub blind_spots: Vec<&'static str>,
    /// What is missing of the way by which it is had.
    pub missing: Vec<String>,
    /// Better ways, and why they are not to be had here; all of them where there is no tier.
    pub passed_over: Vec<(Tier, String)>,
}

impl CapabilityReport {
    /// It is had in full at its tier, or nobody needs it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.wanted || (self.tier.is_some() && self.missing.is_empty())
    }

    /// Why it is not had, not had at its best tier, or had with a part missing; `None` where all is well.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let mut reasons = self.missing.clone();
        for (tier, why) in &self.passed_over {
            reasons.push(format!("{tier}: {why}"));
        }
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

const COMPAT_IN_PART: &str = "not by all hooks: the blind spots of each capability tell";

/// One evasion technique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TechniqueReport {
    /// Which one.
    pub technique: Technique,
    /// How far it is seen; `None` where not at all.
    pub sight: Option<Sight>,
    /// The capabilities by which it is seen.
    pub by: Vec<&'static str>,
}

impl TechniqueReport {
    /// How far it is seen, in words, and what limits that.
    #[must_use]
    pub fn words(&self) -> (&'static str, Option<&'static str>) {
        match self.sight {
            Some(Sight::Fully) => ("seen", None),
            Some(Sight::Partly(limit)) => ("seen partly", Some(limit)),
            None => ("not seen", None),
        }
    }
}

impl CoverageReport {
    /// Whether every capability that is needed is had in full, at whatever tier.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.capabilities.iter().all(CapabilityReport::is_complete)
    }

    /// How far a technique is seen.
    #[must_use]
    pub fn sight(&self, technique: Technique) -> Option<Sight> {
        self.techniques
            .iter()
            .find(|report| report.technique == technique)?
            .sight
    }
}

/// Makes the report of what was attached.
pub fn report(facts: &Facts, outcomes: &[Outcome]) -> CoverageReport {
    let capabilities = outcomes
        .iter()
        .map(|outcome| CapabilityReport {
            name: outcome.capability.name,
            what: outcome.capability.what,
            wanted: outcome.wanted,
            tier: outcome.way.map(|way| way.tier),
            blind_spots: outcome
                .way
                .map(|way| way.blind_spots.to_vec())
                .unwrap_or_default(),
            missing: outcome.missing.clone(),
            passed_over: outcome.passed_over.clone(),
        })
        .collect();
    let techniques = Technique::ALL
        .iter()
        .map(|technique| technique_report(*technique, outcomes))
        .collect();
    CoverageReport {
        kernel: facts.kernel.clone(),
        facts: facts.describe(),
        capabilities,
        techniques,
    }
}

/// A technique that any attached way sees fully is seen fully; but another interface to all system calls is, where
/// no way misses it.
fn technique_report(technique: Technique, outcomes: &[Outcome]) -> TechniqueReport {
    let ways = || {
        outcomes
            .iter()
            .filter_map(|outcome| Some((outcome.capability.name, outcome.way?)))
    };
    let by: Vec<_> = ways()
        .filter(|(_, way)| way.sight(technique).is_some())
        .map(|(name, _)| name)
        .collect();
    let mut sight = ways().filter_map(|(_, way)| way.sight(technique)).max();
    if technique == Technique::Compat32 && by.len() < ways().count() {
        sight = sight.map(|_| Sight::Partly(COMPAT_IN_PART));
    }
    TechniqueReport { technique, sight, by }
}

/// An error with its causes, which aya keeps apart.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    // A refused program comes with the verifier's log; its end says why.
    if text.len() > 600 {
        let tail: String = text
            .chars()
            .rev()
            .take(300)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        let head: String = text.chars().take(200).collect();
        text = format!("{head} ... {tail}");
    }
    text.replace('\n', " ")
        .trim_end()
        .trim_end_matches("Verifier output:")
        .trim_end()
        .to_owned()
}
