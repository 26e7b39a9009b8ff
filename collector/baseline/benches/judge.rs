//! What judging costs, and what memory a node's norms take: 100 workloads of 3,000 facts each.
//!
//! `cargo bench -p norma-baseline --bench judge`. Paths are all different, which is the worst case: in a real
//! fleet most of them are those of the same libraries.

use norma_baseline::Timestamp;
use norma_baseline::estimate::{Criteria, Settled};
use norma_baseline::evidence::{Evidence, Recorder, SourceId, Start, Tuning, Version};
use norma_baseline::fact::{Access, ArgumentShape, Fact, Key, Peer, Protocol};
use norma_baseline::file::{self, Filed};
use norma_baseline::never::{Circumstances, Never};
use norma_baseline::norm::{Inputs, Membership, Norm, Setting};
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline::pattern::Unprotected;
use std::hint::black_box;
use std::time::{Duration, Instant};

const WORKLOADS: usize = 100;
const FACTS: usize = 3_000;
const HOUR: u64 = 3_600;
const MIB: f64 = 1_048_576.0;

fn fact(workload: usize, number: usize) -> Fact {
    let exe = format!("/usr/local/bin/service-{}", number % 12).into();
    match number % 10 {
        0 => Fact::Exec {
            parent: exe,
            exe: format!("/usr/bin/tool-{number}").into(),
            script: None,
            arguments: ArgumentShape::of(["-c", "/etc/service.conf"]),
        },
        1 => Fact::Connect {
            exe,
            peer: Peer::Domain(format!("host{number}.w{workload}.example.com").into()),
            protocol: Protocol::Tcp,
            port: 443,
        },
        _ => Fact::File {
            exe,
            path: format!(
                "/srv/w{workload}/application/part{}/module{number}.rb",
                number % 37
            )
            .into(),
            access: Access::Read,
        },
    }
}

/// Two days in which everything is seen every hour.
fn learned(workload: usize) -> Result<(Recorder, Norm), Never> {
    let at = |hour: u64| Timestamp::from_unix(1_800_000_000 + hour * HOUR);
    let tuning = Tuning {
        absence: Duration::from_secs(HOUR),
        ..Tuning::default()
    };
    let source = SourceId {
        node: "node".into(),
        generation: 1,
    };
    let mut recorder = Recorder::open(None, source, tuning, at(0));
    recorder.container_started("replica", Start::Found);
    let leave = Circumstances::default().learnable()?;
    for hour in 0..48 {
        for number in 0..FACTS {
            recorder.observe(&fact(workload, number), "replica", leave, at(hour));
        }
        recorder.advance(at(hour + 1));
    }
    let subject = Subject {
        workload: format!("shop/deployment/w{workload}/app").into(),
        revision: "sha256:1".into(),
    };
    let norm = compiled(recorder.evidence(), &subject);
    Ok((recorder, norm))
}

fn compiled(evidence: &Evidence, subject: &Subject) -> Norm {
    Inputs {
        subject,
        evidence,
        predecessor: None,
        overlay: &Overlay::new(),
        settled: &Settled::default(),
        replicas: 1,
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: 20_000,
    }
    .compile()
}

/// Bytes of a file of it; none if it cannot be written.
fn length<T: Filed>(value: &T) -> usize {
    file::to_bytes(value).map_or(0, |bytes| bytes.len())
}

/// Prints the mean time of one call.
fn time(name: &str, calls: usize, mut call: impl FnMut(usize)) {
    for number in 0..calls / 10 {
        call(number);
    }
    let start = Instant::now();
    for number in 0..calls {
        call(number);
    }
    println!(
        "{name:<44} {:>9.2} µs",
        start.elapsed().as_secs_f64() * 1e6 / calls as f64
    );
}

/// Resident memory of this process in MiB.
fn resident() -> f64 {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok())
        .map_or(f64::NAN, |pages| pages * 4096.0 / MIB)
}

fn main() -> Result<(), Never> {
    let before = resident();
    let mut all = Vec::new();
    for workload in 0..WORKLOADS {
        all.push(learned(workload)?);
    }
    let after = resident();
    let counted: usize = all
        .iter()
        .map(|(recorder, norm)| recorder.evidence().bytes() + norm.bytes())
        .sum();
    println!(
        "{WORKLOADS} workloads × {FACTS} facts: {:.1} MiB resident, {:.1} MiB counted, {:.0} bytes a fact",
        after - before,
        counted as f64 / MIB,
        counted as f64 / (WORKLOADS * FACTS) as f64
    );

    let Some((recorder, norm)) = all.first_mut() else {
        return Ok(());
    };
    let known: Vec<Fact> = (0..FACTS).map(|number| fact(0, number)).collect();
    let novel: Vec<Fact> = (0..FACTS).map(|number| fact(999, number)).collect();
    let is_novel = |fact: &Fact| matches!(norm.judge(fact, &Unprotected), Membership::Novel(_));
    println!(
        "{} of {FACTS} known and {} of {FACTS} others are novel",
        known.iter().filter(|fact| is_novel(fact)).count(),
        novel.iter().filter(|fact| is_novel(fact)).count()
    );
    let setting = Setting {
        workloads: 100,
        replicas: 3,
        replicas_with: 1,
        ..Setting::default()
    };
    time("judge a known fact", 300_000, |number| {
        black_box(norm.judge(&known[number % FACTS], &Unprotected));
    });
    time("judge a novel fact", 300_000, |number| {
        black_box(norm.judge(&novel[number % FACTS], &Unprotected));
    });
    time("judge, score and explain a novel fact", 100_000, |number| {
        let fact = &novel[number % FACTS];
        black_box(norm.judge(fact, &Unprotected));
        black_box(norm.score(fact, &setting));
        black_box(norm.expectation(fact));
    });
    let key = Key::new([7; 16]);
    time("identity of a fact", 300_000, |number| {
        black_box(known[number % FACTS].identity(&key));
    });
    let leave = Circumstances::default().learnable()?;
    let now = Timestamp::from_unix(1_800_000_000 + 49 * HOUR);
    time("record a known fact", 300_000, |number| {
        black_box(recorder.observe(&known[number % FACTS], "replica", leave, now));
    });
    let (everything, version) = recorder.delta(Version::START);
    let (nothing, _) = recorder.delta(version);
    println!(
        "as files: norm {} bytes, all evidence {} bytes, delta without news {} bytes",
        length(norm),
        length(&everything),
        length(&nothing)
    );
    time("merge all evidence of a workload", 50, |_| {
        let mut merged = Evidence::new();
        merged.merge(&everything);
        black_box(merged);
    });
    let subject = norm.subject().clone();
    time("compile a norm", 20, |_| {
        black_box(compiled(&everything, &subject));
    });
    Ok(())
}
