//! The report of what is seen, at which tier, and what is not.

use super::attach::Outcome;
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
}

/// One capability as it was had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityReport {
    /// Its name.
    pub name: &'static str,
    /// How it is had; `None` where it is not.
    pub tier: Option<Tier>,
    /// What is not seen or done; empty where the capability is not had at all.
    pub blind_spots: Vec<&'static str>,
    /// Why it is not had, not had at its best tier, or had with a part missing.
    pub reason: Option<String>,
}

impl CoverageReport {
    /// Whether every capability is had in full, at whatever tier.
    pub fn is_complete(&self) -> bool {
        self.capabilities
            .iter()
            .all(|capability| capability.tier.is_some() && capability.reason.is_none())
    }
}

/// Makes the report of what was attached.
pub fn report(facts: &Facts, outcomes: &[Outcome]) -> CoverageReport {
    let capabilities = outcomes
        .iter()
        .map(|outcome| CapabilityReport {
            name: outcome.capability,
            tier: outcome.way.map(|way| way.tier),
            blind_spots: outcome
                .way
                .map(|way| way.blind_spots.to_vec())
                .unwrap_or_default(),
            reason: (!outcome.troubles.is_empty()).then(|| outcome.troubles.join("; ")),
        })
        .collect();
    CoverageReport {
        kernel: facts.kernel.clone(),
        facts: facts.describe(),
        capabilities,
    }
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
