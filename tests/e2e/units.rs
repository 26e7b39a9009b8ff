//! What the host itself runs: by systemd unit, where its control group is one's.
//!
//! The control groups are real ones, laid out as systemd lays them out; nothing here asks systemd.

use super::line::{LIMIT, Line, text};
use norma_rig::{AgentSettings, cgroup, skip};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// A part of the tree of control groups that is removed again.
pub struct Groups(PathBuf);

impl Groups {
    pub fn make(name: &str) -> Self {
        let top = cgroup::v2_mount().unwrap().join(name);
        fs::create_dir_all(&top).unwrap();
        Self(top)
    }

    /// Runs `stat` on a file with this name in a control group.
    pub fn run(&self, group: &str, file: &str) {
        let folder = self.0.join(group);
        fs::create_dir_all(&folder).unwrap();
        let enter = format!("echo $$ > {}/cgroup.procs; exec stat -t {file}", folder.display());
        let status = Command::new("bash").args(["-c", &enter]).output().unwrap().status;
        assert!(status.success(), "{group}");
    }

    fn remove(folder: &std::path::Path) {
        for inner in fs::read_dir(folder).into_iter().flatten().flatten() {
            if inner.file_type().is_ok_and(|kind| kind.is_dir()) {
                Self::remove(&inner.path());
            }
        }
        fs::remove_dir(folder).ok();
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        Self::remove(&self.0);
    }
}

#[test]
fn what_the_host_does_is_told_by_the_unit_that_does_it() {
    if !skip::unless_root("what_the_host_does_is_told_by_the_unit_that_does_it") {
        return;
    }
    let settings = AgentSettings {
        learning: Duration::from_secs(3600),
        extra: "events:\n  host: true\n".to_owned(),
        ..AgentSettings::default()
    };
    let line = Line::start("units", &settings);
    let groups = Groups::make(&line.scratch.unique("units"));
    let template = "system.slice/system-web.slice/web@blue.service";
    let user = "user.slice/user-0.slice";
    for (number, (group, unit)) in [
        ("system.slice/cron.service".to_owned(), "cron.service"),
        (template.to_owned(), "web@blue.service"),
        // What a service divides its own group into is the service's.
        (format!("{template}/worker/0"), "web@blue.service"),
        (format!("{user}/session-3.scope"), "session-3.scope"),
        (
            format!("{user}/user@0.service/app.slice/editor.service"),
            "editor.service",
        ),
        (format!("{user}/user@0.service/init.scope"), "init.scope"),
        // No unit: of a slice, and of a group that somebody made by hand.
        ("machine.slice".to_owned(), ""),
        ("by-hand".to_owned(), ""),
    ]
    .into_iter()
    .enumerate()
    {
        let file = line.scratch.file(&format!("seen-{number}"), "x").unwrap();
        let file = file.display().to_string();
        groups.run(&group, &file);
        let is_it = |event: &Value| {
            event["kind"] == "exec"
                && text(event, "/process/exe") == "/usr/bin/stat"
                && event["process"]["argv"][2] == *file
        };
        let event = line.collector.audit().wait_for(&group, LIMIT, is_it).unwrap();
        assert_eq!(text(&event, "/unit"), unit, "{group}: {event:#}");
        assert!(event["container"].is_null(), "{group}: {event:#}");
    }
}
