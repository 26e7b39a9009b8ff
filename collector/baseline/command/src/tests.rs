//! The commands as they are typed, on a directory of baselines with and without a program that keeps it.

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

#[test]
fn what_is_known_is_listed_and_shown_in_both_forms() {
    let state = State::new();
    let list = state.run(&["list"]).unwrap();
    assert_eq!(list.matches(WORKLOAD).count(), 2, "{list}");
    assert!(list.contains("inherits  sha256:1"), "{list}");
    let json: serde_json::Value =
        serde_json::from_str(&state.run(&["list", "--output", "json"]).unwrap()).unwrap();
    assert_eq!(json[1]["newest"], true);
    assert_eq!(json[1]["revision"], "sha256:2");
    assert_eq!(json[1]["replicas"], 2);
    let field = json[1]["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find(|field| field["field"] == "file");
    let field = field.unwrap();
    assert!(field["expected_per_day"]["high"].as_f64() >= field["expected_per_day"]["point"].as_f64());
    assert_eq!(field["by_units"].as_array().unwrap().len(), 2);

    let show = state.run(&["show", "web", "--field", "file"]).unwrap();
    let line = |path: &str| show.lines().find(|line| line.contains(path)).unwrap_or_default();
    assert!(line("/etc/app.conf").contains("inherited"), "{show}");
    assert!(
        line("/etc/new").trim_start().starts_with(&id("/etc/new")),
        "{show}"
    );
    assert!(show.contains("2 of 2 replicas"), "{show}");
    assert!(
        show.contains("units of 1 h of running") && show.contains("4 h of running"),
        "{show}"
    );
    assert!(!show.contains("\nexec "), "asked for one field only: {show}");
    let json: serde_json::Value =
        serde_json::from_str(&state.run(&["show", "web", "--output", "json"]).unwrap()).unwrap();
    let shown = json["behaviours"]
        .as_array()
        .unwrap()
        .iter()
        .find(|shown| shown["id"] == id("/etc/new"));
    let again: Fact = serde_json::from_value(shown.unwrap()["fact"].clone()).unwrap();
    assert_eq!(again, fact("/etc/new"));
}

#[test]
fn a_release_is_told_from_the_one_before() {
    let state = State::new();
    let diff = state.run(&["diff", WORKLOAD]).unwrap();
    assert!(
        diff.contains("from  sha256:1") && diff.contains("to    sha256:2"),
        "{diff}"
    );
    assert!(
        diff.contains("/etc/new") && diff.contains(&id("/etc/new")),
        "{diff}"
    );
    assert!(
        diff.contains("/etc/old") && !diff.contains("/etc/app.conf"),
        "{diff}"
    );
    let back = state.run(&["diff", WORKLOAD, "sha256:2", "sha256:1"]).unwrap();
    // What the newer one inherited it expects, too, and what it added is not expected yet.
    assert!(
        back.contains("from  sha256:2") && back.contains("Nothing differs."),
        "{back}"
    );
    let alone = state
        .run(&["diff", WORKLOAD, "sha256:1", "sha256:1"])
        .unwrap_err();
    assert!(alone.contains("compared with itself"), "{alone}");
}

#[test]
fn names_that_are_not_there_or_not_clear_are_told_with_those_that_are() {
    let state = State::new();
    let error = state.run(&["show", "nothing"]).unwrap_err();
    assert!(
        error.contains("no baseline of `nothing`") && error.contains(WORKLOAD),
        "{error}"
    );
    let error = state.run(&["show", "web", "--revision", "sha256"]).unwrap_err();
    assert!(
        error.contains("one of several revisions") && error.contains("sha256:2"),
        "{error}"
    );
    let (key, _) = state.key("alice");
    let words = ["reject", "web", "zzzz", "--why", "x", "--key", &key, "--yes"];
    let error = state.run(&words).unwrap_err();
    assert!(error.contains("no behaviour `zzzz`"), "{error}");
}

#[test]
fn a_decision_is_signed_taken_and_in_force() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let taken = state.keeper(&[public]);
    let code = id("/etc/new");
    let words = [
        "reject",
        "web",
        &code[..8],
        "--why",
        "CHG-1",
        "--key",
        &key,
        "--yes",
    ];
    let said = state.run(&words).unwrap();
    assert!(said.starts_with("In force"), "{said}");
    let Taken::Decisions(decisions) = next(&taken) else {
        panic!()
    };
    assert_eq!(decisions.len(), 1);
    let decision = &decisions[0];
    assert_eq!(
        (&*decision.who, &*decision.why, decision.verb),
        ("alice", "CHG-1", Verb::Reject)
    );
    assert_eq!(decision.item, Item::Fact(fact("/etc/new")));
    assert_eq!(decision.revision, None, "of all revisions");

    // By its text, and later than the one before although both are of the same second.
    let text = fact("/etc/new").to_string();
    state
        .run(&["approve", "web", &text, "--why", "sorry", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(later) = next(&taken) else {
        panic!()
    };
    assert!(later[0].at > decision.at);
    let show = state.run(&["show", "web"]).unwrap();
    assert!(
        show.contains("by alice") && show.contains("CHG-1") && show.contains("sorry"),
        "{show}"
    );

    // One that was never seen, as JSON.
    let unseen = serde_json::to_string(&fact("/etc/monthly")).unwrap();
    state
        .run(&[
            "approve", "web", &unseen, "--why", "monthly", "--key", &key, "--yes",
        ])
        .unwrap();
    let Taken::Decisions(unseen) = next(&taken) else {
        panic!()
    };
    assert_eq!(unseen[0].item, Item::Fact(fact("/etc/monthly")));

    // The whole delta is of the newest revision, a lock of all of them; forgetting is of each that there is.
    state
        .run(&[
            "approve", "web", "--all", "--why", "CHG-2", "--key", &key, "--yes",
        ])
        .unwrap();
    let Taken::Decisions(all) = next(&taken) else {
        panic!()
    };
    assert_eq!(
        (&all[0].item, all[0].revision.as_deref()),
        (&Item::Whole, Some("sha256:2"))
    );
    state
        .run(&["lock", "web", "--why", "done", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(lock) = next(&taken) else {
        panic!()
    };
    assert_eq!((lock[0].verb, &lock[0].revision), (Verb::Lock, &None));
    state
        .run(&[
            "forget",
            "web",
            "--all",
            "--revision",
            "sha256:1",
            "--why",
            "x",
            "--key",
            &key,
            "--yes",
        ])
        .unwrap();
    let Taken::Decisions(forget) = next(&taken) else {
        panic!()
    };
    assert_eq!(
        (forget[0].verb, forget[0].revision.as_deref()),
        (Verb::Forget, Some("sha256:1"))
    );
}

#[test]
fn what_a_key_signs_that_nobody_trusts_is_refused_and_kept_with_the_reason() {
    let state = State::new();
    let (_, trusted) = state.key("alice");
    let (foreign, _) = state.key("mallory");
    let taken = state.keeper(&[trusted]);
    let words = [
        "approve", "web", "--all", "--why", "trust me", "--key", &foreign, "--yes",
    ];
    let error = state.run(&words).unwrap_err();
    assert!(
        error.contains("refused it") && error.contains("not trusted"),
        "{error}"
    );
    let Taken::Refused(why, decisions) = next(&taken) else {
        panic!()
    };
    assert!(why.contains("not trusted") && decisions == 1);
    let aside: Vec<_> = fs::read_dir(state.baselines().join("inbox"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("refused"))
        .collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
}

#[test]
fn without_a_program_it_waits_for_one() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let said = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap();
    assert!(said.contains("does not run"), "{said}");
    let Taken::Decisions(decisions) = next(&state.keeper(&[public])) else {
        panic!()
    };
    assert_eq!(decisions[0].verb, Verb::Lock);
}

#[test]
fn nothing_is_decided_without_a_reason_a_key_and_a_yes() {
    let state = State::new();
    let (key, _) = state.key("alice");
    let error = state
        .run(&["lock", "web", "--why", " ", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("--why is empty"), "{error}");
    let error = state
        .run(&["lock", "web", "--why", "x\ny", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("one line"), "{error}");
    let error = state.run(&["lock", "web", "--key", &key]).unwrap_err();
    assert!(error.contains("--why"), "{error}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(
        error.contains("mode 640") && error.contains("chmod 600"),
        "{error}"
    );
    let error = state
        .run(&["keygen", "--as", "alice", "--out", &key])
        .unwrap_err();
    assert!(error.contains("never overwritten"), "{error}");
    assert!(
        !state.baselines().join("inbox").exists(),
        "nothing was handed over"
    );
}

#[test]
fn what_is_no_hand_over_is_refused_and_harms_nothing() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let folder = state.baselines().join("inbox");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("1.decisions"), b"garbage").unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("2.bundle")).unwrap();
    let large = fs::File::create(folder.join("3.bundle")).unwrap();
    large.set_len(inbox::BYTES_MAX + 1).unwrap();
    let mut newer = file::to_bytes(&Overlay::new()).unwrap();
    newer[8] = 9;
    fs::write(folder.join("4.decisions"), newer).unwrap();
    fs::write(
        folder.join("5.decisions"),
        file::to_bytes(&Overlay::new()).unwrap(),
    )
    .unwrap();
    let taken = state.keeper(&[public]);
    for expected in [
        "not a baseline file",
        "cannot be read",
        "more than the",
        "version 9",
        "no decision",
    ] {
        let Taken::Refused(why, 0) = next(&taken) else {
            panic!()
        };
        assert!(why.contains(expected), "{why}");
    }
    // And goes on.
    let said = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap();
    assert!(said.starts_with("In force"), "{said}");
}

#[test]
fn a_bundle_is_carried_whole_or_refused() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let bundle = state.file("web.bundle");
    let words = [
        "export", "web", "--format", "bundle", "--key", &key, "--out", &bundle,
    ];
    state.run(&words).unwrap();

    let other = State(tempfile::tempdir().unwrap());
    fs::create_dir(other.baselines()).unwrap();
    let taken = other.keeper(&[public]);
    other.run(&["import", &bundle, "--yes"]).unwrap();
    let Taken::Bundle(subjects) = next(&taken) else {
        panic!()
    };
    assert_eq!(subjects.len(), 2);

    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("damaged"), "{error}");
    fs::write(&bundle, &bytes[..100]).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("cut short"), "{error}");

    let (foreign, _) = state.key("mallory");
    let words = [
        "export", "web", "--format", "bundle", "--key", &foreign, "--out", &bundle,
    ];
    state.run(&words).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("not trusted"), "{error}");
}

#[test]
fn exports_say_what_they_are_and_a_document_comes_back_as_decisions() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let yaml = state.run(&["export", "web"]).unwrap();
    assert!(
        yaml.contains("kind: Baseline") && yaml.contains("/etc/app.conf"),
        "{yaml}"
    );
    let seccomp = state.run(&["export", "web", "--format", "seccomp"]).unwrap();
    assert!(seccomp.contains("SCMP_ACT"), "{seccomp}");
    let error = state
        .run(&["export", "web", "--format", "network-policy"])
        .unwrap_err();
    assert!(error.contains("--label"), "{error}");
    let policy = state
        .run(&[
            "export",
            "web",
            "--format",
            "network-policy",
            "--label",
            "app=web",
        ])
        .unwrap();
    assert!(
        policy.contains("kind: NetworkPolicy") && policy.contains("namespace: shop"),
        "{policy}"
    );
    for format in ["apparmor", "kubearmor"] {
        let profile = state
            .run(&["export", "web", "--format", format, "--label", "app=web"])
            .unwrap();
        assert!(profile.contains("/etc/app.conf"), "{profile}");
    }

    let place = state.file("web.yaml");
    fs::write(&place, &yaml).unwrap();
    let error = state
        .run(&["import", &place, "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("--why"), "{error}");
    let taken = state.keeper(&[public]);
    state
        .run(&["import", &place, "--why", "from staging", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(decisions) = next(&taken) else {
        panic!()
    };
    assert!(decisions.iter().all(|decision| decision.verb == Verb::Approve));
    assert!(
        decisions
            .iter()
            .any(|decision| decision.item == Item::Fact(fact("/etc/app.conf")))
    );
    fs::write(&place, yaml.replace("behaviours:", "behaviors:")).unwrap();
    let error = state
        .run(&["import", &place, "--why", "x", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(
        error.contains("web.yaml") && error.contains("behaviors"),
        "{error}"
    );
}
