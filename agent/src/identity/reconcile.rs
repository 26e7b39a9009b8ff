//! What is held of control groups, against those that there are.
//!
//! The record of a control group's removal is the last that is heard of it: where it is lost, the container would run
//! for ever. Where the record of its creation is lost, it is not known before something is done in it. So the tree is
//! read again after such a loss, and now and then without one.
//!
//! The tree is ahead of the records: when it is read, what was done in a group that is gone may still be on its way.
//! A group that is not in it ends only when all records from before the reading have been taken. An id alone is not
//! trusted, since it may have been given again: a group is one of this id at this path.

#[cfg(test)]
mod tests;

use super::container::Placement;
use super::{Container, HOLD, Identified, Identity, Placed};
use crate::observation::{BootTime, CgroupChange, CgroupId};
use std::sync::Arc;
use std::time::Duration;

/// How often the tree is read where no loss is known.
const RARELY: Duration = Duration::from_secs(60);
/// Least time between two readings.
const LEAST: Duration = Duration::from_secs(1);
/// After this time, a record that was stamped has been taken: more than the sensor leaves in its rings to settle.
const SETTLED: Duration = Duration::from_millis(2);

/// After this time the record of a creation that was on its way has come, also where rounds take long.
const LATE: Duration = Duration::from_millis(200);

/// A container whose beginning or end was found by reading the tree of control groups.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is there, and was not known.
    Begun(Arc<Container>),
    /// It was known, and is not there.
    Ended(Arc<Container>),
}

/// How far a review of the control groups is.
#[derive(Default)]
pub(super) struct Review {
    wanted: bool,
    last: Option<BootTime>,
    state: State,
    /// Made unseen and not placed yet, and since when that is known.
    unplaced: Vec<(CgroupId, BootTime)>,
    found: Vec<Found>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// The tree was read then; these were not in it.
    Read { at: BootTime, missing: Vec<CgroupId> },
    /// What is in the rings now is of after the reading.
    Settled { missing: Vec<CgroupId> },
}

impl Review {
    fn is_due(&self, now: BootTime) -> bool {
        let wait = if self.wanted { LEAST } else { RARELY };
        self.last.is_some_and(|last| now >= after(last, wait))
    }
}

fn after(at: BootTime, time: Duration) -> BootTime {
    BootTime(at.0.saturating_add(time.as_nanos() as u64))
}

impl Identity {
    /// Records of control groups may have been lost: has the tree read soon.
    pub fn doubt_groups(&mut self) {
        self.review.wanted = true;
    }

    /// Containers that were found since the last call, rather than told by a record.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.review.found)
    }

    /// A group of which nothing was known: its creation was not seen, unless its record is still on its way.
    pub(super) fn found_group(&mut self, id: CgroupId, now: BootTime) {
        self.containers.begun_unseen(id);
        self.review.unplaced.push((id, now));
    }

    /// Takes a record of a control group that came or went.
    pub(super) fn follow_group(&mut self, change: &CgroupChange, at: BootTime, out: &mut Vec<Identified>) {
        let is_another = self.cgroups.knows_another(change.id, &change.path);
        if change.removed {
            // That of a group whose id was given again since is late: the one before has ended by then.
            if !is_another && self.cgroups.knows(change.id) {
                self.end_group(change.id, out);
            }
            return;
        }
        if is_another {
            // The record of the end of the one before was lost.
            self.end_as_found(change.id, out);
        } else if self.cgroups.knows(change.id) {
            // It was found meanwhile.
            self.containers.begun_seen(change.id);
            self.review.unplaced.retain(|(id, _)| *id != change.id);
            if !matches!(self.containers.known(change.id), Placement::Unknown) {
                return;
            }
        }
        self.cgroups.insert(change.id, &change.path, at);
        // A group made inside a container's own is steered before anything runs in it.
        let placement = self.ask(change.id, false);
        self.note(change.id, &placement);
    }

    /// Holds what is known against the tree; to be called with each look at the time, after the records were taken.
    pub(super) fn review(&mut self, now: BootTime, out: &mut Vec<Identified>) {
        match std::mem::take(&mut self.review.state) {
            State::Idle if self.review.last.is_none() => self.review.last = Some(now),
            State::Idle if self.review.is_due(now) => {
                self.review.last = Some(now);
                self.read_tree(now);
            }
            State::Idle => {}
            State::Read { at, missing } if now >= after(at, SETTLED) => {
                self.review.state = State::Settled { missing };
            }
            State::Read { at, missing } => self.review.state = State::Read { at, missing },
            State::Settled { missing } => {
                for id in missing {
                    // Its record may have come meanwhile.
                    if self.cgroups.knows(id) {
                        self.end_as_found(id, out);
                    }
                }
            }
        }
    }

    fn read_tree(&mut self, now: BootTime) {
        let Some(tree) = self.system.tree() else {
            return;
        };
        self.review.wanted = false;
        let missing = self.cgroups.missing_in(&tree);
        for (id, path) in &tree.groups {
            if self.cgroups.knows_another(*id, path) {
                // That one has to end first.
                self.review.wanted = true;
            } else if !self.cgroups.knows(*id) {
                self.cgroups.insert(*id, path, tree.at);
                self.found_group(*id, now);
            }
        }
        self.review.state = State::Read { at: tree.at, missing };
    }

    /// Places groups that were made unseen, as soon as that can be, and for good when they had the time that others
    /// have.
    pub(super) fn place_found(&mut self, now: BootTime) {
        for (id, since) in std::mem::take(&mut self.review.unplaced) {
            let Some(path) = self.cgroups.path(id).map(str::to_owned) else {
                continue;
            };
            if now < after(since, LATE) {
                self.review.unplaced.push((id, since));
                continue;
            }
            let known = match self.containers.known(id) {
                Placement::Unknown => {
                    let placement = if now >= after(since, HOLD) {
                        self.containers.place_existing(id, &path, &self.cgroups)
                    } else {
                        self.ask(id, false)
                    };
                    self.note(id, &placement);
                    placement
                }
                known => known,
            };
            match known {
                Placement::Unknown => self.review.unplaced.push((id, since)),
                Placement::Container(container) if container.cgroup == id => {
                    self.review.found.push(Found::Begun(container));
                }
                Placement::Container(_) | Placement::Host => {}
            }
        }
    }

    fn end_as_found(&mut self, id: CgroupId, out: &mut Vec<Identified>) {
        if let Placement::Container(container) = self.containers.known(id)
            && container.cgroup == id
        {
            self.review.found.push(Found::Ended(container));
        }
        self.end_group(id, out);
    }

    /// A group is gone. What still waits of it goes out first, while it is known where it was.
    fn end_group(&mut self, id: CgroupId, out: &mut Vec<Identified>) {
        self.settle_held(id, out);
        self.cgroups.remove(id);
        self.containers.remove(id);
        self.processes.forget_cgroup(id);
        self.units.remove(&id);
        self.next_retry.remove(&id);
        self.placed.push(Placed::Gone(id));
    }
}
