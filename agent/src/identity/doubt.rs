//! Programs of processes after records of them were lost.
//!
//! Where the record of an exec is lost, all that the process does from then on would be put down to the program that
//! it ran before. So after a loss of what tells of processes, those that it can be about are looked up in /proc, and
//! what differs is taken from there and marked so.
//!
//! /proc tells how it is now, which is ahead of the records: a process of which /proc tells another program may just
//! have an exec whose record was not taken yet. So what was read counts only once all records from before the reading
//! have been taken, and only for a process of which no record of an exec is newer. What the process did between the
//! last moment at which nothing had been lost and the reading is put down to what /proc tells: one of the two programs
//! did it, and nobody can tell which. A process that is gone by then is left as it was known.

use super::system::{Doubted, Programs};
use super::{Held, Identified, Identity, Process};
use crate::observation::{Act, BootTime, CgroupId, Observation, ProcessKey};
use foldhash::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Of the time, at most this share is given to reading /proc while losses go on.
const SHARE: u64 = 10;
/// After this time, a record that was stamped has been taken, and an exec that /proc shows has had its record.
const SETTLED: Duration = Duration::from_millis(5);

/// Control groups of whose processes records were lost.
#[derive(Default)]
pub(super) struct Doubts {
    /// Since when; `CgroupId(0)` stands for all.
    since: HashMap<CgroupId, BootTime>,
    /// The next reading is not before this.
    not_before: BootTime,
    inquiry: Option<Inquiry>,
}

struct Inquiry {
    since: HashMap<CgroupId, BootTime>,
    asked: Vec<u32>,
    programs: Programs,
}

impl Inquiry {
    /// Since when what processes of these control groups do is in doubt.
    fn since(&self, groups: [CgroupId; 2]) -> BootTime {
        let all = [groups[0], groups[1], CgroupId(0)];
        let known = all.iter().filter_map(|group| self.since.get(group));
        known.min().copied().unwrap_or(BootTime(u64::MAX))
    }
}

/// A process whose program is another than was known.
pub(super) struct Corrected {
    /// As it is known now.
    pub process: Arc<Process>,
    /// Until when it was known well: the last record that told its program.
    pub told: BootTime,
    /// The control group that it was known in.
    pub cgroup: CgroupId,
}

impl Identity {
    /// Records that tell of programs or processes of a control group (0: of any) were lost, not before `since`.
    pub fn doubt_programs(&mut self, cgroup: CgroupId, since: BootTime) {
        self.doubts.since.entry(cgroup).or_insert(since);
    }

    /// Reads what /proc tells of processes in doubt, where there are some. All records from before the time that it
    /// gives have to be taken before [`Identity::settle_doubts`].
    pub fn inquire(&mut self, now: BootTime) -> Option<BootTime> {
        if self.doubts.since.is_empty() || now < self.doubts.not_before {
            return None;
        }
        let groups: Vec<CgroupId> = self.doubts.since.keys().copied().collect();
        let pids = self.processes.living_in(&groups);
        let asked = Doubted { groups, pids };
        let programs = self.system.programs(&asked)?;
        let spent = programs.until.0.saturating_sub(programs.from.0);
        self.doubts.not_before = BootTime(programs.until.0 + spent * (SHARE - 1));
        let until = BootTime(programs.until.0 + SETTLED.as_nanos() as u64);
        self.doubts.inquiry = Some(Inquiry {
            since: std::mem::take(&mut self.doubts.since),
            asked: asked.pids,
            programs,
        });
        Some(until)
    }

    /// Takes over what was read, now that the records have caught up with it; also in what is not handled yet.
    pub fn settle_doubts(&mut self, ready: &mut [Identified]) {
        let Some(inquiry) = self.doubts.inquiry.take() else {
            return;
        };
        let programs = &inquiry.programs;
        self.processes.missed(&inquiry.asked, programs);
        for program in &programs.all {
            let Some(corrected) = self.processes.correct(program) else {
                continue;
            };
            let since = inquiry
                .since([corrected.cgroup, program.cgroup])
                .max(corrected.told);
            tracing::warn!(
                pid = program.pid,
                exe = %corrected.process.exe,
                "the record of an exec was lost; what the process runs is taken from /proc"
            );
            let waiting = self.held.iter_mut().map(|Held { identified, .. }| identified);
            for identified in ready.iter_mut().chain(waiting) {
                if is_by(&identified.observation, corrected.process.key, since)
                    && identified.process.key == corrected.process.key
                {
                    identified.process = Arc::clone(&corrected.process);
                }
            }
        }
    }
}

/// Whether the process did this in the time in doubt. An exec tells its program itself.
fn is_by(observation: &Observation, process: ProcessKey, since: BootTime) -> bool {
    observation.actor.process.pid == process.pid
        && observation.at >= since
        && !matches!(observation.act, Act::Exec(_))
}
