//! Hashes of what is executed: with the exec, or in an event of their own.

use super::operation;
use crate::clock::{WallClock, boot_now};
use crate::hash::{Answer, Asker, Hash, Hasher, Role, Sum, Unavailable};
use crate::identity::Identified;
use crate::observation::{Act, Executable, Name};
use norma_wire::pb::{self, Kind};
use norma_wire::{Detail, Event};

/// Looks executed files up.
pub type Hashes = Hasher<Box<Question>>;

/// What an answer needs to become an event.
#[derive(Clone, Debug)]
pub struct Question {
    /// Without arguments and ancestors, which the exec has.
    process: Option<pb::Process>,
    container: Option<pb::Container>,
    file: pb::FileHash,
}

/// Gives the event of an exec the hashes of its files, as far as they are known.
pub fn mark_hashes(event: &mut Event, identified: &Identified, hashes: &mut Hashes) {
    let Act::Exec(act) = &identified.observation.act else {
        return;
    };
    let asker = Asker {
        process: identified.observation.actor.process,
        cgroup: identified.observation.actor.cgroup,
        root_pid: match identified.place.container() {
            Some(container) => (container.init_pid != 0).then_some(container.init_pid),
            None => Some(1),
        },
        wall_ns: event.wall_ns,
    };
    let (process, container) = (event.process.as_ref(), event.container.as_ref());
    let mut ask = |file: &Executable, role| {
        let question = || {
            Box::new(Question {
                process: process.map(|process| pb::Process {
                    argv: Vec::new(),
                    ancestors: Vec::new(),
                    ..process.clone()
                }),
                container: container.cloned(),
                file: self::file(file, role),
            })
        };
        hash(&hashes.ask(file, role, asker, question))
    };
    let program = ask(&act.program, Role::Program);
    let script = act.script.as_ref().map(|script| ask(script, Role::Script));
    if let Some(Detail::Exec(exec)) = &mut event.detail {
        exec.hash = Some(program);
        if let Some(of) = &mut exec.script {
            of.hash = script;
        }
    }
}

/// The event of an answer.
pub fn file_hash(answer: Answer<Box<Question>>, clock: &WallClock) -> Event {
    let now = boot_now();
    let Question {
        process,
        container,
        file,
    } = *answer.tag;
    let hash = match answer.result {
        Ok(sum) => known(sum),
        Err(why) => unavailable(&why),
    };
    Event {
        boot_ns: now.0,
        wall_ns: clock.wall_ns(now),
        kind: Kind::FileHash as i32,
        process,
        container,
        detail: Some(Detail::FileHash(pb::FileHash {
            hash: Some(hash),
            ..file
        })),
        ..Event::default()
    }
}

fn file(file: &Executable, role: Role) -> pb::FileHash {
    pb::FileHash {
        path: Some(operation::path(&Name::Walked(file.path.clone()))),
        inode: file.file.inode,
        dev: file.file.dev,
        mtime_ns: file.mtime_ns,
        ctime_ns: file.ctime_ns,
        hash: None,
        script: role == Role::Script,
    }
}

fn hash(hash: &Hash) -> pb::Hash {
    match hash {
        Hash::Known(sum) => known(*sum),
        Hash::Pending => pb::Hash {
            pending: true,
            ..pb::Hash::default()
        },
        Hash::Unavailable(why) => unavailable(why),
    }
}

fn known(sum: Sum) -> pb::Hash {
    pb::Hash {
        sha256: sum.to_string(),
        ..pb::Hash::default()
    }
}

fn unavailable(why: &Unavailable) -> pb::Hash {
    pb::Hash {
        unavailable: why.to_string(),
        ..pb::Hash::default()
    }
}
