//! Connections that the kernel side recognises, of one container.
//!
//! What was counted is told by peer, with the bytes. A peer that goes by another name than it did when it was judged, be it
//! that the name was resolved anew or that another workload has the address now, is to be judged anew.

use super::usage::{Due, Moment, Usage};
use crate::identity::Container;
use crate::judge::{Fact, Judge};
use crate::observation::{ActId, BootTime};
use crate::sensor::{KnownPlace, KnownTable};
use norma_abi::Traffic;
use std::sync::Arc;

/// Most of one container: more would be made by whoever wants the room taken.
const CONTAINER_MAX: usize = 1_024;

/// What the kernel side recognised of one behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// Who connects, or accepts, and the peer.
    pub fact: Fact,
    /// Those that began.
    pub begun: u64,
    /// What became of them, and of those that began before.
    pub traffic: Traffic,
}

/// Those that are recognised, and what was counted of them.
#[derive(Default)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// Not taken over yet.
    counted: Vec<Connections>,
}

struct Entry {
    fact: Fact,
    id: ActId,
    place: KnownPlace,
    /// The count and the traffic as they were taken over last.
    begun: u64,
    traffic: Traffic,
    usage: Usage,
}

impl Entries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Has a connection recognised from now on; false where there is no room. `shown` is when the baseline was shown it,
    /// in seconds of its course.
    pub fn enter(
        &mut self,
        table: &mut KnownTable,
        id: ActId,
        fact: &Fact,
        now: BootTime,
        shown: u32,
    ) -> bool {
        if self.entries.len() >= CONTAINER_MAX {
            return false;
        }
        let Some(place) = table.enter_connection(id) else {
            return false;
        };
        self.entries.push(Entry {
            fact: fact.clone(),
            id,
            place,
            begun: table.count(place),
            traffic: Traffic::default(),
            usage: Usage::new(now.seconds(), shown),
        });
        true
    }

    /// Takes over what was counted, shows the baseline what it has not seen for a while, and drops what is not known any
    /// more or not used.
    pub fn sweep(
        &mut self,
        table: &mut KnownTable,
        container: &Arc<Container>,
        judge: &mut Judge,
        now: BootTime,
        moment: Moment,
    ) {
        self.retain_entries(table, moment.at, |entry| {
            judge.still_knows(container, &entry.fact, now, entry.usage.is_fresh())
                && match entry.usage.look(moment) {
                    Due::Nothing => true,
                    Due::Drop => false,
                    Due::Show => judge.recognised_again(container, &entry.fact, now),
                }
        });
    }

    /// Takes over what was counted, and keeps the entries that `keep` wants, which is given what they are and whether they
    /// were used.
    pub fn retain(&mut self, table: &mut KnownTable, at: u32, mut keep: impl FnMut(&Fact, bool) -> bool) {
        self.retain_entries(table, at, |entry| keep(&entry.fact, entry.usage.is_fresh()));
    }

    /// What was counted since the last time.
    pub fn take(&mut self) -> Vec<Connections> {
        std::mem::take(&mut self.counted)
    }

    fn retain_entries(&mut self, table: &mut KnownTable, at: u32, mut keep: impl FnMut(&mut Entry) -> bool) {
        let Self { entries, counted } = self;
        entries.retain_mut(|entry| {
            let traffic = table.traffic(entry.id);
            counted.extend(entry.count(table, traffic, at));
            let wanted = keep(entry);
            if !wanted {
                let last = table.clear_connection(entry.id, entry.place);
                counted.extend(entry.count(table, last, at));
            }
            wanted
        });
    }
}

impl Entry {
    /// What came since the last time.
    fn count(&mut self, table: &KnownTable, traffic: Traffic, at: u32) -> Option<Connections> {
        let begun = table.count(self.place);
        let since = begun.wrapping_sub(self.begun);
        let came = less(traffic, self.traffic);
        if since > 0 {
            self.usage.renew(at);
        }
        (self.begun, self.traffic) = (begun, traffic);
        (since > 0 || came != Traffic::default()).then(|| Connections {
            fact: self.fact.clone(),
            begun: since,
            traffic: came,
        })
    }
}

fn less(now: Traffic, before: Traffic) -> Traffic {
    Traffic {
        established: now.established.wrapping_sub(before.established),
        ended: now.ended.wrapping_sub(before.ended),
        failed: now.failed.wrapping_sub(before.failed),
        sent: now.sent.wrapping_sub(before.sent),
        received: now.received.wrapping_sub(before.received),
    }
}
