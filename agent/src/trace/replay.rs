//! Plays a trace: stands for the node that it is of.
//!
//! A trace is read a round ahead, so that what was asked in a round is known when it is asked again. A question is
//! answered as it was in this round, or else as it was last; what was never asked is answered with what a node says
//! that knows nothing, and counted.

use super::file::{Reader, TraceError};
use super::{Answer, Frame, Lost, Question, Round, Start};
use crate::identity::cri::Snapshot;
use crate::identity::system::{Doubted, Listed, Programs, RuntimeState, Seen, System, Tree};
use crate::judge::{Found, SensitiveFiles};
use crate::observation::{BootTime, CgroupId, Observation};
use crate::pipeline::Source;
use crate::sensor::{Losses, SensorError, Totals};
use foldhash::{HashMap, HashMapExt as _};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Most bytes of records in one round: all rings of a large node, full.
const ROUND_MAX: usize = 1 << 30;

/// A trace that is played; clones play the same.
#[derive(Clone)]
pub struct Replay {
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
}

/// What was played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Records of the ring.
    pub records: u64,
    /// Of how much time.
    pub time: Duration,
    /// How the trace ended.
    pub ending: Ending,
    /// Questions to the node that the trace has no answer to: whoever recorded it did not ask them.
    pub unanswered: u64,
}

/// How a trace ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should: with the agent that recorded it.
    Whole,
    /// Where [`Replay::end_after`] said.
    Asked,
    /// It had reached its largest size.
    Full,
    /// Before its end, for this reason; what was before was played.
    Broken(String),
}

struct State {
    reader: Reader<File>,
    ending: Option<Ending>,
    begin: BootTime,
    /// Nothing after this is played.
    until: BootTime,
    now: BootTime,
    wall_offset_ns: i64,
    /// The round that was read and is not played yet.
    ahead: Option<Ahead>,
    answers: HashMap<Question, Answers>,
    /// Questions with answers of the round that was read last.
    fresh: Vec<Question>,
    told: VecDeque<Arc<Snapshot>>,
    trees: VecDeque<Tree>,
    programs: VecDeque<Programs>,
    lost: Lost,
    found: Arc<Found>,
    played: u64,
    unanswered: u64,
}

struct Ahead {
    records: Vec<Vec<u8>>,
    round: Option<Round>,
}

/// The answers to a question: the last one, and those of this round.
#[derive(Default)]
struct Answers {
    last: Option<Answer>,
    next: VecDeque<Answer>,
}

impl Replay {
    /// Opens a trace; gives whose it is.
    ///
    /// # Errors
    /// It cannot be read, or is no trace of a version that is known.
    pub fn open(path: &Path) -> Result<(Self, Start), TraceError> {
        let (reader, start) = Reader::open(path)?;
        let mut state = State {
            reader,
            ending: None,
            begin: start.at,
            until: BootTime(u64::MAX),
            now: start.at,
            wall_offset_ns: start.wall_offset_ns,
            ahead: None,
            answers: HashMap::new(),
            fresh: Vec::new(),
            told: VecDeque::new(),
            trees: VecDeque::new(),
            programs: VecDeque::new(),
            lost: Lost::default(),
            found: Arc::default(),
            played: 0,
            unanswered: 0,
        };
        // What was asked before the first round is asked before it again.
        state.ahead = Some(state.read());
        let replay = Self {
            state: Arc::new(Mutex::new(state)),
            ended: Arc::default(),
        };
        Ok((replay, start))
    }

    /// Has it end after so much time.
    pub fn end_after(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.with(|state| state.until = BootTime(state.begin.0.saturating_add(nanoseconds)));
    }

    /// Set as soon as everything was played.
    pub fn ended(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ended)
    }

    /// What was played so far.
    pub fn played(&self) -> Played {
        self.with(|state| Played {
            records: state.played,
            time: Duration::from_nanos(state.now.0.saturating_sub(state.begin.0)),
            ending: state.ending.clone().unwrap_or(Ending::Whole),
            unanswered: state.unanswered,
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer<T: Default>(&self, question: &Question, take: impl FnOnce(Answer) -> Option<T>) -> T {
        self.with(|state| {
            let answer = state.answers.get_mut(question).and_then(Answers::take);
            let answer = answer.and_then(take);
            if answer.is_none() {
                state.unanswered += 1;
            }
            answer.unwrap_or_default()
        })
    }
}

impl Answers {
    fn take(&mut self) -> Option<Answer> {
        if let Some(next) = self.next.pop_front() {
            self.last = Some(next);
        }
        self.last.clone()
    }
}

impl State {
    /// Reads a round.
    fn read(&mut self) -> Ahead {
        for question in self.fresh.drain(..) {
            if let Some(answers) = self.answers.get_mut(&question)
                && let Some(last) = answers.next.pop_back()
            {
                answers.last = Some(last);
                answers.next.clear();
            }
        }
        let mut records = Vec::new();
        let mut ended = None;
        let mut bytes = 0;
        while self.ending.is_none() {
            match self.reader.read() {
                Ok(Some(Frame::Round(round))) => {
                    ended = Some(round);
                    break;
                }
                Ok(Some(Frame::Record(record))) => {
                    bytes += record.len();
                    if bytes > ROUND_MAX {
                        let why = format!("a round of the trace has more than {ROUND_MAX} bytes");
                        self.ending = Some(Ending::Broken(why));
                    }
                    records.push(record.into_vec());
                }
                Ok(Some(Frame::Asked(question, answer))) => {
                    self.fresh.push(question.clone());
                    self.answers.entry(question).or_default().next.push_back(answer);
                }
                Ok(Some(Frame::Told(told))) => self.told.push_back(told),
                Ok(Some(Frame::Tree(at, groups))) => {
                    let groups = groups.into_iter();
                    let groups = groups.map(|(id, path)| (id, path.into_vec())).collect();
                    self.trees.push_back(Tree { at, groups });
                }
                Ok(Some(Frame::Programs(programs))) => self.programs.push_back(programs),
                Ok(Some(Frame::Lost(lost))) => self.lost = lost,
                Ok(Some(Frame::Sensitive(found))) => {
                    let found = found.into_iter();
                    self.found = Arc::new(found.map(|(cgroup, file, name)| ((cgroup, file), name)).collect());
                }
                Ok(Some(Frame::End(end))) if end.full => self.ending = Some(Ending::Full),
                Ok(Some(Frame::End(_)) | None) => self.ending = Some(Ending::Whole),
                Ok(Some(Frame::Start(_))) => {
                    self.ending = Some(Ending::Broken("a trace begins within the trace".to_owned()));
                }
                Err(error) => self.ending = Some(Ending::Broken(error.to_string())),
            }
        }
        Ahead {
            records,
            round: ended,
        }
    }
}

impl Source for Replay {
    fn poll(&mut self, _: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let (records, over) = self.with(|state| {
            let Ahead { records, round } = match state.ahead.take() {
                Some(ahead) => ahead,
                None => state.read(),
            };
            if let Some(round) = round {
                // Rounds go forward: what counts from one to the next relies on it.
                state.now = state.now.max(round.now);
                state.wall_offset_ns = round.wall_offset_ns;
                if state.now > state.until && state.ending.is_none() {
                    state.ending = Some(Ending::Asked);
                }
            }
            state.played += records.len() as u64;
            (records, state.ending.is_some())
        });
        for record in &records {
            on_record(record);
        }
        if over {
            self.ended.store(true, Ordering::Release);
        }
        Ok(records.len())
    }

    fn counters(&mut self) -> Result<Totals, SensorError> {
        Ok(self.with(|state| state.lost.counters().0))
    }

    fn losses(&mut self) -> Result<Losses, SensorError> {
        Ok(self.with(|state| state.lost.counters().1))
    }

    fn forget_losses(&mut self, _: CgroupId) {}

    fn now(&self) -> BootTime {
        self.with(|state| state.now)
    }

    fn wall_offset_ns(&self) -> i64 {
        self.with(|state| state.wall_offset_ns)
    }
}

impl System for Replay {
    fn now(&self) -> BootTime {
        self.with(|state| state.now)
    }

    fn processes(&self) -> Vec<Listed> {
        self.answer(&Question::Processes, |answer| match answer {
            Answer::Processes(processes) => Some(processes),
            _ => None,
        })
    }

    fn process(&self, pid: u32) -> Seen {
        self.answer(&Question::Process(pid), |answer| match answer {
            Answer::Process(seen) => Some(seen),
            _ => None,
        })
    }

    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)> {
        self.answer(&Question::Cgroups, |answer| match answer {
            Answer::Cgroups(cgroups) => Some(
                cgroups
                    .into_iter()
                    .map(|(id, path)| (id, path.into_vec()))
                    .collect(),
            ),
            _ => None,
        })
    }

    /// As for [`Replay::tree`].
    fn programs(&self, _: &Doubted) -> Option<Programs> {
        self.with(|state| state.programs.pop_front())
    }

    /// Each that was read, once: one of before says nothing of what is there now.
    fn tree(&self) -> Option<Tree> {
        self.with(|state| state.trees.pop_front())
    }

    fn container(&self, id: &str) -> Option<RuntimeState> {
        self.answer(&Question::Container(id.to_owned()), |answer| match answer {
            Answer::Container(state) => Some(state),
            _ => None,
        })
    }

    fn container_at(&self, path: &str) -> Option<RuntimeState> {
        self.answer(&Question::ContainerAt(path.to_owned()), |answer| match answer {
            Answer::Container(state) => Some(state),
            _ => None,
        })
    }

    fn sockets(&self) -> Vec<Observation> {
        self.answer(&Question::Sockets, |answer| match answer {
            Answer::Sockets(sockets) => Some(sockets.iter().map(super::Held::observation).collect()),
            _ => None,
        })
    }

    fn news(&self) -> Option<Arc<Snapshot>> {
        self.with(|state| state.told.pop_front())
    }

    fn poke(&self) {}
}

impl SensitiveFiles for Replay {
    fn order(&self, _: Vec<(CgroupId, u32)>) {}

    fn found(&self) -> Arc<Found> {
        self.with(|state| Arc::clone(&state.found))
    }
}
