//! What was observed of a deed.

use nix::errno::Errno;
use norma_abi::ARG_UNKNOWN;
use norma_agent::observation::{
    Act, Connect, Endpoint, Exec, KernelPath, Name, Observation, Open, Operation, Outcome, Protocol, Socket,
};
use norma_rig::deed::{FileTruth, Truth};
use serde_json::Value;
use std::net::SocketAddr;

/// An observation of the deed.
pub struct Found {
    /// What is other than the deed says.
    pub wrong: Vec<String>,
    /// What is less than the deed says.
    pub less: Vec<String>,
    /// Only that there was a request by io_uring was seen.
    pub as_request: bool,
}

impl Found {
    /// All that the deed says was observed.
    pub fn is_complete(&self) -> bool {
        self.wrong.is_empty() && self.less.is_empty()
    }
}

/// The observation that is closest to the truth, if there is one of that operation by that process.
pub fn closest(truth: &Truth, seen: &[Observation]) -> Option<Found> {
    let own = seen
        .iter()
        .filter(|seen| seen.actor.process.pid == truth.pid || nobody(seen));
    let found = own
        .filter_map(|seen| differences(truth, seen))
        .min_by_key(|off| (off.wrong.len(), off.less.len()));
    if let Some(Off { mut wrong, less }) = found {
        wrong.extend(counts(truth, seen));
        return Some(Found {
            wrong,
            less,
            as_request: false,
        });
    }
    let request = seen.iter().any(|seen| {
        seen.actor.process.pid == truth.pid
            && matches!(&seen.act, Act::Operation(operation) if operation.op.name() == "host.io-uring-op")
    });
    (request && truth.technique.starts_with("io-uring")).then(|| Found {
        wrong: Vec::new(),
        less: vec!["seen as a request by io_uring".to_owned()],
        as_request: true,
    })
}

/// The end of a connection is seen while anybody runs.
fn nobody(seen: &Observation) -> bool {
    seen.actor.process.pid == 0
}

/// What of an observation is not as the deed says; `None` where it is one of something else.
fn differences(truth: &Truth, seen: &Observation) -> Option<Off> {
    let mut off = Off::default();
    match (truth.operation.as_str(), &seen.act) {
        ("exec", Act::Exec(exec)) => off.exec(truth, exec),
        ("fork", Act::Fork(child)) => off.same("child", &truth.target, &Some(child.pid)),
        ("exit", Act::Exit(exit)) => off.number("status", truth, u64::from(exit.status)),
        // A deed makes a file before it opens it in another way.
        ("open", Act::Open(open)) if same_access(truth, open) => off.open(truth, open),
        ("connect", Act::Connect(connect)) => off.connect(truth, connect),
        ("listen", Act::Listen(listen)) => {
            off.same("local", &truth.local, &Some(listen.local.to_string()));
            off.same("the protocol told", &true, &is_protocol(truth, listen.protocol));
        }
        ("dns", Act::Dns(dns)) => {
            let message = dns.message.as_ref().ok()?;
            off.text("name", truth, &message.name);
            off.text("type", truth, &message.record_type);
            off.number("id", truth, u64::from(message.id));
            off.same("remote", &truth.remote, &Some(dns.remote.to_string()));
        }
        (operation, Act::Operation(seen)) if operation == seen.op.name() => off.operation(truth, seen),
        (operation, Act::Socket(seen)) if operation.strip_prefix("socket.") == Some(seen.op.name()) => {
            off.socket(truth, seen);
        }
        _ => return None,
    }
    Some(off)
}

/// A connection of Multipath TCP is one of TCP to the kernel's sockets and to the network.
fn is_protocol(truth: &Truth, seen: Protocol) -> bool {
    const MPTCP: u64 = 262;
    let protocol = truth.facts.get("protocol").and_then(Value::as_u64);
    let seen = number(seen);
    protocol.is_none_or(|protocol| protocol == seen || (protocol, seen) == (MPTCP, number(Protocol::Tcp)))
}

fn number(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Other(other) => u64::from(other),
    }
}

fn written(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn end(end: Endpoint) -> Option<String> {
    match end {
        Endpoint::None => None,
        Endpoint::Internet(address) => Some(address.to_string()),
        Endpoint::Vsock { cid, port } => Some(format!("vsock:{cid}:{port}")),
    }
}

fn same_access(truth: &Truth, seen: &Open) -> bool {
    let fact = |name| truth.facts.get(name).and_then(Value::as_bool);
    fact("read").is_none_or(|read| read == seen.read) && fact("write").is_none_or(|write| write == seen.write)
}

/// What is not as it should be.
#[derive(Default)]
struct Off {
    /// Other than the deed says.
    wrong: Vec<String>,
    /// Less than it says.
    less: Vec<String>,
}

impl Off {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, truth: &T, seen: &T) {
        if truth != seen {
            self.wrong
                .push(format!("{what} is {seen:?} and not {truth:?}").replace("Some", ""));
        }
    }

    /// A number among the facts, if the deed says it.
    fn number(&mut self, name: &str, truth: &Truth, seen: u64) {
        if let Some(fact) = truth.facts.get(name).and_then(Value::as_i64) {
            self.same(name, &fact.cast_unsigned(), &seen);
        }
    }

    fn text(&mut self, name: &str, truth: &Truth, seen: &str) {
        if let Some(fact) = truth.facts.get(name).and_then(Value::as_str) {
            self.same(name, &fact, &seen);
        }
    }

    fn walked(&mut self, what: &str, truth: &FileTruth, seen: &KernelPath) {
        let path = written(&seen.bytes);
        let real = &truth.real;
        let same = if seen.truncated {
            path.split_once('/').is_some_and(|(_, rest)| real.ends_with(rest))
        } else if seen.disconnected {
            real.trim_start_matches('/') == path.trim_start_matches('/')
        } else {
            *real == path
        };
        if !same {
            self.wrong.push(format!("{what} is {path} and not {real}"));
        } else if seen.truncated {
            self.less.push(format!("{what} is cut"));
        }
        self.same("deleted", &truth.deleted, &seen.deleted);
    }

    fn name(&mut self, what: &str, truth: &FileTruth, seen: Option<&Name>) {
        match seen {
            None => self.less.push(format!("{what} is not told")),
            Some(Name::Walked(path)) => self.walked(what, truth, path),
            Some(Name::Claimed(name)) => {
                let name = written(name);
                if name == truth.given {
                    self.less.push(format!("{what} as it was given"));
                } else {
                    self.wrong
                        .push(format!("{what} is {name} and not {}", truth.given));
                }
            }
        }
    }

    fn exec(&mut self, truth: &Truth, seen: &Exec) {
        let Some(path) = &truth.path else { return };
        self.walked("path", path, &seen.program.path);
        self.same("inode", &path.inode, &seen.program.file.inode);
        self.same("device", &path.device, &seen.program.file.dev);
        if let Some(Value::Array(words)) = truth.facts.get("argv") {
            // For a script the interpreter's own come first, and argv[0] is replaced by its name; the kernel
            // makes an empty argv one of an empty word.
            let rest = words.get(1..).unwrap_or_default();
            let told: Vec<Value> = seen.argv.iter().map(|word| written(word).into()).collect();
            if seen.argv_truncated {
                self.less.push("arguments are cut".to_owned());
            } else if !told.ends_with(rest) {
                self.wrong.push(format!("arguments are {told:?}"));
            }
        }
        if let Some(script) = &truth.other {
            match &seen.script {
                Some(seen) => self.walked("script", script, &seen.path),
                None => self.less.push("the script's file is not told".to_owned()),
            }
        }
    }

    fn open(&mut self, truth: &Truth, seen: &Open) {
        let Some(path) = &truth.path else { return };
        self.walked("path", path, &seen.path);
        self.same("inode", &path.inode, &seen.file.inode);
        self.same("device", &path.device, &seen.file.dev);
        let created = truth.facts.get("created").and_then(Value::as_bool);
        self.same("created", &created.unwrap_or(false), &seen.created);
    }

    fn connect(&mut self, truth: &Truth, seen: &Connect) {
        self.same("remote", &truth.remote, &Some(seen.remote.to_string()));
        self.same("the protocol told", &true, &is_protocol(truth, seen.protocol));
        if let (Some(local), Some(seen)) = (&truth.local, seen.local) {
            self.same("local", local, &seen.to_string());
        }
    }

    fn outcome(&mut self, truth: &Truth, seen: Outcome) {
        match seen {
            // What came of it is not known at a security check.
            Outcome::Permitted => {}
            Outcome::Succeeded => self.same("result", &truth.result.as_str(), &"ok"),
            Outcome::Failed(errno) => {
                let name = format!("{:?}", Errno::from_raw(errno.cast_signed()));
                self.same("result", &truth.result, &name);
            }
        }
    }

    fn operation(&mut self, truth: &Truth, seen: &Operation) {
        self.outcome(truth, seen.outcome);
        if let Some(path) = &truth.path {
            self.name("path", path, seen.path.as_ref());
            // The inode of a name that an act makes is not there at the check.
            if seen.file.inode != 0 {
                self.same("inode", &path.inode, &seen.file.inode);
            }
        }
        if let Some(other) = &truth.other {
            self.name("other path", other, seen.other.as_ref());
        }
        if truth.target.is_some() {
            let target = seen.target.map(|target| target.process.pid);
            self.same("target", &truth.target, &target);
        }
        for ((name, _), value) in seen.op.definition().args.iter().zip(seen.args) {
            match *name {
                _ if value == ARG_UNKNOWN && truth.facts.contains_key(*name) => {
                    self.less.push(format!("{name} is not told"));
                }
                // Modes may come with the type of the file.
                "mode" => self.number(name, truth, value & 0o7777),
                _ => self.number(name, truth, value),
            }
        }
        if let Some(text) = truth.facts.get("text").and_then(Value::as_str) {
            let seen = written(&seen.text);
            if !seen.contains(text) {
                self.wrong.push(format!("text is {seen} and not {text}"));
            }
        }
    }

    fn socket(&mut self, truth: &Truth, seen: &Socket) {
        self.outcome(truth, seen.outcome);
        let named = |end: &&String| end.starts_with("unix:") || end.starts_with("abstract:");
        let name = truth.remote.iter().chain(&truth.local).find(named);
        if let Some(path) = &truth.path {
            self.name("path", path, seen.path.as_ref());
        } else if let Some(name) = name {
            let seen = seen.path.as_ref().map(|path| {
                let bytes = path.bytes();
                format!("abstract:{}", written(bytes.strip_prefix(b"\0").unwrap_or(bytes)))
            });
            self.same("name", &Some(name.clone()), &seen);
        } else {
            if truth.remote.is_some() {
                self.same("remote", &truth.remote, &end(seen.remote));
            }
            let any = |address: &SocketAddr| address.port() == 0;
            let unknown = matches!(&seen.local, Endpoint::Internet(address) if any(address));
            if truth.local.is_some() && seen.local != Endpoint::None && !unknown {
                self.same("local", &truth.local, &end(seen.local));
            }
        }
        self.number("family", truth, u64::from(seen.family));
        self.number("type", truth, u64::from(seen.socket_type));
        self.number("protocol", truth, u64::from(seen.protocol));
        self.number("sent", truth, seen.sent);
        self.number("received", truth, seen.received);
    }
}

/// Where the deed did the same to several: how often each is observed.
fn counts(truth: &Truth, seen: &[Observation]) -> Vec<String> {
    let mut off = Vec::new();
    let own = || seen.iter().filter(|seen| seen.actor.process.pid == truth.pid);
    for (name, count) in counted(truth, "opened") {
        let observed = own()
            .filter(|seen| {
                matches!(&seen.act, Act::Open(open) if open.read && !open.write
                    && written(&open.path.bytes) == *name)
            })
            .count();
        if observed != count {
            off.push(format!(
                "{name} was opened {count} times and is observed {observed} times"
            ));
        }
    }
    for (name, count) in counted(truth, "connected") {
        let observed = own()
            .filter(|seen| matches!(&seen.act, Act::Connect(connect) if connect.remote.to_string() == *name))
            .count();
        if observed != count {
            off.push(format!(
                "{name} was connected to {count} times and is observed {observed} times"
            ));
        }
    }
    off
}

fn counted<'a>(truth: &'a Truth, name: &str) -> impl Iterator<Item = (&'a String, usize)> {
    let counts = truth.facts.get(name).and_then(Value::as_object);
    counts
        .into_iter()
        .flatten()
        .map(|(name, count)| (name, count.as_u64().unwrap_or(0) as usize))
}
