//! `config check` and `policy check`.

use super::{ExitStatus, Output, say};
use crate::config;
use crate::judge::policy::compile::Effect;
use crate::judge::policy::{self, PolicySet};
use anyhow::Context as _;
use norma_settings::Faults;
use serde_json::json;
use std::path::{Path, PathBuf};

pub(super) fn config(file: &Path) -> anyhow::Result<ExitStatus> {
    let config = config::load(file, None)?;
    say(&format!(
        "{}: good; node {}, {} policies",
        file.display(),
        config.node.as_str(),
        config.policies.len()
    ))?;
    Ok(ExitStatus::Success)
}

pub(super) fn policies(places: &[PathBuf], output: Output) -> anyhow::Result<ExitStatus> {
    let mut files = Vec::new();
    for place in places {
        files.extend(policy::files(place).with_context(|| format!("cannot read {}", place.display()))?);
    }
    let mut faults = Faults::default();
    let set = PolicySet::load(&files, &mut faults);
    let set = faults.or(set)?;
    let every: Vec<usize> = (0..set.len()).collect();
    let rules = set.selected_rules(&every);
    let enforced = rules
        .paths
        .iter()
        .filter(|(_, effect)| *effect != Effect::Exempt)
        .count();
    let refused = rules
        .peers
        .iter()
        .filter(|(_, _, effect)| *effect != Effect::Exempt)
        .count();
    let late = set.late();
    match output {
        Output::Human => {
            say(&format!("{} policies in {} files: good", set.len(), files.len()))?;
            say(&format!(
                "{enforced} program patterns are killed before their first instruction, {refused} peers are refused"
            ))?;
            for (place, pattern) in &late {
                say(&format!(
                    "{place}: `{pattern}` is acted on after the fact: it has no exact form for the kernel"
                ))?;
            }
        }
        Output::Json => {
            let late: Vec<_> = late
                .iter()
                .map(|(place, pattern)| json!({"clause": place, "pattern": pattern}))
                .collect();
            say(&json!({
                "policies": set.len(), "files": files.len(),
                "kernel": {"programs": enforced, "peers": refused}, "after_the_fact": late,
            })
            .to_string())?;
        }
    }
    Ok(ExitStatus::Success)
}
