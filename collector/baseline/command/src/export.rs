//! `baseline export`.

use crate::carry::Carried;
use crate::decide;
use crate::key::Signing;
use crate::pick;
use crate::shelf::Kept;
use crate::{Place, Program};
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use norma_baseline::export::document::Document;
use norma_baseline::export::{Target, apparmor, kubearmor, network_policy, seccomp, security_context};
use norma_baseline::file;
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `export`.
#[derive(Debug, Args)]
pub struct Options {
    /// The workload: its name, or a part that only one has.
    workload: String,
    /// Form to write.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The revision, or a part that only one has; the newest where none is given. A bundle has all, unless one is named.
    #[arg(long)]
    revision: Option<String>,
    /// Label that selects the workload's pods, for network-policy and kubearmor; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Name of the object; made of the workload's where none is given.
    #[arg(long)]
    name: Option<String>,
    /// File to write; standard output where none is given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Our own YAML, which `baseline import` reads.
    #[default]
    Yaml,
    /// A seccomp profile, from what executables need (no system calls are recorded).
    Seccomp,
    /// The capabilities of a Kubernetes securityContext: all dropped but those that were used.
    SecurityContext,
    /// A Kubernetes NetworkPolicy, from connections and accepted peers.
    NetworkPolicy,
    /// An AppArmor profile, from files, programs, libraries, capabilities and protocols.
    Apparmor,
    /// A KubeArmorPolicy, from the same.
    Kubearmor,
    /// A signed bundle of evidence and decisions, for where there is no network.
    Bundle,
}

impl Format {
    /// What it is made of; nothing for what is the baseline itself.
    const fn made_of(self) -> Option<&'static str> {
        match self {
            Self::Yaml | Self::Bundle => None,
            Self::Seccomp => Some(
                "made from the capabilities and privileged operations that its executables needed, not from recorded \
                 system calls: all are allowed, but those that serve only what was never seen",
            ),
            Self::SecurityContext => Some("made from the capabilities that its executables used"),
            Self::NetworkPolicy => Some("made from observed connections and accepted peers"),
            Self::Apparmor | Self::Kubearmor => {
                Some("made from observed programs, files, libraries, capabilities and protocols")
            }
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` is no label: write KEY=VALUE, such as app=web"))
}

impl Options {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let shelf = self.place.read(program)?;
        let workload = pick::workload(&shelf, &self.workload)?;
        let kept = pick::revision(&shelf, &workload, self.revision.as_deref())?;
        if self.format == Format::Bundle {
            let all: Vec<&Kept> = match self.revision {
                Some(_) => vec![kept],
                None => shelf.revisions(&workload).collect(),
            };
            let person = self.signing.person()?;
            let sealed = Carried::seal(&all, &shelf.overlay, &person, decide::now())?;
            return self.write(&file::to_bytes(&sealed)?, None);
        }
        let norm = &kept.norm;
        let text = match self.format {
            Format::Yaml | Format::Bundle => Document::of(norm).to_yaml(norm)?,
            Format::Seccomp => seccomp::seccomp(norm)?,
            Format::SecurityContext => security_context::security_context(norm)?,
            Format::Apparmor => apparmor::apparmor(norm, &self.name(&workload)),
            Format::Kubearmor => kubearmor::kubearmor(norm, &self.target(&workload)?)?,
            Format::NetworkPolicy => {
                network_policy::network_policy(norm, &self.target(&workload)?, &|_| None)?
            }
        };
        if let Some(made_of) = self.format.made_of() {
            eprintln!("{}: {made_of}", kept.subject());
        }
        self.write(text.as_bytes(), Some(text.as_str()))
    }

    fn name(&self, workload: &str) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let plain: String = workload
            .to_ascii_lowercase()
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let cut: String = plain.trim_matches('-').chars().take(63).collect();
        cut.trim_end_matches('-').to_owned()
    }

    fn target(&self, workload: &str) -> anyhow::Result<Target> {
        if self.labels.is_empty() {
            bail!(
                "the object would apply to all pods of its namespace: name the labels of the workload's pods with \
                 --label KEY=VALUE"
            );
        }
        let namespace = workload.split('/').next().unwrap_or_default();
        Ok(Target {
            name: self.name(workload),
            namespace: namespace.to_owned(),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        })
    }

    /// Gives what is left to be printed.
    fn write(&self, bytes: &[u8], text: Option<&str>) -> anyhow::Result<String> {
        match (&self.out, text) {
            (Some(path), _) => {
                std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(format!("{}: {} bytes written\n", path.display(), bytes.len()))
            }
            (None, Some(text)) => Ok(text.to_owned()),
            (None, None) if std::io::stdout().is_terminal() => {
                bail!("a bundle is not for a terminal: name a file with --out")
            }
            (None, None) => {
                std::io::stdout().lock().write_all(bytes)?;
                Ok(String::new())
            }
        }
    }
}
