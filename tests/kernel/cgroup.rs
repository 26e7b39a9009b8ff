//! Control groups that come and go.

use crate::watch::{Group, Watch};
use norma_agent::observation::{Act, CgroupChange};

#[test]
fn a_control_group_is_known_before_anything_runs_in_it() {
    let Some(mut watch) = Watch::start() else { return };
    let Some(group) = Group::make() else { return };
    let (id, path) = (group.id(), format!("/{}", group.name).into_bytes());
    group.shell("exec true").status().unwrap();
    drop(group);
    let changes = |watch: &mut Watch, removed: bool| {
        let expect = CgroupChange {
            id,
            removed,
            path: path.clone(),
        };
        watch.find(&format!("{expect:?}"), |seen| {
            (seen.act == Act::Cgroup(expect.clone())).then_some(seen.at)
        })
    };
    let made = changes(&mut watch, false);
    let removed = changes(&mut watch, true);
    let (exec, _) = watch.exec("exec in the control group", |seen, _| seen.actor.cgroup == id);
    assert!(made < exec.at && exec.at < removed);
}
