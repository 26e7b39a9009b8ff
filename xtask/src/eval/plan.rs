//! What is played: workloads and attacks, as the files of `tests/eval` say.

use crate::run;
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Name of its folder.
    pub name: String,
    /// That folder.
    pub folder: PathBuf,
    /// What its `workload.json` says.
    pub spec: Spec,
}

/// `workload.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of its pods, without what differs from replica to replica.
    pub pod: String,
    /// Port of 127.0.0.1 at which it answers when it has started.
    pub port: Option<u16>,
    /// Those of a lower rank are started before.
    pub rank: u32,
    /// Where it has a folder that outlives its containers.
    pub volume: Option<String>,
}

impl Workload {
    /// The image of the rollout differs.
    pub fn has_rollout(&self) -> bool {
        self.folder.join("files-v2").is_dir()
    }

    /// Name of its pod, of the replica with this number.
    pub fn pod(&self, replica: usize) -> String {
        // Those of a StatefulSet have a number of their own.
        if self.spec.pod.ends_with("-0") {
            return self.spec.pod.clone();
        }
        // Kubernetes uses no vowels there, so that it makes no words.
        let letters: Vec<char> = "bcdfghjklmnpqrstvwxz2456789".chars().collect();
        let suffix: String = (0..5)
            .map(|place| letters[(replica * 7 + place * 11) % letters.len()])
            .collect();
        format!("{}-{suffix}", self.spec.pod)
    }
}

/// A step of an attack.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Name of its file.
    pub name: String,
    /// That file.
    pub script: PathBuf,
    /// The workload by which it comes in.
    pub workload: String,
    /// Its MITRE ATT&CK technique.
    pub technique: String,
    /// What a finding has to say.
    pub finds: String,
}

/// All that is played.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the start.
    pub workloads: Vec<Workload>,
    /// In the order of their names.
    pub attacks: Vec<Attack>,
}

impl Plan {
    /// Where the files are.
    pub fn folder() -> PathBuf {
        run::root().join("tests/eval")
    }

    /// Reads the files; of some workloads only, where any are named.
    ///
    /// # Errors
    /// A file cannot be read or understood, or there is no such workload.
    pub fn read(only: &[String]) -> Result<Self> {
        let mut workloads = Vec::new();
        let mut known = Vec::new();
        for folder in entries(&Self::folder().join("workloads"))? {
            let name = name(&folder)?;
            known.push(name.clone());
            if !(only.is_empty() || only.contains(&name)) {
                continue;
            }
            let file = folder.join("workload.json");
            let text = fs::read(&file).with_context(|| file.display().to_string())?;
            let spec = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
            workloads.push(Workload { name, folder, spec });
        }
        if let Some(unknown) = only.iter().find(|name| !known.contains(name)) {
            bail!("there is no workload `{unknown}`; there are {}", known.join(", "));
        }
        workloads.sort_by_key(|workload| workload.spec.rank);
        let mut attacks = Vec::new();
        for script in entries(&Self::folder().join("attacks"))? {
            let attack = attack(&script).with_context(|| script.display().to_string())?;
            if workloads.iter().any(|workload| workload.name == attack.workload) {
                attacks.push(attack);
            } else if !known.contains(&attack.workload) {
                bail!("{}: there is no workload `{}`", script.display(), attack.workload);
            }
        }
        Ok(Self { workloads, attacks })
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    all.sort();
    Ok(all)
}

fn name(path: &Path) -> Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    Ok(stem.context("a file without a name")?.to_owned())
}

fn attack(script: &Path) -> Result<Attack> {
    let text = fs::read_to_string(script)?;
    let head = |key: &str| {
        let prefix = format!("# {key}: ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        line.map(|value| value.trim().to_owned())
            .with_context(|| format!("its head has no line `{prefix}…`"))
    };
    Ok(Attack {
        name: name(script)?,
        script: script.to_owned(),
        workload: head("workload")?,
        technique: head("technique")?,
        finds: head("finds")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_understood_and_every_attack_has_a_way_in() {
        let plan = Plan::read(&[]).unwrap();
        assert!(plan.workloads.len() >= 6 && plan.attacks.len() >= 10);
        for workload in &plan.workloads {
            for script in ["start.sh", "drive.sh"] {
                assert!(
                    workload.folder.join(script).is_file(),
                    "{}/{script}",
                    workload.name
                );
            }
        }
        let one = Plan::read(&["redis".to_owned()]).unwrap();
        assert_eq!(one.workloads.len(), 1);
        assert!(one.attacks.iter().all(|attack| attack.workload == "redis"));
        assert!(Plan::read(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn replicas_have_names_as_kubernetes_makes_them() {
        let plan = Plan::read(&[]).unwrap();
        let named = |name: &str| plan.workloads.iter().find(|it| it.name == name).unwrap();
        assert_ne!(named("nginx").pod(0), named("nginx").pod(1));
        assert_eq!(named("postgres").pod(3), "db-0");
    }
}
