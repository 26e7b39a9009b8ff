//! The score: what was found, held against what was done.

use super::truth::{Act, ActKind, Truth};
use norma_rig::audit::number;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What comes this long after an act can still be about it.
const AFTERWARDS: u64 = 10_000_000_000;
const DAY: f64 = 86_400.0;
const HOUR: f64 = 3_600.0;

/// An event as a collector has it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// It.
    pub event: Value,
    /// When the collector wrote it, nanoseconds since 1970; `None` in a replay.
    pub received: Option<u64>,
}

impl Seen {
    fn text(&self, pointer: &str) -> &str {
        self.event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    fn at(&self) -> u64 {
        number(&self.event["wall_ns"]).unwrap_or_default()
    }

    /// Somebody should read it. How containers are set up is another question than what they do.
    fn is_finding(&self) -> bool {
        ["novel", "violation"].contains(&self.text("/verdict/kind"))
            && self.text("/verdict/severity") != "info"
            && self.text("/kind") != "posture"
    }

    /// The kind of behaviour that it is about.
    fn field(&self) -> Option<String> {
        let behaviour: Value = serde_json::from_str(self.text("/verdict/behaviour")).ok()?;
        let (kind, _) = behaviour.as_object()?.iter().next()?;
        // What listens and what is accepted there are one.
        Some(match kind.as_str() {
            "accept" => "listen".to_owned(),
            kind => kind.to_owned(),
        })
    }

    fn is_session(&self) -> bool {
        self.text("/process/session") == "exec"
    }
}

/// How far the baseline of a workload said to be, when normal things began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Every kind of behaviour was ready, or open for good.
    pub ready: bool,
    /// New behaviours in the next day, of each kind that was ready: of others nothing is promised.
    pub per_day: BTreeMap<String, f64>,
    /// What the baseline said of each of the others.
    pub waiting: BTreeMap<String, String>,
}

impl Forecast {
    /// Whether it says more than another of the same workload.
    pub fn says_more_than(&self, other: &Self) -> bool {
        (self.ready, self.per_day.len()) > (other.ready, other.per_day.len())
    }
}

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// The workload.
    pub workload: String,
    /// Hours of learning until it was ready; `None` where it was not.
    pub hours_to_ready: Option<f64>,
    /// What was to be expected of each kind of behaviour that was ready when normal things began, and what came.
    pub fields: Vec<Promise>,
    /// What the baseline said of each kind that was not ready then.
    pub waiting: BTreeMap<String, String>,
    /// The agent told of none of its containers, so that nothing is known of its baseline.
    pub untold: bool,
    /// Days of normal things.
    pub days: f64,
    /// Findings among them.
    pub false_findings: u64,
    /// What those said, each once.
    pub false_texts: Vec<String>,
    /// Findings about sessions of administrators, which are meant to be told.
    pub session_findings: u64,
    /// Steps of attacks.
    pub attacks: Vec<Step>,
}

/// What was to be expected of a kind of behaviour, and what came.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Promise {
    /// The kind.
    pub field: String,
    /// New behaviours a day that were to be expected.
    pub predicted_per_day: f64,
    /// Those that came, a day.
    pub new_per_day: f64,
}

impl Row {
    /// New behaviours a day that were to be expected, over all kinds that were ready.
    pub fn predicted_per_day(&self) -> f64 {
        self.fields
            .iter()
            .fold(0.0, |sum, promise| sum + promise.predicted_per_day)
    }

    /// Those that came.
    pub fn new_per_day(&self) -> f64 {
        self.fields
            .iter()
            .fold(0.0, |sum, promise| sum + promise.new_per_day)
    }

    /// False findings for each day of the workload.
    pub fn false_per_day(&self) -> f64 {
        if self.days > 0.0 {
            self.false_findings as f64 / self.days
        } else {
            0.0
        }
    }

    /// Steps that were found.
    pub fn found(&self) -> usize {
        self.attacks.iter().filter(|step| step.found.is_some()).count()
    }
}

/// What came of a step of an attack.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// The step.
    pub name: String,
    /// Its technique.
    pub technique: String,
    /// What the first finding about it said; `None` where there was none.
    pub found: Option<String>,
    /// Milliseconds from what was done until the collector had that on its disk; `None` in a replay.
    pub latency_ms: Option<f64>,
    /// Findings while it went on.
    pub findings: u64,
}

/// Scores a run. `forecasts` are by the agent's name of the workload.
pub fn score(truth: &Truth, seen: &[Seen], forecasts: &BTreeMap<String, Forecast>) -> Vec<Row> {
    let names: BTreeSet<&String> = truth.containers.values().collect();
    names
        .into_iter()
        .map(|name| row(truth, seen, forecasts, name))
        .collect()
}

fn row(truth: &Truth, seen: &[Seen], forecasts: &BTreeMap<String, Forecast>, name: &str) -> Row {
    let own: Vec<&Seen> = seen
        .iter()
        .filter(|seen| {
            truth
                .containers
                .get(seen.text("/container/id"))
                .is_some_and(|of| of == name)
        })
        .collect();
    // By whatever was told of its containers: a workload that gave no reason for a finding has a baseline, too.
    let known_as: BTreeSet<&str> = own
        .iter()
        .map(|seen| seen.text("/container/workload"))
        .filter(|workload| !workload.is_empty())
        .collect();
    let hours_to_ready = seen
        .iter()
        .filter(|seen| known_as.contains(seen.text("/baseline_ready/workload")))
        .filter_map(|seen| number(&seen.event["baseline_ready"]["learned_for_ns"]))
        .map(|learned| learned as f64 / 1e9 / HOUR)
        .next();
    // A container has another name until its runtime was asked.
    let promised = known_as
        .iter()
        .filter_map(|workload| forecasts.get(*workload))
        .reduce(|most, other| if other.says_more_than(most) { other } else { most });
    let days = truth.normal.seconds() * f64::from(truth.speed) / DAY;
    let normal: Vec<&&Seen> = own.iter().filter(|seen| truth.normal.has(seen.at())).collect();
    let new: BTreeSet<(String, &str)> = normal
        .iter()
        .filter(|seen| seen.text("/verdict/kind") == "novel" && !seen.is_session())
        .filter_map(|seen| Some((seen.field()?, seen.text("/verdict/behaviour_id"))))
        .collect();
    let came = |field: &String| new.iter().filter(|(of, _)| of == field).count() as f64;
    let fields = promised
        .into_iter()
        .flat_map(|forecast| &forecast.per_day)
        .map(|(field, per_day)| Promise {
            field: field.clone(),
            predicted_per_day: *per_day,
            new_per_day: if days > 0.0 { came(field) / days } else { 0.0 },
        })
        .collect();
    let findings = normal.iter().filter(|seen| seen.is_finding());
    let (sessions, wrong): (Vec<&&&Seen>, Vec<&&&Seen>) = findings.partition(|seen| seen.is_session());
    let texts: BTreeSet<String> = wrong.iter().map(|seen| what(seen)).collect();
    let attacks = truth
        .acts
        .iter()
        .filter(|act| act.kind == ActKind::Attack && act.workload == name)
        .map(|act| step(act, &own))
        .collect();
    Row {
        workload: name.to_owned(),
        hours_to_ready,
        fields,
        waiting: promised
            .map(|forecast| forecast.waiting.clone())
            .unwrap_or_default(),
        untold: known_as.is_empty(),
        days,
        false_findings: wrong.len() as u64,
        false_texts: texts.into_iter().collect(),
        session_findings: sessions.len() as u64,
        attacks,
    }
}

fn step(act: &Act, own: &[&Seen]) -> Step {
    let during: Vec<&&Seen> = own
        .iter()
        .filter(|seen| (act.span.from..act.span.to + AFTERWARDS).contains(&seen.at()) && seen.is_finding())
        .collect();
    let about = during
        .iter()
        .find(|seen| seen.event.to_string().contains(&act.finds));
    Step {
        name: act.name.clone(),
        technique: act.technique.clone(),
        found: about.map(|seen| what(seen)),
        latency_ms: about.and_then(|seen| Some(seen.received?.saturating_sub(seen.at()) as f64 / 1e6)),
        findings: during.len() as u64,
    }
}

/// What a finding says: severity, kind, who, and its first reason.
fn what(seen: &Seen) -> String {
    let kind = seen.text("/kind");
    let detail = seen.event.get(kind).unwrap_or(&Value::Null);
    let mut object = [
        "path",
        "exe",
        "remote_address",
        "remote_port",
        "port",
        "local_port",
        "name",
        "operation",
    ]
    .iter()
    .filter_map(|key| detail.get(*key))
    .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    .filter(|text| !text.is_empty())
    .collect::<Vec<_>>()
    .join(" ");
    if object.is_empty() {
        object = behaviour(seen);
    }
    format!(
        "{} {kind} by {}: {object} [{}]",
        seen.text("/verdict/severity"),
        seen.text("/process/exe"),
        seen.text("/verdict/reasons/0/code")
    )
}

/// What a finding's behaviour is about, where its event names nothing.
fn behaviour(seen: &Seen) -> String {
    let behaviour: Value = serde_json::from_str(seen.text("/verdict/behaviour")).unwrap_or_default();
    let parts = behaviour
        .as_object()
        .into_iter()
        .flatten()
        .map(|(_, parts)| parts);
    parts
        .flat_map(|parts| ["capability", "operation", "object", "path"].map(|key| &parts[key]))
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::truth::Span;
    use super::*;
    use serde_json::json;

    const SECOND: u64 = 1_000_000_000;

    fn seen(at: u64, container: &str, verdict: (&str, &str), path: &str) -> Seen {
        Seen {
            event: json!({
                "kind": "open", "wall_ns": (at * SECOND).to_string(), "open": {"path": path},
                "container": {"id": container, "workload": "shop/Deployment/web/app"},
                "process": {"exe": "/bin/x"},
                "verdict": {"kind": verdict.0, "severity": verdict.1, "behaviour_id": path,
                            "behaviour": json!({"file": {"path": path}}).to_string()},
            }),
            received: Some((at * SECOND) + 5_000_000),
        }
    }

    fn truth() -> Truth {
        let span = |from: u64, to: u64| Span {
            from: from * SECOND,
            to: to * SECOND,
        };
        let attack = |name: &str, finds: &str| Act {
            name: name.to_owned(),
            kind: ActKind::Attack,
            workload: "web".to_owned(),
            technique: String::new(),
            finds: finds.to_owned(),
            span: span(200, 205),
        };
        Truth {
            speed: 864,
            learn: span(0, 100),
            normal: span(100, 200),
            containers: [("c".to_owned(), "web".to_owned())].into_iter().collect(),
            acts: vec![attack("one", "/etc/shadow"), attack("two", "/etc/gshadow")],
            ..Truth::default()
        }
    }

    #[test]
    fn findings_of_normal_things_are_false_and_an_attack_is_found_by_a_finding_about_it() {
        let mut session = seen(150, "c", ("novel", "high"), "/s");
        session.event["process"]["session"] = json!("exec");
        let ready = Seen {
            event: json!({"kind": "baseline_ready", "baseline_ready": {
                "workload": "shop/Deployment/web/app", "learned_for_ns": (7_200 * SECOND).to_string()}}),
            received: None,
        };
        let all = [
            ready,
            seen(50, "c", ("novel", "high"), "/learned"),
            seen(150, "c", ("novel", "high"), "/a"),
            seen(151, "c", ("novel", "info"), "/b"),
            seen(152, "c", ("expected", "info"), "/c"),
            seen(153, "other", ("novel", "high"), "/d"),
            session,
            seen(201, "c", ("novel", "high"), "/etc/shadow"),
            seen(202, "c", ("novel", "info"), "/etc/gshadow"),
        ];
        let forecast = Forecast {
            ready: true,
            per_day: [("file".to_owned(), 0.4), ("exec".to_owned(), 0.1)]
                .into_iter()
                .collect(),
            ..Forecast::default()
        };
        let forecasts = [("shop/Deployment/web/app".to_owned(), forecast)]
            .into_iter()
            .collect();
        let rows = score(&truth(), &all, &forecasts);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.hours_to_ready, Some(2.0));
        assert_eq!((row.days, row.false_findings, row.session_findings), (1.0, 1, 1));
        assert!((row.new_per_day() - 2.0).abs() < 1e-9 && (row.predicted_per_day() - 0.5).abs() < 1e-9);
        assert_eq!(row.fields.len(), 2, "{:?}", row.fields);
        assert_eq!((row.found(), row.attacks.len()), (1, 2));
        assert_eq!(row.attacks[0].latency_ms, Some(5.0));
        assert_eq!(row.attacks[1].found, None);
    }

    #[test]
    fn what_a_baseline_promised_counts_where_nothing_was_found_as_well() {
        let forecast = Forecast {
            per_day: [("exec".to_owned(), 0.1)].into_iter().collect(),
            waiting: [("file".to_owned(), "learning".to_owned())].into_iter().collect(),
            ..Forecast::default()
        };
        let forecasts = [
            ("runc/c".to_owned(), Forecast::default()),
            ("shop/Deployment/web/app".to_owned(), forecast),
        ]
        .into_iter()
        .collect();
        let rollup = |workload: &str| Seen {
            event: json!({"kind": "rollup", "container": {"id": "c", "workload": workload}}),
            received: None,
        };
        let rows = score(
            &truth(),
            &[rollup("runc/c"), rollup("shop/Deployment/web/app")],
            &forecasts,
        );
        assert_eq!((rows[0].fields.len(), rows[0].untold), (1, false), "{rows:?}");
        assert!(rows[0].waiting.contains_key("file"));

        let rows = score(&truth(), &[rollup("")], &forecasts);
        assert!(rows[0].untold && rows[0].fields.is_empty(), "{rows:?}");
    }

    #[test]
    fn a_false_finding_names_what_it_is_about() {
        let mut used = seen(150, "c", ("novel", "medium"), "");
        used.event["kind"] = json!("privilege");
        used.event["verdict"]["behaviour"] =
            json!(json!({"capability": {"exe": "/bin/x", "capability": "CAP_CHOWN"}}).to_string());
        let rows = score(&truth(), &[used], &BTreeMap::new());
        assert!(rows[0].false_texts[0].contains("CAP_CHOWN"), "{rows:?}");
    }
}
