//! What the agent says that it sees, against what truly happened.
//!
//! Every deed of `norma-deed` is done under a sensor with everything attached. What the deed says of itself is
//! compared with what was observed, and the agent's own coverage report decides what must be seen: there is
//! no list of exceptions here.

#[path = "proof/compare.rs"]
mod compare;
#[path = "proof/told.rs"]
mod told;

use crate::watch::Watch;
use norma_abi::{WANT_ENVIRONMENT, WANT_FAILED_OPENS, WANT_KNOWN_CONNECTIONS};
use norma_agent::sensor::SensorConfig;
use norma_rig::deed::{self, Deed, Truth, technique};
use norma_rig::skip::skipped;
use norma_rig::{Programs, program};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use told::{Told, Verdict};

/// How long to wait for what may never come.
const SETTLED: Duration = Duration::from_millis(200);
/// A deed whose records the rings had no room for is done again, so often at most: other tests flood them.
const TRIES: u32 = 5;

/// What came of a deed.
struct Row {
    deed: Deed,
    verdict: Verdict,
    /// Why it is seen no better, or what is wrong.
    why: String,
    told: Option<Told>,
}

#[test]
fn techniques_have_the_names_that_the_agent_gives_them() {
    let known: Vec<_> = norma_agent::sensor::Technique::ALL
        .iter()
        .map(|technique| technique.name())
        .collect();
    for name in technique::ALL {
        assert!(known.contains(name), "{name} is not in the agent's table");
    }
}

#[test]
fn capabilities_have_the_names_that_the_agent_gives_them() {
    let known: Vec<_> = norma_agent::sensor::capability_names().collect();
    for deed in deed::deeds() {
        let name = told::capability(&deed);
        assert!(known.contains(&name), "{}: {name}", deed.name);
    }
}

#[test]
fn every_deed_is_seen_as_the_report_says() {
    let config = SensorConfig {
        wants: WANT_ENVIRONMENT | WANT_FAILED_OPENS | WANT_KNOWN_CONNECTIONS,
        ..SensorConfig::default()
    };
    let Some(mut watch) = Watch::with(&config) else {
        return;
    };
    let program = Programs::find().unwrap().path("norma-deed");
    let keep = tempfile::tempdir().unwrap();
    let rows: Vec<Row> = deed::deeds()
        .map(|deed| row(&mut watch, &program, keep.path(), deed))
        .collect();
    let table = table(&watch, &rows);
    println!("{table}");
    let path = proof_file(&watch.report.kernel);
    let written = fs::create_dir_all(path.parent().unwrap()).and_then(|()| fs::write(&path, &table));
    match written {
        Ok(()) => println!("{}", path.display()),
        Err(error) => skipped(
            "proof",
            &format!("the table is not kept in {}: {error}", path.display()),
        ),
    }
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| row.verdict == Verdict::Wrong)
        .map(|row| format!("{}: {}", row.deed.name, row.why))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} deeds are not seen as the report says:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Does a deed, and again where records of that time were lost.
fn row(watch: &mut Watch, program: &Path, folder: &Path, deed: Deed) -> Row {
    for tries in 1.. {
        let lost = watch.sensor.counters().unwrap().all_lost();
        let row = judged(watch, program, folder, deed);
        let none_lost = watch.sensor.counters().unwrap().all_lost() == lost;
        if row.verdict != Verdict::Wrong || none_lost || tries == TRIES {
            return row;
        }
    }
    unreachable!("the last try gives its row")
}

fn judged(watch: &mut Watch, program: &Path, folder: &Path, deed: Deed) -> Row {
    watch.drain();
    watch.seen.clear();
    let truth = truth(program, folder, deed);
    if let Some(why) = truth.skipped {
        return Row {
            deed,
            verdict: Verdict::Skipped,
            why,
            told: None,
        };
    }
    let told = Told::of(&watch.report, &deed);
    let deadline = Instant::now() + SETTLED;
    loop {
        watch.drain();
        let found = compare::closest(&truth, &watch.seen);
        let complete = found.as_ref().is_some_and(compare::Found::is_complete);
        if complete || Instant::now() > deadline {
            let (verdict, why) = told.judge(found.as_ref());
            return Row {
                deed,
                verdict,
                why,
                told: Some(told),
            };
        }
    }
}

/// Does the deed and gives what it says.
fn truth(program: &Path, folder: &Path, deed: Deed) -> Truth {
    let mut command = Command::new(program);
    command
        .arg(deed.name)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null());
    let text = program::output(&mut command).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", deed.name))
}

/// `NORMA_PROOF` names the folder for tables; without it they are beside the build.
fn proof_file(kernel: &str) -> PathBuf {
    let folder = std::env::var_os("NORMA_PROOF").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/proof"),
        PathBuf::from,
    );
    folder.join(format!("{kernel}.md"))
}

fn table(watch: &Watch, rows: &[Row]) -> String {
    let mut out = format!("# What is seen on {}\n\n", watch.report.kernel);
    for verdict in Verdict::ALL {
        let count = rows.iter().filter(|row| row.verdict == *verdict).count();
        writeln!(out, "- {count} {verdict}").unwrap();
    }
    out.push_str("\n| deed | operation | technique | capability | tier | verdict | why |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let (capability, tier) = match &row.told {
            Some(told) => (told.capability, told.tier()),
            None => ("", String::new()),
        };
        writeln!(
            out,
            "| {} | {} | {} | {capability} | {tier} | {} | {} |",
            row.deed.name,
            row.deed.operation,
            row.deed.technique,
            row.verdict,
            row.why.replace('|', "\\|").replace('\n', " ")
        )
        .unwrap();
    }
    out
}
