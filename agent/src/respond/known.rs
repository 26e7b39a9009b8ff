//! What is expected, kept in step with what the kernel side recognises.
//!
//! An act that the judge holds for nothing special is entered into the kernel side's table when it comes again
//! [`PROBATION`] after it came first: what happens once would only fill the table, and by then it is known which
//! files are the sensitive ones. From then on it is counted there. What was counted is
//! taken over container by container, every [`SWEEP_EVERY`] at least; it becomes part of the roll-up, and the
//! baseline is shown each behaviour as often as if it had been reported. An entry goes as soon as the norm that it
//! was judged by is another one and does not hold it for expected any more, when its file turns out to be a
//! sensitive one, when its container is described anew or ends, and after [`IDLE`] without use.
//!
//! Connections are entered alike, see [`connections`], but only what the baseline knows for certain.

mod connections;
mod usage;

pub use connections::Connections;

use crate::identity::{Container, Placed};
use crate::judge::baseline::NormInForce;
use crate::judge::{Access, Fact, Judge};
use crate::observation::{Act, BootTime, CgroupId, FileId, Observation};
use crate::sensor::{KnownPlace, KnownTable};
use foldhash::{HashMap, HashMapExt as _};
use norma_baseline::fact::FactId;
use norma_baseline::room;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use usage::{Due, Moment, Usage};

/// How long an act is watched before it is entered; sensitive files are looked up every second.
const PROBATION: Duration = Duration::from_secs(3);
/// Entries of the table for each place on probation; a power of two.
const PROBATION_SHARE: usize = 4;
/// How long an act that is watched keeps its place without coming again.
const GIVEN_UP: Duration = Duration::from_secs(10);
/// How often what was counted is taken over.
const SWEEP_EVERY: Duration = Duration::from_secs(20);
/// Entries that are looked at in one go, so that the rings do not fill up meanwhile.
const SWEEP_ENTRIES: usize = 20_000;
/// An entry that is not used for so long makes room.
const IDLE: Duration = Duration::from_secs(3600);
/// Most entries of one container: more would be made by whoever wants the table full.
const CONTAINER_MAX: usize = 20_000;
/// What the kernel side recognised of one container.
pub struct Recognised {
    /// Whose.
    pub container: Arc<Container>,
    /// Opens since the last time.
    pub opens: u64,
    /// Connections since the last time.
    pub connections: Vec<Connections>,
}

/// How the table is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KnownUse {
    /// Acts that are recognised.
    pub entries: usize,
    /// How many there is room for.
    pub room: usize,
    /// Acts that found no room since the start; they are reported each time.
    pub refused: u64,
}

/// The stage's state.
pub struct Known {
    table: Option<KnownTable>,
    groups: HashMap<CgroupId, Group>,
    /// In the order in which they are swept.
    turns: VecDeque<CgroupId>,
    /// Acts on probation, a quarter of those that there is room for in the table. One whose place is taken waits until
    /// that other one is entered or does not come again.
    probation: Box<[Candidate]>,
    refused: u64,
}

/// An act that may be entered.
#[derive(Clone, Copy, Default)]
struct Candidate {
    /// Upper half of its identity.
    mark: u32,
    /// When it was seen first, in seconds since boot.
    since: u32,
}

struct Group {
    container: Arc<Container>,
    entries: Vec<Entry>,
    connections: connections::Entries,
    /// The norm that its entries were judged by, and that has the facts which they name by number.
    norm: Option<NormInForce>,
    swept: BootTime,
    /// Counted by entries that are no more, and not taken over yet.
    left: u64,
}

/// An act that is recognised. There are hundreds of thousands.
struct Entry {
    what: What,
    inode: u64,
    dev: u32,
    place: KnownPlace,
    /// Lower half of the count as it was taken over last.
    counted: u32,
    usage: Usage,
}

/// What is done.
enum What {
    /// A fact of the norm of its group, which has its texts already.
    Numbered(FactId),
    /// Something that the norm does not have by name: it is too young, or a pattern stands for it.
    Spelled(Box<Spelled>),
}

struct Spelled {
    exe: Arc<str>,
    path: Arc<str>,
    access: Access,
}

impl What {
    fn of(fact: &Fact, norm: Option<&NormInForce>) -> Option<Self> {
        if let Some(id) = norm.and_then(|norm| norm.number(fact)) {
            return Some(Self::Numbered(id));
        }
        let Fact::Open { exe, path, access } = fact else {
            return None;
        };
        Some(Self::Spelled(Box::new(Spelled {
            exe: Arc::clone(exe),
            path: Arc::clone(path),
            access: *access,
        })))
    }
}

impl Entry {
    fn file(&self) -> FileId {
        FileId {
            dev: self.dev,
            inode: self.inode,
        }
    }

    /// `norm` is that of its group.
    fn fact(&self, norm: Option<&NormInForce>) -> Option<Fact> {
        match &self.what {
            What::Numbered(id) => norm?.fact(*id),
            What::Spelled(spelled) => Some(Fact::Open {
                exe: Arc::clone(&spelled.exe),
                path: Arc::clone(&spelled.path),
                access: spelled.access,
            }),
        }
    }
}

impl Known {
    /// Nothing is known yet; without a table nothing ever is.
    pub fn new(table: Option<KnownTable>) -> Self {
        Self {
            probation: vec![
                Candidate::default();
                table
                    .as_ref()
                    .map_or(0, |table| table.entries() / PROBATION_SHARE)
            ]
            .into_boxed_slice(),
            table,
            groups: HashMap::new(),
            turns: VecDeque::new(),
            refused: 0,
        }
    }

    /// Has an act recognised from now on, if it was seen before. The judge holds it for nothing special.
    pub fn learn(
        &mut self,
        container: &Arc<Container>,
        observation: &Observation,
        fact: &Fact,
        judge: &mut Judge,
    ) {
        let (Some(id), now) = (observation.act.id(), observation.at) else {
            return;
        };
        let Some(table) = &mut self.table else {
            return;
        };
        // The length is a power of two.
        let slot = id.0.get() as usize & (self.probation.len() - 1);
        let candidate = &mut self.probation[slot];
        let mark = (id.0.get() >> 32) as u32;
        let watched = u64::from(now.seconds().saturating_sub(candidate.since));
        if candidate.mark != mark {
            // Two that come in turn must not keep each other from ever being entered.
            if candidate.mark == 0 || watched > GIVEN_UP.as_secs() {
                *candidate = Candidate {
                    mark,
                    since: now.seconds(),
                };
            }
            return;
        }
        if watched < PROBATION.as_secs() {
            return;
        }
        *candidate = Candidate::default();
        // It came in before it was entered.
        if table.find(id).is_some() {
            return;
        }
        let group = self.groups.entry(container.cgroup).or_insert_with(|| {
            self.turns.push_back(container.cgroup);
            Group {
                container: Arc::clone(container),
                entries: Vec::new(),
                connections: connections::Entries::default(),
                norm: judge.baselines().norm_of(container),
                swept: now,
                left: 0,
            }
        });
        let shown = judge.baselines().course().at(now).seconds();
        let Act::Open(open) = &observation.act else {
            if !group.connections.enter(table, id, fact, now, shown) {
                self.refused += 1;
            }
            return;
        };
        let Some(what) = What::of(fact, group.norm.as_ref()) else {
            return;
        };
        let place = (group.entries.len() < CONTAINER_MAX)
            .then(|| table.enter(id))
            .flatten();
        let Some(place) = place else {
            self.refused += 1;
            return;
        };
        let entry = Entry {
            what,
            inode: open.file.inode,
            dev: open.file.dev,
            place,
            counted: table.count(place) as u32,
            usage: Usage::new(now.seconds(), shown),
        };
        room::push(&mut group.entries, entry);
    }

    /// Follows what became known of control groups: what was judged under another description is judged anew.
    pub fn follow(&mut self, placed: &[Placed]) {
        for placed in placed {
            if let Placed::Host(cgroup) | Placed::Container(cgroup, _) = placed
                && let (Some(group), Some(table)) = (self.groups.get_mut(cgroup), &mut self.table)
            {
                group.clear(table);
                if let Placed::Container(_, container) = placed {
                    group.container = Arc::clone(container);
                }
            }
        }
    }

    /// Drops at once what a changed norm does not hold for expected any more, and takes over what was counted of
    /// those whose turn it is; to be called about once a second.
    pub fn tick(&mut self, judge: &mut Judge, now: BootTime) -> Vec<Recognised> {
        let Some(table) = &mut self.table else {
            return Vec::new();
        };
        for group in self.groups.values_mut() {
            let norm = judge.baselines().norm_of(&group.container);
            if norm != group.norm {
                let (before, container) = (
                    std::mem::replace(&mut group.norm, norm),
                    Arc::clone(&group.container),
                );
                group.retain(table, |entry, norm| {
                    let fact = entry.fact(before.as_ref());
                    let Some((fact, what)) =
                        fact.and_then(|fact| What::of(&fact, norm).map(|what| (fact, what)))
                    else {
                        return false;
                    };
                    entry.what = what;
                    judge.still_expects(&container, &fact)
                });
                group.connections.retain(table, now.seconds(), |fact, used| {
                    judge.still_knows(&container, fact, now, used)
                });
            }
        }
        // In a faster course more often, so that no sampling unit is passed over.
        let every = SWEEP_EVERY / judge.baselines().course().speed();
        let mut taken = Vec::new();
        let mut looked_at = 0;
        while let Some(cgroup) = self.turns.front().copied() {
            let Some(group) = self.groups.get_mut(&cgroup) else {
                self.turns.pop_front();
                continue;
            };
            let due = now.0 >= group.swept.0.saturating_add(every.as_nanos() as u64);
            if !due || looked_at >= SWEEP_ENTRIES {
                break;
            }
            looked_at += group.entries.len() + group.connections.len();
            self.turns.rotate_left(1);
            taken.extend(group.sweep(table, judge, now));
        }
        taken
    }

    /// Takes over all that was counted.
    pub fn take_all(&mut self, judge: &mut Judge, now: BootTime) -> Vec<Recognised> {
        let Some(table) = &mut self.table else {
            return Vec::new();
        };
        self.groups
            .values_mut()
            .filter_map(|group| group.sweep(table, judge, now))
            .collect()
    }

    /// Forgets a container that is gone; gives what was counted of it.
    pub fn forget(&mut self, cgroup: CgroupId) -> Option<Recognised> {
        let mut group = self.groups.remove(&cgroup)?;
        self.turns.retain(|turn| *turn != cgroup);
        group.clear(self.table.as_mut()?);
        group.taken()
    }

    /// How much of the table is in use.
    pub fn usage(&self) -> KnownUse {
        KnownUse {
            entries: self
                .groups
                .values()
                .map(|group| group.entries.len() + group.connections.len())
                .sum(),
            room: self.table.as_ref().map_or(0, KnownTable::entries),
            refused: self.refused,
        }
    }
}

impl Group {
    /// Takes over what was counted, shows the baseline what it has not seen for a while, and drops what is not used.
    fn sweep(&mut self, table: &mut KnownTable, judge: &mut Judge, now: BootTime) -> Option<Recognised> {
        self.swept = now;
        let moment = Moment {
            at: now.seconds(),
            learned_at: judge.baselines().course().at(now).seconds(),
            stands_for: judge.baselines().stands_for(),
        };
        let container = Arc::clone(&self.container);
        self.retain(table, |entry, norm| {
            !judge.is_sensitive(container.cgroup, entry.file())
                && match entry.usage.look(moment) {
                    Due::Nothing => true,
                    Due::Drop => false,
                    Due::Show => entry
                        .fact(norm)
                        .is_some_and(|fact| judge.recognised_again(&container, &fact, now)),
                }
        });
        self.connections.sweep(table, &container, judge, now, moment);
        self.taken()
    }

    /// Takes over what was counted, and keeps the entries that `keep` wants.
    fn retain(
        &mut self,
        table: &mut KnownTable,
        mut keep: impl FnMut(&mut Entry, Option<&NormInForce>) -> bool,
    ) {
        let at = self.swept.seconds();
        let Self {
            entries, norm, left, ..
        } = self;
        entries.retain_mut(|entry| {
            entry.count(table, at, left);
            let wanted = keep(entry, norm.as_ref());
            if !wanted {
                // First, so that all but what is on its way at this moment is in the count.
                table.clear(entry.place);
                entry.count(table, at, left);
            }
            wanted
        });
    }

    /// Has nothing recognised of it any more; what was counted is taken over.
    fn clear(&mut self, table: &mut KnownTable) {
        self.retain(table, |_, _| false);
        self.connections.retain(table, self.swept.seconds(), |_, _| false);
    }

    fn taken(&mut self) -> Option<Recognised> {
        let opens = std::mem::take(&mut self.left);
        let connections = self.connections.take();
        (opens > 0 || !connections.is_empty()).then(|| Recognised {
            container: Arc::clone(&self.container),
            opens,
            connections,
        })
    }
}

impl Entry {
    /// Adds what was counted since the last time.
    fn count(&mut self, table: &KnownTable, at: u32, sum: &mut u64) {
        let count = table.count(self.place) as u32;
        let since = count.wrapping_sub(self.counted);
        if since > 0 {
            self.counted = count;
            self.usage.renew(at);
            *sum += u64::from(since);
        }
    }
}
