//! Records a running agent.
//!
//! The [`Tape`] stands between the agent and its node: [`Recorded`] ones of the kernel side, of the system and of
//! the finder of sensitive files do what those do, and note what came of it. A tape that cannot be written or is full
//! says so and ends; the agent goes on.

use super::file::{Effort, Writer};
use super::{Answer, Frame, Held, Lost, Question, Round, Start};
use crate::identity::cri::Snapshot;
use crate::identity::system::{Doubted, Listed, Programs, RuntimeState, Seen, System, Tree};
use crate::judge::{Found, SensitiveFiles};
use crate::observation::{BootTime, CgroupId, Observation};
use crate::pipeline::Source;
use crate::sensor::{Losses, RingFill, SensorError, Totals};
use foldhash::fast::FixedState;
use foldhash::{HashMap, HashMapExt as _};
use serde_bytes::ByteBuf;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often what was recorded is given to the file.
const FLUSH: Duration = Duration::from_secs(2);
/// Rounds in which nothing came are noted this often.
const IDLE: Duration = Duration::from_millis(100);
/// Questions whose last answer is remembered. Above it, an answer can be noted again.
const REMEMBERED: usize = 100_000;

/// Where is recorded, and how much.
#[derive(Clone, Debug)]
pub struct TapeOptions {
    /// The file.
    pub file: PathBuf,
    /// Its largest size in bytes.
    pub max_bytes: u64,
}

/// A trace that is written.
#[derive(Clone)]
pub struct Tape(Arc<Mutex<State>>);

struct State {
    file: PathBuf,
    max_bytes: u64,
    writer: Option<Writer>,
    /// By question, what its last answer hashes to: the same again says nothing.
    answers: HashMap<Question, u64>,
    /// The round that goes on, with what was taken in it.
    round: Option<Round>,
    /// Something was noted since the last round that was.
    news: bool,
    noted: BootTime,
    flushed: BootTime,
    lost: Lost,
    found: Arc<Found>,
}

impl Tape {
    /// Begins one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn start(options: &TapeOptions, start: Start) -> io::Result<Self> {
        let at = start.at;
        Ok(Self(Arc::new(Mutex::new(State {
            file: options.file.clone(),
            max_bytes: options.max_bytes,
            writer: Some(Writer::create(&options.file, start, Effort::Quick)?),
            answers: HashMap::new(),
            round: None,
            news: false,
            noted: at,
            flushed: at,
            lost: Lost::default(),
            found: Arc::default(),
        }))))
    }

    /// Ends it; gives the number of records and the file, where it was not ended before.
    pub fn finish(&self) -> Option<(u64, PathBuf)> {
        self.with(|state| {
            state.end_round();
            let records = state.writer.take()?.finish(false);
            match records {
                Ok(records) => Some((records, state.file.clone())),
                Err(error) => {
                    failed(&state.file, &error);
                    None
                }
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn asked(&self, question: Question, answer: impl FnOnce() -> Answer) {
        self.with(|state| {
            if state.writer.is_none() {
                return;
            }
            let answer = answer();
            let hash = hash(&answer);
            if state.answers.get(&question) == Some(&hash) {
                return;
            }
            if state.answers.len() >= REMEMBERED {
                state.answers.clear();
            }
            state.answers.insert(question.clone(), hash);
            state.note(&Frame::Asked(question, answer));
        });
    }
}

impl State {
    fn note(&mut self, frame: &Frame) {
        self.news = true;
        self.write(frame);
    }

    fn write(&mut self, frame: &Frame) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.write(frame)
        {
            failed(&self.file, &error);
            self.writer = None;
        }
    }

    /// A round goes on until the next begins: what is asked in it belongs to it.
    fn end_round(&mut self) {
        let Some(round) = self.round.take() else { return };
        let idle = round.now.0 < self.noted.0 + IDLE.as_nanos() as u64;
        if !self.news && idle {
            return;
        }
        self.news = false;
        self.noted = round.now;
        self.write(&Frame::Round(round));
        if round.now.0 < self.flushed.0 + FLUSH.as_nanos() as u64 {
            return;
        }
        self.flushed = round.now;
        match self.writer.as_mut().map(Writer::flush) {
            Some(Ok(bytes)) if bytes >= self.max_bytes => {
                tracing::warn!(file = %self.file.display(), bytes, "the trace has its largest size and ends here");
                if let Some(Err(error)) = self.writer.take().map(|writer| writer.finish(true)) {
                    failed(&self.file, &error);
                }
            }
            Some(Err(error)) => {
                failed(&self.file, &error);
                self.writer = None;
            }
            _ => {}
        }
    }
}

fn failed(file: &Path, error: &io::Error) {
    tracing::error!(file = %file.display(), %error, "the trace cannot be written and ends here");
}

fn hash(answer: &Answer) -> u64 {
    // What cannot be written is noted as often as it is asked.
    FixedState::default().hash_one(rmp_serde::to_vec(answer).unwrap_or_default())
}

/// Something of the node, noted on a tape.
pub struct Recorded<T> {
    inner: T,
    tape: Tape,
}

impl<T> Recorded<T> {
    /// Notes on this tape what `inner` gives.
    pub fn new(inner: T, tape: Tape) -> Self {
        Self { inner, tape }
    }
}

impl<T: Source> Source for Recorded<T> {
    fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.tape.with(State::end_round);
        let tape = &self.tape;
        let taken = self.inner.poll(timeout, &mut |record| {
            tape.with(|state| state.note(&Frame::Record(ByteBuf::from(record))));
            on_record(record);
        });
        let round = Round {
            now: self.inner.now(),
            wall_offset_ns: self.inner.wall_offset_ns(),
        };
        self.tape.with(|state| state.round = Some(round));
        taken
    }

    fn counters(&mut self) -> Result<Totals, SensorError> {
        let totals = self.inner.counters()?;
        let (known, _) = self.tape.with(|state| state.lost.counters());
        let unseen = |totals: &Totals| (totals.lost, totals.failed, totals.passed_over);
        if unseen(&totals) != unseen(&known) {
            let lost = Lost::new(&totals, &self.inner.losses()?);
            self.tape.with(|state| {
                state.note(&Frame::Lost(lost.clone()));
                state.lost = lost;
            });
        }
        Ok(totals)
    }

    fn losses(&mut self) -> Result<Losses, SensorError> {
        self.inner.losses()
    }

    fn forget_losses(&mut self, cgroup: CgroupId) {
        self.inner.forget_losses(cgroup);
    }

    fn fills(&mut self) -> Vec<RingFill> {
        self.inner.fills()
    }

    /// The same for all of a round, as it is in the trace.
    fn now(&self) -> BootTime {
        let round = self.tape.with(|state| state.round);
        round.map_or_else(|| self.inner.now(), |round| round.now)
    }

    fn wall_offset_ns(&self) -> i64 {
        let round = self.tape.with(|state| state.round);
        round.map_or_else(|| self.inner.wall_offset_ns(), |round| round.wall_offset_ns)
    }
}

impl<T: System> System for Recorded<T> {
    fn now(&self) -> BootTime {
        self.inner.now()
    }

    fn processes(&self) -> Vec<Listed> {
        let processes = self.inner.processes();
        self.tape
            .asked(Question::Processes, || Answer::Processes(processes.clone()));
        processes
    }

    fn process(&self, pid: u32) -> Seen {
        let process = self.inner.process(pid);
        self.tape
            .asked(Question::Process(pid), || Answer::Process(process.clone()));
        process
    }

    fn cgroups(&self) -> Vec<(CgroupId, Vec<u8>)> {
        let cgroups = self.inner.cgroups();
        self.tape.asked(Question::Cgroups, || {
            let cgroups = cgroups.iter();
            Answer::Cgroups(
                cgroups
                    .map(|(id, path)| (*id, ByteBuf::from(path.clone())))
                    .collect(),
            )
        });
        cgroups
    }

    fn programs(&self, of: &Doubted) -> Option<Programs> {
        let programs = self.inner.programs(of)?;
        self.tape
            .with(|state| state.note(&Frame::Programs(programs.clone())));
        Some(programs)
    }

    fn tree(&self) -> Option<Tree> {
        let tree = self.inner.tree()?;
        self.tape.with(|state| state.note(&Frame::of_tree(&tree)));
        Some(tree)
    }

    fn container(&self, id: &str) -> Option<RuntimeState> {
        let state = self.inner.container(id);
        self.tape.asked(Question::Container(id.to_owned()), || {
            Answer::Container(state.clone())
        });
        state
    }

    fn container_at(&self, path: &str) -> Option<RuntimeState> {
        let state = self.inner.container_at(path);
        self.tape.asked(Question::ContainerAt(path.to_owned()), || {
            Answer::Container(state.clone())
        });
        state
    }

    fn sockets(&self) -> Vec<Observation> {
        let sockets = self.inner.sockets();
        self.tape.asked(Question::Sockets, || {
            Answer::Sockets(sockets.iter().filter_map(Held::of).collect())
        });
        sockets
    }

    fn news(&self) -> Option<Arc<Snapshot>> {
        let news = self.inner.news()?;
        self.tape
            .with(|state| state.note(&Frame::Told(Arc::clone(&news))));
        Some(news)
    }

    fn poke(&self) {
        self.inner.poke();
    }
}

impl<T: SensitiveFiles> SensitiveFiles for Recorded<T> {
    fn order(&self, groups: Vec<(CgroupId, u32)>) {
        self.inner.order(groups);
    }

    fn found(&self) -> Arc<Found> {
        let found = self.inner.found();
        self.tape.with(|state| {
            if state.found != found {
                let mut all: Vec<_> = found
                    .iter()
                    .map(|((cgroup, file), name)| (*cgroup, *file, Arc::clone(name)))
                    .collect();
                all.sort_by_key(|(cgroup, file, _)| (*cgroup, file.dev, file.inode));
                state.note(&Frame::Sensitive(all));
                state.found = Arc::clone(&found);
            }
        });
        found
    }
}
