//! What is shown of baselines.

use super::*;

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
