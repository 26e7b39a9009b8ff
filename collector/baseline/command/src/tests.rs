//! The commands as they are typed, on a directory of baselines with and without a program that keeps it.

mod carrying;
mod deciding;
mod showing;

use crate::inbox::{self, Content, Delivery};
use crate::shelf::{Kept, Shelf, ShelfError};
use crate::{Command, DIRECTORY, Program};
use clap::Parser;
use norma_baseline::Timestamp;
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{Evidence, Recorder, SourceId, Start, Tuning};
use norma_baseline::fact::{Access, Fact};
use norma_baseline::file;
use norma_baseline::never::Circumstances;
use norma_baseline::norm::{Inputs, Norm};
use norma_baseline::overlay::{Decision, Item, Overlay, Subject, Verb};
use norma_baseline::pattern::Unprotected;
use norma_baseline::signature::{PublicKey, TrustedKeys};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const WORKLOAD: &str = "shop/Deployment/web/app";
const PROGRAM: Program = Program {
    name: "norma-agent",
    state_dir: "/nonexistent",
    read,
};

/// As a program would: a norm and its evidence lie side by side.
fn read(directory: &Path) -> Result<Shelf, ShelfError> {
    let failed = |reason| ShelfError {
        path: directory.to_owned(),
        reason,
    };
    let mut kept = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "norm") {
            kept.push(Kept {
                norm: file::read(&path).unwrap(),
                evidence: file::read(&path.with_extension("evidence")).unwrap(),
            });
        }
    }
    let overlay = file::read(&directory.join("overlay")).unwrap_or_default();
    Ok(Shelf::new(kept, overlay, Vec::new()))
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A state directory.
struct State(TempDir);

fn fact(path: &str) -> Fact {
    Fact::File {
        exe: "/usr/sbin/app".into(),
        path: path.into(),
        access: Access::Read,
    }
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + second)
}

/// What two containers did in ten hours.
fn evidence(paths: &[&str], begin: u64) -> Evidence {
    let source = SourceId {
        node: "node-1".into(),
        generation: begin,
    };
    let mut recorder = Recorder::open(None, source, Tuning::default(), at(begin));
    let leave = || Circumstances::default().learnable().unwrap();
    recorder.container_started("a", Start::Found);
    recorder.container_started("b", Start::Found);
    for minute in 0..600 {
        let now = at(begin + minute * 60);
        for path in paths {
            for replica in ["a", "b"] {
                recorder.observe(&fact(path), replica, leave(), now);
            }
        }
        recorder.advance(now);
    }
    recorder.evidence().clone()
}

fn norm(evidence: &Evidence, revision: &str, predecessor: Option<&Norm>, overlay: &Overlay) -> Norm {
    Inputs {
        subject: &Subject {
            workload: WORKLOAD.into(),
            revision: revision.into(),
        },
        evidence,
        predecessor,
        overlay,
        settled: &Settled::default(),
        replicas: 2,
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: 1_000,
    }
    .compile()
}

impl State {
    /// Two revisions: the second one reads another file, and leaves one out.
    fn new() -> Self {
        let state = Self(tempfile::tempdir().unwrap());
        fs::create_dir(state.baselines()).unwrap();
        let first = evidence(&["/etc/app.conf", "/etc/old"], 0);
        let before = norm(&first, "sha256:1", None, &Overlay::new());
        let second = evidence(&["/etc/app.conf", "/etc/new"], 40_000);
        let now = norm(&second, "sha256:2", Some(&before), &Overlay::new());
        for (name, norm, evidence) in [("1", before, first), ("2", now, second)] {
            file::write(&state.baselines().join(format!("{name}.norm")), &norm).unwrap();
            file::write(&state.baselines().join(format!("{name}.evidence")), &evidence).unwrap();
        }
        state
    }

    fn baselines(&self) -> PathBuf {
        self.0.path().join(DIRECTORY)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// What a command answers, or its error with all reasons.
    fn run(&self, line: &[&str]) -> Result<String, String> {
        let mut words = vec!["norma-agent"];
        words.extend(line);
        let place = ["--state-dir", self.0.path().to_str().unwrap()];
        if line[0] != "keygen" {
            words.extend(place);
        }
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        cli.command.answer(&PROGRAM).map_err(|error| format!("{error:#}"))
    }

    /// Makes a key; gives its file.
    fn key(&self, who: &str) -> (String, PublicKey) {
        let file = self.file(&format!("{who}.key"));
        let said = self.run(&["keygen", "--as", who, "--out", &file]).unwrap();
        let text = fs::read_to_string(format!("{file}.pub")).unwrap();
        let key: PublicKey = text.split(' ').next().unwrap().parse().unwrap();
        assert!(said.contains(&key.to_string()), "{said}");
        (file, key)
    }

    /// A program that takes what is handed over and trusts these keys; what it takes comes out.
    fn keeper(&self, keys: &[PublicKey]) -> Receiver<Taken> {
        let keys: TrustedKeys = keys.iter().copied().collect();
        let deliveries = inbox::take(&self.baselines(), keys).unwrap();
        let (taken, receiver) = channel();
        let overlay = self.baselines().join("overlay");
        std::thread::spawn(move || {
            for delivery in deliveries {
                let what = Taken::of(&delivery, &overlay);
                delivery.settle(Ok(()));
                if taken.send(what).is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

#[derive(Debug)]
enum Taken {
    Decisions(Vec<Decision>),
    Bundle(Vec<Subject>),
    Refused(String, usize),
    Written,
}

impl Taken {
    fn of(delivery: &Delivery, place: &Path) -> Self {
        match &delivery.content {
            Content::Decisions(overlay) => {
                let mut all: Overlay = file::read(place).unwrap_or_default();
                all.merge(overlay);
                file::write(place, &all).unwrap();
                Self::Decisions(
                    overlay
                        .decisions()
                        .map(|signed| signed.decision().clone())
                        .collect(),
                )
            }
            Content::Bundle(carried) => {
                Self::Bundle(carried.kept.iter().map(|kept| kept.subject().clone()).collect())
            }
            Content::Refused { why, decisions, .. } => Self::Refused(why.clone(), decisions.len()),
            Content::Write => Self::Written,
        }
    }
}

/// The next that is not only a wish to read.
fn next(taken: &Receiver<Taken>) -> Taken {
    loop {
        match taken.recv_timeout(Duration::from_secs(20)).unwrap() {
            Taken::Written => {}
            other => return other,
        }
    }
}

fn id(path: &str) -> String {
    fact(path).code().to_string()
}
