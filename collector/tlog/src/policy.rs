//! Whose signatures count: c2sp.org/tlog-policy.

use crate::checkpoint::{Checkpoint, NotACheckpoint};
use crate::key::{KeyError, Use, VerifierKey};
use crate::note::Note;
use std::collections::BTreeMap;

/// Known logs and witnesses, and which witnesses must have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Logs whose checkpoints are accepted.
    pub logs: Vec<VerifierKey>,
    /// Known witnesses.
    pub witnesses: Vec<Witness>,
    quorum: Option<Rule>,
}

/// One who watches logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Name within the policy.
    pub name: String,
    /// What verifies its cosignatures.
    pub key: VerifierKey,
    /// Where it is asked, for those who ask it.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Witness(usize),
    Group { needed: usize, members: Vec<Rule> },
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line.
    #[error("line {line}: {fault}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The one line that must be there.
    #[error("there is no `quorum` line; `quorum none` asks for no witnesses")]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Unknown or incomplete.
    #[error(
        "not one of `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...`, `quorum NAME|none`"
    )]
    Form,
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A witness's key for a log, or the other way round.
    #[error("the key is of the wrong type: a log has type 0x01, a witness type 0x04")]
    Use,
    /// A key twice.
    #[error("the key is on another line already")]
    Duplicate,
    /// A name twice.
    #[error("the name `{0}` is taken or reserved")]
    Taken(String),
    /// A name that no line above defines, or that is in another group already.
    #[error("`{0}` is not defined above, or is a member of a group already")]
    Unknown(String),
    /// More than there are.
    #[error("a group needs between 1 and all of its members")]
    Needed,
    /// A second quorum.
    #[error("there is a `quorum` line already")]
    Quorum,
    /// Not text.
    #[error("control characters other than tab are not allowed")]
    Control,
}

/// A checkpoint that does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Not a checkpoint.
    #[error(transparent)]
    Form(#[from] NotACheckpoint),
    /// No log of the policy signed it.
    #[error("no log of the trust policy has signed it (it says that it is of `{0}`)")]
    UnknownLog(String),
    /// A signature under a known key is not its.
    #[error("the signature of `{0}` does not verify: the checkpoint or the signature was changed")]
    Signature(String),
}

/// A checkpoint that a known log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// It.
    pub checkpoint: Checkpoint,
    /// The key that the log signed with.
    pub log: VerifierKey,
    /// Which witnesses cosigned it, by their names in the policy, and when, in seconds since 1970.
    pub cosigned: Vec<(String, u64)>,
    /// Whether they are as many as the policy demands.
    pub quorum: bool,
}

impl Policy {
    /// Accepts one log without witnesses.
    pub fn of_log(key: VerifierKey) -> Self {
        Self {
            logs: vec![key],
            witnesses: Vec::new(),
            quorum: None,
        }
    }

    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut reading = Reading::default();
        for (number, line) in text.split('\n').enumerate() {
            reading.line(line).map_err(|fault| PolicyError::Line {
                line: number + 1,
                fault,
            })?;
        }
        let quorum = reading.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Self {
            logs: reading.logs,
            witnesses: reading.witnesses,
            quorum,
        })
    }

    /// The same witnesses and quorum, for one log.
    #[must_use]
    pub fn with_log(self, key: VerifierKey) -> Self {
        Self {
            logs: vec![key],
            ..self
        }
    }

    /// Whether a checkpoint is worth nothing without witnesses.
    pub fn wants_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Checks the signatures of a checkpoint. One of an unknown key is passed over; one that does not verify under
    /// its key makes all of the note worthless.
    pub fn check(&self, note: &Note) -> Result<Trusted, Untrusted> {
        let checkpoint: Checkpoint = note.text.parse()?;
        let wrong = |key: &VerifierKey| Untrusted::Signature(key.name().to_owned());
        let mut log = None;
        for key in self.logs.iter().filter(|key| key.name() == checkpoint.origin) {
            if note.verify(key).map_err(|_| wrong(key))?.is_some() {
                log.get_or_insert(key);
            }
        }
        let Some(log) = log else {
            return Err(Untrusted::UnknownLog(checkpoint.origin));
        };
        let mut cosigned = Vec::new();
        let mut present = Vec::new();
        for witness in &self.witnesses {
            let verified = note.verify(&witness.key).map_err(|_| wrong(&witness.key))?;
            present.push(verified.is_some());
            if let Some(time) = verified.and_then(|verified| verified.time) {
                cosigned.push((witness.name.clone(), time));
            }
        }
        Ok(Trusted {
            checkpoint,
            log: log.clone(),
            cosigned,
            quorum: self.quorum.as_ref().is_none_or(|rule| rule.is_met(&present)),
        })
    }
}

impl Rule {
    fn is_met(&self, present: &[bool]) -> bool {
        match self {
            Self::Witness(number) => present.get(*number).copied().unwrap_or(false),
            Self::Group { needed, members } => {
                members.iter().filter(|member| member.is_met(present)).count() >= *needed
            }
        }
    }
}

#[derive(Default)]
struct Reading {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    /// What names stand for, and whether they are a member of a group already.
    rules: BTreeMap<String, (Rule, bool)>,
    quorum: Option<Option<Rule>>,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), Fault> {
        if line.chars().any(|char| char.is_ascii_control() && char != '\t') {
            return Err(Fault::Control);
        }
        let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] | ["log", key, _] => {
                let key = checked(key, Use::Log)?;
                if self.logs.iter().any(|log| log.public() == key.public()) {
                    return Err(Fault::Duplicate);
                }
                self.logs.push(key);
                Ok(())
            }
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, needed, members @ ..] => self.group(name, needed, members),
            ["quorum", name] => {
                if self.quorum.is_some() {
                    return Err(Fault::Quorum);
                }
                self.quorum = Some(match *name {
                    "none" => None,
                    name => match self.rules.get(name) {
                        Some((rule, _)) => Some(rule.clone()),
                        None => return Err(Fault::Unknown(name.to_owned())),
                    },
                });
                Ok(())
            }
            _ => Err(Fault::Form),
        }
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), Fault> {
        let key = checked(key, Use::Witness)?;
        if self
            .witnesses
            .iter()
            .any(|other| other.key.public() == key.public())
        {
            return Err(Fault::Duplicate);
        }
        self.define(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness {
            name: name.to_owned(),
            key,
            url: url.map(str::to_owned),
        });
        Ok(())
    }

    fn group(&mut self, name: &str, needed: &str, members: &[&str]) -> Result<(), Fault> {
        let needed = match needed {
            "all" => members.len(),
            "any" => 1,
            number => number.parse().map_err(|_| Fault::Form)?,
        };
        if needed == 0 || needed > members.len() {
            return Err(Fault::Needed);
        }
        let members = members
            .iter()
            .map(|name| self.take(name))
            .collect::<Result<_, _>>()?;
        self.define(name, Rule::Group { needed, members })
    }

    fn define(&mut self, name: &str, rule: Rule) -> Result<(), Fault> {
        if name == "none" || self.rules.contains_key(name) {
            return Err(Fault::Taken(name.to_owned()));
        }
        self.rules.insert(name.to_owned(), (rule, false));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<Rule, Fault> {
        match self.rules.get_mut(name) {
            Some((rule, taken @ false)) => {
                *taken = true;
                Ok(rule.clone())
            }
            _ => Err(Fault::Unknown(name.to_owned())),
        }
    }
}

fn checked(key: &str, usage: Use) -> Result<VerifierKey, Fault> {
    let key: VerifierKey = key.parse()?;
    if key.usage() == usage {
        Ok(key)
    } else {
        Err(Fault::Use)
    }
}
