//! The one task: takes requests, brings what changed to the disk, and tells nodes.

use super::fleet::{Change, Fleet};
use super::known;
use super::{Answers, DecideError};
use norma_baseline::decisions::{Decisions, DecisionsError, Taken};
use norma_baseline::file;
use norma_baseline::overlay::{Overlay, Subject};
use norma_baseline_command::shelf::Kept;
use norma_wire::pb::{self, ToAgent, to_agent};
use norma_wire::text::printable;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often what is due is done.
const TICK: Duration = Duration::from_millis(250);
/// A baseline is written again after this many times as long as the last writing took.
const REST: u32 = 20;
/// Others are told of something new after this, so that what comes together is told together.
const NEWS_AFTER: Duration = Duration::from_secs(2);
/// And of mere numbers.
const NUMBERS_AFTER: Duration = Duration::from_secs(300);
/// What is told at once; an agent takes no larger message.
const STATE_MAX: usize = 12 << 20;

/// What is asked of the task.
#[derive(Debug)]
pub enum Request {
    /// A stream begins.
    Joined {
        node: String,
        stream: u64,
        answers: Answers,
    },
    /// A stream ended.
    Left { node: String, stream: u64 },
    /// What a node runs.
    Interest { node: String, interest: pb::Interest },
    /// What a node saw.
    Evidence { node: String, delta: pb::EvidenceDelta },
    /// What people decided.
    Decide {
        offered: Overlay,
        reply: oneshot::Sender<Result<Taken, DecisionsError>>,
    },
    /// What a bundle holds.
    Import {
        kept: Vec<Kept>,
        reply: oneshot::Sender<Result<(), DecideError>>,
    },
    /// Somebody wants to read what is known.
    Write { reply: oneshot::Sender<()> },
}

#[derive(Debug)]
pub struct Task {
    directory: PathBuf,
    fleet: Fleet,
    decisions: Decisions,
    streams: HashMap<String, (u64, Answers)>,
    /// What is not on disk yet, with the nodes that wait to hear that it is.
    unwritten: BTreeMap<Subject, BTreeSet<String>>,
    /// When each may be written again.
    resting: HashMap<Subject, Instant>,
    /// When all that run it are told.
    untold: BTreeMap<Subject, Instant>,
    /// Who is told what as soon as there is room on its stream.
    awaited: BTreeSet<(String, Subject)>,
    failing: bool,
}

impl Task {
    pub fn new(directory: &Path, fleet: Fleet, decisions: Decisions) -> Self {
        Self {
            directory: directory.to_owned(),
            fleet,
            decisions,
            streams: HashMap::new(),
            unwritten: BTreeMap::new(),
            resting: HashMap::new(),
            untold: BTreeMap::new(),
            awaited: BTreeSet::new(),
            failing: false,
        }
    }

    pub async fn run(mut self, mut queue: mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => tokio::task::block_in_place(|| self.handle(request)),
                    None => break,
                },
                _ = ticks.tick() => tokio::task::block_in_place(|| {
                    self.write(false);
                    self.tell();
                }),
                () = stop.cancelled() => break,
            }
        }
        tokio::task::block_in_place(|| self.write(true));
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Joined {
                node,
                stream,
                answers,
            } => {
                self.streams.insert(node, (stream, answers));
            }
            Request::Left { node, stream } => {
                if self
                    .streams
                    .get(&node)
                    .is_some_and(|(number, _)| *number == stream)
                {
                    self.streams.remove(&node);
                    self.awaited.retain(|(other, _)| *other != node);
                    for subject in self.fleet.left(&node) {
                        self.soon(subject, NEWS_AFTER);
                    }
                }
            }
            Request::Interest { node, interest } => self.interest(&node, &interest),
            Request::Evidence { node, delta } => self.evidence(node, &delta),
            Request::Import { kept, reply } => {
                if reply.send(self.import(&kept)).is_err() {
                    tracing::debug!("nobody waits for the bundle any more");
                }
            }
            Request::Write { reply } => {
                self.write(true);
                if reply.send(()).is_err() {
                    tracing::debug!("nobody wants to read any more");
                }
            }
            Request::Decide { offered, reply } => {
                let taken = self.decisions.take(&offered);
                if let Ok(taken) = &taken
                    && !taken.new.is_empty()
                {
                    let new: Overlay = taken.new.clone().into();
                    let nodes: Vec<String> = self.streams.keys().cloned().collect();
                    for node in nodes {
                        self.tell_decisions(&node, &new);
                    }
                }
                if reply.send(taken).is_err() {
                    tracing::debug!("nobody waits for the decision any more");
                }
            }
        }
    }

    /// Takes over baselines, all that come before one that is refused.
    fn import(&mut self, kept: &[Kept]) -> Result<(), DecideError> {
        for kept in kept {
            let subject = self.fleet.adopt(kept)?;
            self.unwritten.entry(subject.clone()).or_default();
            self.soon(subject, NEWS_AFTER);
        }
        self.write(true);
        match kept
            .iter()
            .find(|kept| self.unwritten.contains_key(kept.subject()))
        {
            Some(kept) => Err(DecideError::Unwritten(kept.subject().clone())),
            None => Ok(()),
        }
    }

    fn interest(&mut self, node: &str, interest: &pb::Interest) {
        let (new, changed) = self.fleet.interest(node, interest);
        if !new.is_empty() {
            let overlay = self.decisions.overlay().clone();
            self.tell_decisions(node, &overlay);
        }
        for subject in new {
            if let Some(held) = self.fleet.held(node, &subject)
                && !self.unwritten.contains_key(&subject)
            {
                self.answer(node, to_agent::Message::EvidenceHeld(held));
            }
            let mut lineage = self.fleet.lineage(&subject);
            // Nothing is known of it yet but what it takes over from.
            if !lineage.contains(&subject) {
                lineage.push(subject);
            }
            for subject in lineage {
                self.tell_state(&subject, &[node.to_owned()]);
            }
        }
        for subject in changed {
            self.soon(subject, NEWS_AFTER);
        }
    }

    fn evidence(&mut self, node: String, delta: &pb::EvidenceDelta) {
        match self.fleet.take(&node, delta) {
            Ok((subject, change, forgotten)) => {
                for gone in forgotten {
                    tracing::warn!(workload = %gone, "more baselines than are kept; this one is forgotten");
                    self.unwritten.remove(&gone);
                    self.untold.remove(&gone);
                    if let Err(error) = known::remove(&self.directory, &gone) {
                        tracing::error!(workload = %gone, %error, "cannot remove a baseline");
                    }
                }
                self.unwritten.entry(subject.clone()).or_default().insert(node);
                let after = match change {
                    Change::News => NEWS_AFTER,
                    Change::Numbers => NUMBERS_AFTER,
                };
                self.soon(subject, after);
            }
            Err(error) => {
                let short = |text: &str| printable(text.as_bytes()).chars().take(200).collect::<String>();
                let (workload, revision) = (short(&delta.workload), short(&delta.revision));
                tracing::warn!(node, workload, revision, %error, "evidence is refused; what was known stays");
                self.answer(
                    &node,
                    to_agent::Message::EvidenceRefused(pb::EvidenceRefused {
                        workload: delta.workload.clone(),
                        revision: delta.revision.clone(),
                        reason: error.to_string(),
                        later: false,
                    }),
                );
            }
        }
    }

    fn soon(&mut self, subject: Subject, after: Duration) {
        let at = Instant::now() + after;
        let due = self.untold.entry(subject).or_insert(at);
        *due = at.min(*due);
    }

    /// Brings what changed to the disk, each baseline in its turn, and tells those who wait for it.
    fn write(&mut self, all: bool) {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        let due: Vec<Subject> = self
            .unwritten
            .keys()
            .filter(|subject| all || !self.resting.contains_key(*subject))
            .cloned()
            .collect();
        for subject in due {
            let Some(known) = self.fleet.known(&subject) else {
                self.unwritten.remove(&subject);
                continue;
            };
            let begun = Instant::now();
            let written = known
                .to_bytes()
                .map_err(std::io::Error::other)
                .and_then(|bytes| known::write(&self.directory, &subject, &bytes));
            if let Err(error) = written {
                if !self.failing {
                    tracing::error!(workload = %subject, %error, "cannot write baselines; nodes keep what they saw and it is tried again");
                }
                self.failing = true;
                self.resting.insert(subject, now + Duration::from_secs(5));
                continue;
            }
            self.failing = false;
            self.resting.insert(subject.clone(), now + begun.elapsed() * REST);
            for node in self.unwritten.remove(&subject).unwrap_or_default() {
                if let Some(held) = self.fleet.held(&node, &subject) {
                    self.answer(&node, to_agent::Message::EvidenceHeld(held));
                }
            }
        }
    }

    /// Tells what is due.
    fn tell(&mut self) {
        let mut nodes: BTreeMap<Subject, BTreeSet<String>> = BTreeMap::new();
        for (node, subject) in std::mem::take(&mut self.awaited) {
            nodes.entry(subject).or_default().insert(node);
        }
        let now = Instant::now();
        let due: Vec<Subject> = self
            .untold
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(subject, _)| subject.clone())
            .collect();
        for subject in due {
            self.untold.remove(&subject);
            let interested = self.fleet.interested(&subject);
            nodes.entry(subject).or_default().extend(interested);
        }
        for (subject, nodes) in nodes {
            self.tell_state(&subject, &nodes.into_iter().collect::<Vec<_>>());
        }
    }

    fn tell_state(&mut self, subject: &Subject, nodes: &[String]) {
        for (node, state) in self.fleet.states(subject, nodes, self.decisions.overlay()) {
            let size = state.encoded_len();
            if size > STATE_MAX {
                tracing::warn!(node, workload = %subject, size, "what the fleet knows of a workload is too large to be told");
                continue;
            }
            if !self.answer(&node, to_agent::Message::Fleet(state)) {
                self.awaited.insert((node, subject.clone()));
            }
        }
    }

    fn tell_decisions(&mut self, node: &str, of: &Overlay) {
        let concerning = self.fleet.decisions(node, of);
        if concerning.decisions().next().is_none() {
            return;
        }
        match file::to_bytes(&concerning) {
            Ok(overlay) => {
                if !self.answer(node, to_agent::Message::Decisions(pb::Decisions { overlay })) {
                    tracing::warn!(node, "it is told what was decided when it joins again");
                }
            }
            Err(error) => tracing::error!(%error, "decisions cannot be written"),
        }
    }

    /// Whether a node was told, or is gone.
    fn answer(&self, node: &str, message: to_agent::Message) -> bool {
        let Some((_, answers)) = self.streams.get(node) else {
            return true;
        };
        let sent = answers.try_send(Ok(ToAgent {
            message: Some(message),
        }));
        !matches!(sent, Err(TrySendError::Full(_)))
    }
}
