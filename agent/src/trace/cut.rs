//! Takes out of a trace what belongs to some containers: what others on the node did need not be kept, nor be given
//! to somebody who looks into a finding.
//!
//! What is judged of a container follows from its own records, from the processes that it descends from (who started
//! it, and by which runtime a session came in), and from the time of each round. So that is what is left, and of the
//! processes of the node no arguments and no environment; the outcome for these containers is the same. What the
//! container runtime told of the node's containers is left whole, since pods and sandboxes belong together.

use super::file::{Effort, Reader, TraceError, Writer};
use super::{Answer, Frame, Question};
use crate::decode::decode;
use crate::identity::system::Seen;
use crate::observation::{Act, CgroupId, Observation, ProcessKey};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use norma_abi::{ExecBody, FLAG_ARGV_UNREADABLE, Header};
use serde_bytes::ByteBuf;
use std::io;
use std::path::{Path, PathBuf};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Shortest beginning of a container's id that is taken for it.
const ID_MIN: usize = 8;

/// Why a trace was not cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// The trace cannot be read to its end.
    #[error("{}: {reason}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: TraceError,
    },
    /// The new trace cannot be written.
    #[error("{}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        reason: io::Error,
    },
    /// What was given would fit too many containers.
    #[error("`{0}` is too short for the id of a container: give at least its first {ID_MIN} characters")]
    Short(String),
    /// A container did not run while it was recorded.
    #[error("{}: the trace has no control group of container {id}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The container.
        id: String,
    },
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutOut {
    /// Records of the whole trace.
    pub records: u64,
    /// Those that are left.
    pub left: u64,
}

/// Writes a new trace, to `to`, of what belongs to `containers` in the trace `from`. Ids may be cut short.
///
/// # Errors
/// As [`CutError`] says; nothing of use is in `to` then.
pub fn cut_out(from: &Path, to: &Path, containers: &[String]) -> Result<CutOut, CutError> {
    if let Some(short) = containers.iter().find(|id| id.len() < ID_MIN) {
        return Err(CutError::Short(short.clone()));
    }
    let trace = |reason| CutError::Trace {
        path: from.to_owned(),
        reason,
    };
    let write = |reason| CutError::Write {
        path: to.to_owned(),
        reason,
    };
    let (mut reader, start) = Reader::open(from).map_err(trace)?;
    let mut scan = Scan::new(containers);
    while let Some(frame) = reader.read().map_err(trace)? {
        scan.take(&frame);
    }
    if let Some(id) = scan.unknown() {
        return Err(CutError::Unknown {
            path: from.to_owned(),
            id: id.to_owned(),
        });
    }
    let part = scan.part();
    let (mut reader, _) = Reader::open(from).map_err(trace)?;
    let mut writer = Writer::create(to, start, Effort::Small).map_err(write)?;
    let mut cut = CutOut::default();
    let mut full = false;
    while let Some(frame) = reader.read().map_err(trace)? {
        cut.records += u64::from(matches!(frame, Frame::Record(_)));
        if let Frame::End(end) = &frame {
            full = end.full;
        } else if let Some(frame) = part.of(frame) {
            writer.write(&frame).map_err(write)?;
        }
    }
    cut.left = writer.finish(full).map_err(write)?;
    Ok(cut)
}

/// What has to be known before anything can be left out.
struct Scan<'a> {
    containers: &'a [String],
    cgroups: HashSet<CgroupId>,
    /// Those of which there is a control group.
    found: HashSet<&'a str>,
    /// Where each process was seen.
    seen: HashMap<ProcessKey, HashSet<CgroupId>>,
    /// By child.
    parents: HashMap<ProcessKey, ProcessKey>,
    /// Those that were there before, by id: their parent and control group.
    listed: HashMap<u32, (u32, CgroupId)>,
}

impl<'a> Scan<'a> {
    fn new(containers: &'a [String]) -> Self {
        Self {
            containers,
            cgroups: HashSet::new(),
            found: HashSet::new(),
            seen: HashMap::new(),
            parents: HashMap::new(),
            listed: HashMap::new(),
        }
    }

    fn take(&mut self, frame: &Frame) {
        match frame {
            Frame::Record(record) => {
                if let Ok(observation) = decode(record) {
                    self.observed(&observation);
                }
            }
            Frame::Asked(Question::Cgroups, Answer::Cgroups(cgroups)) | Frame::Tree(_, cgroups) => {
                for (id, path) in cgroups {
                    self.group(*id, path);
                }
            }
            Frame::Asked(Question::Processes, Answer::Processes(processes)) => {
                let listed = processes.iter();
                self.listed
                    .extend(listed.map(|process| (process.pid, (process.parent, process.cgroup))));
            }
            _ => {}
        }
    }

    fn observed(&mut self, observation: &Observation) {
        let actor = &observation.actor;
        // What a network brings is nobody's act.
        if actor.process.pid != 0 {
            self.seen.entry(actor.process).or_default().insert(actor.cgroup);
            self.parents.entry(actor.process).or_insert(actor.parent);
        }
        match &observation.act {
            Act::Fork(child) => {
                // Who made it, where it has another parent by the time that it acts.
                self.parents.insert(*child, actor.process);
            }
            Act::Cgroup(change) if !change.removed => self.group(change.id, &change.path),
            _ => {}
        }
    }

    fn group(&mut self, id: CgroupId, path: &[u8]) {
        let path = String::from_utf8_lossy(path);
        for container in self.containers.iter().filter(|id| path.contains(id.as_str())) {
            self.cgroups.insert(id);
            self.found.insert(container);
        }
    }

    fn unknown(&self) -> Option<&str> {
        let mut all = self.containers.iter().map(String::as_str);
        all.find(|id| !self.found.contains(id))
    }

    fn part(self) -> Part {
        let own: HashSet<ProcessKey> = self
            .seen
            .iter()
            .filter(|(_, cgroups)| !cgroups.is_disjoint(&self.cgroups))
            .map(|(process, _)| *process)
            .collect();
        let mut processes = HashSet::new();
        for process in &own {
            let mut next = Some(process);
            while let Some(process) = next.filter(|process| processes.insert(**process)) {
                next = self.parents.get(process);
            }
        }
        // The first process tells which namespaces are the node's.
        let mut pids = HashSet::from_iter([1]);
        let listed = self.listed.iter();
        let there_before = listed.filter(|(_, (_, cgroup))| self.cgroups.contains(cgroup));
        let mut own_pids: HashSet<u32> = there_before.map(|(pid, _)| *pid).collect();
        for pid in processes
            .iter()
            .map(|process| process.pid)
            .chain(own_pids.iter().copied())
        {
            let mut next = Some(pid);
            while let Some(pid) = next.filter(|pid| pids.insert(*pid)) {
                next = self.listed.get(&pid).map(|(parent, _)| *parent);
            }
        }
        own_pids.extend(own.iter().map(|process| process.pid));
        let ran_in = processes
            .iter()
            .filter_map(|process| self.seen.get(process))
            .flatten();
        let were_in = pids
            .iter()
            .filter_map(|pid| self.listed.get(pid))
            .map(|(_, cgroup)| cgroup);
        Part {
            places: ran_in.chain(were_in).chain(&self.cgroups).copied().collect(),
            cgroups: self.cgroups,
            processes,
            own_pids,
            pids,
        }
    }
}

/// What is left.
struct Part {
    /// Control groups of the containers.
    cgroups: HashSet<CgroupId>,
    /// And those in which processes were that these descend from.
    places: HashSet<CgroupId>,
    /// The processes of the containers, and all that they descend from.
    processes: HashSet<ProcessKey>,
    pids: HashSet<u32>,
    /// Those of the containers' own processes.
    own_pids: HashSet<u32>,
}

impl Part {
    /// What is left of a frame; `None` where that is nothing.
    fn of(&self, frame: Frame) -> Option<Frame> {
        Some(match frame {
            Frame::Record(record) => Frame::Record(self.record(record)?),
            Frame::Asked(Question::Process(pid), _) if !self.pids.contains(&pid) => return None,
            Frame::Asked(question, answer) => {
                let answer = self.answer(&question, answer);
                Frame::Asked(question, answer)
            }
            Frame::Sensitive(mut files) => {
                files.retain(|(cgroup, _, _)| self.cgroups.contains(cgroup));
                Frame::Sensitive(files)
            }
            Frame::Lost(mut lost) => {
                lost.losses.retain(|(cgroup, _, _)| self.cgroups.contains(cgroup));
                Frame::Lost(lost)
            }
            Frame::Tree(at, mut all) => {
                all.retain(|(id, _)| self.places.contains(id));
                Frame::Tree(at, all)
            }
            Frame::Programs(mut programs) => {
                programs.all.retain(|program| self.pids.contains(&program.pid));
                for program in &mut programs.all {
                    program.seen = self.without_words_of(program.pid, std::mem::take(&mut program.seen));
                }
                Frame::Programs(programs)
            }
            // The new trace has a beginning and an end of its own.
            Frame::Start(_) | Frame::End(_) => return None,
            Frame::Told(_) | Frame::Round(_) => frame,
        })
    }

    fn record(&self, record: ByteBuf) -> Option<ByteBuf> {
        let observation = decode(&record).ok()?;
        let actor = &observation.actor;
        if self.cgroups.contains(&actor.cgroup) {
            return Some(record);
        }
        match &observation.act {
            Act::Fork(child) => self.processes.contains(child).then_some(record),
            Act::Exit(_) => self.processes.contains(&actor.process).then_some(record),
            Act::Exec(_) if self.processes.contains(&actor.process) => without_words(&record),
            Act::Cgroup(change) => self.places.contains(&change.id).then_some(record),
            _ => None,
        }
    }

    /// What /proc tells of a process, without what another's than the containers' runs.
    fn without_words_of(&self, pid: u32, seen: Seen) -> Seen {
        if self.own_pids.contains(&pid) {
            return seen;
        }
        Seen {
            exe: String::new(),
            argv: Vec::new(),
            ..seen
        }
    }

    fn answer(&self, question: &Question, answer: Answer) -> Answer {
        match answer {
            Answer::Processes(mut all) => {
                all.retain(|process| self.pids.contains(&process.pid));
                Answer::Processes(all)
            }
            Answer::Process(seen) => Answer::Process(match question {
                Question::Process(pid) => self.without_words_of(*pid, seen),
                _ => seen,
            }),
            Answer::Cgroups(mut all) => {
                all.retain(|(id, _)| self.places.contains(id));
                Answer::Cgroups(all)
            }
            Answer::Sockets(mut all) => {
                all.retain(|held| self.cgroups.contains(&held.actor.cgroup));
                Answer::Sockets(all)
            }
            Answer::Container(_) => answer,
        }
    }
}

/// The record of an exec without the name that was given to exec, the arguments and the environment, which are the last
/// parts of it.
fn without_words(record: &[u8]) -> Option<ByteBuf> {
    let (mut header, rest) = Header::read_from_prefix(record).ok()?;
    let (mut body, tails) = ExecBody::read_from_prefix(rest).ok()?;
    let paths = tails.get(..body.path_len.checked_add(body.script_len)? as usize)?;
    (
        body.filename_len,
        body.argv_len,
        body.environment_len,
        body.argv_total,
    ) = (0, 0, 0, 0);
    header.flags |= FLAG_ARGV_UNREADABLE;
    let left = size_of::<Header>() + size_of::<ExecBody>() + paths.len();
    header.len = u32::try_from(left).ok()?;
    Some(ByteBuf::from(
        [header.as_bytes(), body.as_bytes(), paths].concat(),
    ))
}
