//! Declared policy: what is denied does not happen.

use super::line::{Line, text};
use norma_rig::net::Peer;
use norma_rig::{AgentSettings, skip};
use std::time::Duration;

fn with_policy(clauses: &str) -> AgentSettings {
    let policy = format!(
        "apiVersion: norma.dev/v1alpha1\nkind: Policy\nmetadata: {{name: rules}}\nspec:\n  \
         select: {{workload: \"*\"}}\n{clauses}"
    );
    AgentSettings {
        learning: Duration::from_secs(3600),
        policies: vec![policy],
        ..AgentSettings::default()
    }
}

#[test]
fn a_denied_connection_is_refused_and_reported() {
    if !skip::unless_root("a_denied_connection_is_refused_and_reported") {
        return;
    }
    let settings = with_policy("  network:\n    - deny: [\"127.0.0.66\"]\n      severity: high\n");
    let line = Line::start("deny", &settings);
    let stranger = Peer::start().unwrap();
    let port = stranger.port();
    assert_ne!(line.order(&format!("(exec 4<>/dev/tcp/127.0.0.66/{port})")), 0);
    assert!(
        line.container.output().contains("Operation not permitted"),
        "{}",
        line.container.output()
    );
    // The same port elsewhere is nobody's business.
    assert_eq!(line.order(&format!("(exec 4<>/dev/tcp/127.0.0.1/{port})")), 0);

    let event = line.event("the violation", |event| {
        event["kind"] == "connect" && text(event, "/verdict/kind") == "violation"
    });
    assert_eq!(text(&event, "/responses/0/action"), "deny", "{event:#}");
    assert_eq!(text(&event, "/responses/0/result"), "prevented", "{event:#}");
    assert_eq!(text(&event, "/responses/0/policy"), "rules", "{event:#}");
    let alert = line.alert(&["violation", "127.0.0.66"]);
    assert!(alert.severity <= 3, "high is an error or worse: {alert:?}");
}

#[test]
fn a_forbidden_program_never_runs() {
    if !skip::unless_root("a_forbidden_program_never_runs") {
        return;
    }
    let settings = with_policy("  process:\n    - deny: [\"/usr/bin/norma-load\"]\n      response: kill\n");
    let line = Line::start("kill", &settings);
    // Its first act would be to make this file; the shell says what became of it.
    assert_eq!(line.order("norma-load novel 0.01 > /run/ran"), 128 + 9);
    let ran = std::fs::read_to_string(line.container.host_path("/run/ran")).unwrap();
    assert_eq!(ran, "", "the program got as far as printing");
    let event = line.event("the violation", |event| {
        event["kind"] == "exec" && text(event, "/verdict/kind") == "violation"
    });
    assert_eq!(text(&event, "/process/exe"), "/usr/bin/norma-load", "{event:#}");
    assert_eq!(text(&event, "/responses/0/action"), "kill", "{event:#}");
    assert_eq!(text(&event, "/responses/0/result"), "prevented", "{event:#}");
    let opened = line
        .collector
        .audit()
        .events()
        .unwrap()
        .into_iter()
        .find(|event| event["kind"] == "open" && text(event, "/process/exe") == "/usr/bin/norma-load");
    assert_eq!(opened, None, "the program opened a file, so it had run");
    line.alert(&["violation", "/usr/bin/norma-load"]);
}
