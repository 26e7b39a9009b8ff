//! Sessions that the container runtime opened, by the command that each began with.

use crate::identity::{Identified, Session};
use crate::observation::{Act, ProcessKey};
use foldhash::{HashMap, HashMapExt as _};
use serde::{Deserialize, Serialize};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

/// Most sessions that are remembered; above it the older half is forgotten.
const REMEMBERED: usize = 4_096;

/// Arguments of a session are kept over a restart up to so many bytes; with more it is one of unknown beginning.
const KEPT_BYTES: usize = 2_048;

/// A session, to be found again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptSession {
    first: ProcessKey,
    exe: Arc<str>,
    argv: Vec<String>,
}

#[cfg(test)]
impl KeptSession {
    pub fn example() -> Self {
        Self {
            first: ProcessKey {
                pid: 7,
                start: crate::observation::BootTime(9),
            },
            exe: "/bin/sh".into(),
            argv: vec!["sh".to_owned(), "-c".to_owned()],
        }
    }
}

/// What a session began with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Command {
    /// The executable.
    pub exe: Arc<str>,
    /// All arguments, the first included.
    pub argv: Arc<[String]>,
}

impl Command {
    /// The same for the same command.
    pub fn identity(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The first processes of sessions.
#[derive(Default)]
pub(super) struct Sessions {
    begun: HashMap<ProcessKey, Arc<Command>>,
}

impl Sessions {
    /// Notes what an act says of sessions. Gives the command where the act begins one.
    pub fn follow(&mut self, identified: &Identified) -> Option<Arc<Command>> {
        let begins = identified.process.session == Session::Exec
            && matches!(identified.observation.act, Act::Exec(_))
            && identified.exec_by.as_ref().is_some_and(|before| before.outside);
        if !begins {
            return None;
        }
        if self.begun.len() >= REMEMBERED {
            self.forget_older_half();
        }
        let command = Arc::new(Command {
            exe: Arc::clone(&identified.process.exe),
            argv: Arc::clone(&identified.process.argv),
        });
        self.begun.insert(identified.process.key, Arc::clone(&command));
        Some(command)
    }

    /// What is to be found again.
    pub fn kept(&self) -> Vec<KeptSession> {
        let bytes = |command: &Command| command.argv.iter().map(String::len).sum::<usize>();
        self.begun
            .iter()
            .filter(|(_, command)| bytes(command) <= KEPT_BYTES)
            .map(|(first, command)| KeptSession {
                first: *first,
                exe: Arc::clone(&command.exe),
                argv: command.argv.to_vec(),
            })
            .collect()
    }

    /// Takes what was found again.
    pub fn take(&mut self, kept: Vec<KeptSession>) {
        for session in kept.into_iter().take(REMEMBERED) {
            let command = Command {
                exe: session.exe,
                argv: session.argv.into(),
            };
            self.begun.insert(session.first, Arc::new(command));
        }
    }

    /// What the session of this first process began with, where that was seen.
    pub fn command(&self, first: ProcessKey) -> Option<&Arc<Command>> {
        self.begun.get(&first)
    }

    /// The first process of the session that an actor belongs to, and what that began with.
    pub fn of(&self, identified: &Identified) -> Option<(ProcessKey, Arc<Command>)> {
        let process = &identified.process;
        if process.session != Session::Exec {
            return None;
        }
        let chain = &process.ancestors[..identified.lineage.min(process.ancestors.len())];
        let first = chain.last().map_or(process.key, |first| first.key);
        Some((first, Arc::clone(self.begun.get(&first)?)))
    }

    fn forget_older_half(&mut self) {
        let mut starts: Vec<_> = self.begun.keys().map(|key| key.start).collect();
        let middle = starts.len() / 2;
        let (_, median, _) = starts.select_nth_unstable(middle);
        let median = *median;
        let mut young = HashMap::new();
        young.extend(self.begun.drain().filter(|(key, _)| key.start > median));
        self.begun = young;
    }
}
