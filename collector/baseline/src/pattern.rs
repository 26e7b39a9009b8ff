//! Typed wildcards for names that are another one each time: `/tmp/sess-<hex:32>`, `/proc/<int>/stat`.
//!
//! Whether names are an open set is told by their own unseen mass, not by their number: a directory of a
//! hundred files that are read every hour is closed, one of six session files of which each was seen once is
//! open. What is generalised keeps the type of what was seen, and there is no `*`. See [`mine`] for the rules.
//!
//! Nothing here depends on the order in which facts were seen or are iterated over: all who have the same
//! evidence come to the same patterns.

mod matcher;
mod mine;
mod template;
mod token;

pub use matcher::Matcher;
pub use mine::mine;
pub use template::{NotAPattern, Part, Pattern, Segment};
pub use token::Class;

use crate::fact::{Access, Fact, Field, Peer, PeerClass};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The pattern of a path: segments are its components.
pub type PathPattern = Pattern<Path>;
/// The pattern of a domain name: segments are its labels, the last one first.
pub type NamePattern = Pattern<Name>;

/// What patterns are made of: how a text falls into segments, and which of them may vary.
pub trait Kind: Ord + Clone {
    /// The segments of a text, from what is most general to what is most particular; `None` for a text that
    /// is not of this kind.
    fn segments(text: &str) -> Option<Vec<&str>>;
    /// The text of such segments.
    fn join(segments: &[String]) -> String;
    /// Whether what lies below these segments is never generalised.
    fn is_closed(above: &[String]) -> bool;
}

/// Deeper paths and longer names are not generalised.
const DEPTH_MAX: usize = 48;

/// Absolute paths; and `./a/b`, relative to a directory that is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {}

/// First component of a path that is relative.
const HERE: &str = ".";

/// Trees whose contents are made when an image is built. What varies in them varies by somebody's hand.
const CLOSED: [&str; 9] = [
    "bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr",
];

impl Kind for Path {
    fn segments(text: &str) -> Option<Vec<&str>> {
        let segments: Vec<&str> = match text.strip_prefix('/') {
            Some(below) => below.split('/').collect(),
            None => text.split('/').collect(),
        };
        let from_root = text.starts_with('/');
        let names = match segments.split_first() {
            Some((&HERE, names)) if !from_root => names,
            _ if from_root => &segments,
            _ => return None,
        };
        // Paths that the kernel gives have no empty component; what has one has not been resolved.
        let is_resolved = !names.is_empty() && names.iter().all(|name| !matches!(*name, "" | "." | ".."));
        (segments.len() <= DEPTH_MAX && is_resolved).then_some(segments)
    }

    fn join(segments: &[String]) -> String {
        match segments.first().map(String::as_str) {
            Some(HERE) => segments.join("/"),
            _ => segments
                .iter()
                .fold(String::new(), |path, segment| path + "/" + segment),
        }
    }

    fn is_closed(above: &[String]) -> bool {
        above
            .first()
            // The root directory itself is laid out by the image.
            .is_none_or(|top| CLOSED.contains(&top.as_str()))
    }
}

/// Domain names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {}

impl Kind for Name {
    fn segments(text: &str) -> Option<Vec<&str>> {
        let segments: Vec<&str> = text.rsplit('.').collect();
        (segments.len() <= DEPTH_MAX && !segments.contains(&"")).then_some(segments)
    }

    fn join(segments: &[String]) -> String {
        let labels: Vec<&str> = segments.iter().rev().map(String::as_str).collect();
        labels.join(".")
    }

    /// Anybody can register a domain; only what lies below one is in a single hand.
    fn is_closed(above: &[String]) -> bool {
        crate::fact::registered_domain(&Self::join(above)).is_none()
    }
}

/// Names that no wildcard may stand for.
pub trait Protection {
    /// Credentials, keys and the like: its every opening is of interest.
    fn is_sensitive(&self, path: &str) -> bool;

    /// The image ships a file of this name: it is one of a closed set.
    fn is_shipped(&self, path: &str) -> bool;
}

/// No name is protected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unprotected;

impl Protection for Unprotected {
    fn is_sensitive(&self, _: &str) -> bool {
        false
    }

    fn is_shipped(&self, _: &str) -> bool {
        false
    }
}

fn is_protected(protection: &dyn Protection, path: &str) -> bool {
    protection.is_sensitive(path) || protection.is_shipped(path)
}

/// All patterns of a workload.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    /// By executable, and then by access (but `Execute`).
    paths: BTreeMap<Arc<str>, [Matcher<Path>; Access::ALL.len()]>,
    /// By executable.
    names: BTreeMap<Arc<str>, Matcher<Name>>,
    /// Connections to a registered domain or to a block.
    peers: BTreeSet<Fact>,
}

impl Patterns {
    /// Mines them from facts, each with the number of sampling units in which it was seen.
    pub fn mine<'a>(
        facts: impl IntoIterator<Item = (Fact<&'a str>, u64)>,
        protection: &dyn Protection,
    ) -> Self {
        let mut paths: BTreeMap<(&str, Access), Known<'_, Path>> = BTreeMap::new();
        let mut names: BTreeMap<&str, Known<'_, Name>> = BTreeMap::new();
        let mut peers = Widening::default();
        for (fact, incidence) in facts {
            match fact {
                Fact::File { exe, path, access } if access != Access::Execute => {
                    paths
                        .entry((exe, access))
                        .or_default()
                        .literals
                        .push((path, incidence));
                }
                Fact::FilePattern { exe, pattern, access } if access != Access::Execute => {
                    if let Ok(pattern) = pattern.parse() {
                        paths.entry((exe, access)).or_default().patterns.insert(pattern);
                    }
                }
                Fact::Dns { exe, name } => {
                    names.entry(exe).or_default().literals.push((name, incidence));
                }
                Fact::DnsPattern { exe, pattern } => {
                    if let Ok(pattern) = pattern.parse() {
                        names.entry(exe).or_default().patterns.insert(pattern);
                    }
                }
                Fact::Connect { .. } => peers.add(&fact, incidence),
                _ => {}
            }
        }
        let mut mined = Self {
            peers: peers.wide(),
            ..Self::default()
        };
        for ((exe, access), known) in paths {
            let patterns = known.all(|path| is_protected(protection, path));
            mined.add_paths(exe, access, patterns);
        }
        for (exe, known) in names {
            let matcher = Matcher::compile(known.all(|_| false));
            if !matcher.is_empty() {
                mined.names.insert(Arc::from(exe), matcher);
            }
        }
        mined
    }

    /// These and no others; what is no pattern is left out.
    pub fn of_facts<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Self {
        // Without incidences nothing is mined, only taken.
        Self::mine(facts.into_iter().map(|fact| (fact.view(), 0)), &Unprotected)
    }

    /// All of them as facts.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        let paths = self.paths.iter().flat_map(|(exe, matchers)| {
            Access::ALL
                .into_iter()
                .zip(matchers)
                .flat_map(move |(access, matcher)| file_patterns(exe, access, matcher))
        });
        let names = self
            .names
            .iter()
            .flat_map(|(exe, matcher)| name_patterns(exe, matcher));
        paths.chain(names).chain(self.peers.iter().cloned())
    }

    /// Those of the same kind and executable as a fact.
    pub(crate) fn of_actor(&self, fact: &Fact<&str>) -> impl Iterator<Item = Fact> {
        let matchers = self.paths.get_key_value(*fact.actor());
        let paths = matchers
            .filter(|_| fact.field() == Field::File)
            .into_iter()
            .flat_map(|(exe, matchers)| {
                Access::ALL
                    .into_iter()
                    .zip(matchers)
                    .flat_map(move |(access, matcher)| file_patterns(exe, access, matcher))
            });
        let names = self
            .names
            .get_key_value(*fact.actor())
            .filter(|_| fact.field() == Field::Dns)
            .into_iter()
            .flat_map(|(exe, matcher)| name_patterns(exe, matcher));
        paths.chain(names)
    }

    /// The pattern that stands for a fact; `None` if it is known by itself or not at all.
    pub fn of<S: AsRef<str>>(&self, fact: &Fact<S>, protection: &dyn Protection) -> Option<Fact> {
        match fact.view() {
            Fact::File { exe, path, access } if access != Access::Execute => {
                let (exe, matchers) = self.paths.get_key_value(exe)?;
                let pattern = matchers[access as usize].find(path)?;
                (!is_protected(protection, path)).then(|| Fact::FilePattern {
                    exe: Arc::clone(exe),
                    pattern: Arc::clone(pattern),
                    access,
                })
            }
            Fact::Dns { exe, name } => {
                let (exe, matcher) = self.names.get_key_value(exe)?;
                Some(Fact::DnsPattern {
                    exe: Arc::clone(exe),
                    pattern: Arc::clone(matcher.find(name)?),
                })
            }
            connect @ Fact::Connect { .. } => {
                let wide = wider(&connect)?.owned();
                self.peers.get(&wide).cloned()
            }
            _ => None,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts().count()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.names.is_empty() && self.peers.is_empty()
    }

    fn add_paths(&mut self, exe: &str, access: Access, patterns: BTreeSet<PathPattern>) {
        let matcher = Matcher::compile(patterns);
        if matcher.is_empty() {
            return;
        }
        let matchers = self.paths.entry(Arc::from(exe)).or_default();
        matchers[access as usize] = matcher;
    }
}

fn file_patterns(exe: &Arc<str>, access: Access, matcher: &Matcher<Path>) -> impl Iterator<Item = Fact> {
    matcher.patterns().map(move |pattern| Fact::FilePattern {
        exe: Arc::clone(exe),
        pattern: Arc::clone(pattern),
        access,
    })
}

fn name_patterns(exe: &Arc<str>, matcher: &Matcher<Name>) -> impl Iterator<Item = Fact> {
    matcher.patterns().map(move |pattern| Fact::DnsPattern {
        exe: Arc::clone(exe),
        pattern: Arc::clone(pattern),
    })
}

impl Serialize for Patterns {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.facts())
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let facts = Vec::<Fact>::deserialize(deserializer)?;
        Ok(Self::of_facts(&facts))
    }
}

/// What is known of one executable and access.
struct Known<'a, K> {
    literals: Vec<(&'a str, u64)>,
    patterns: BTreeSet<Pattern<K>>,
}

impl<K> Default for Known<'_, K> {
    fn default() -> Self {
        Self {
            literals: Vec::new(),
            patterns: BTreeSet::new(),
        }
    }
}

impl<K: Kind> Known<'_, K> {
    fn all(self, is_protected: impl Fn(&str) -> bool) -> BTreeSet<Pattern<K>> {
        let mut patterns = mine(self.literals, is_protected);
        patterns.extend(self.patterns);
        patterns
    }
}

/// Peers by the wider name that they could have.
#[derive(Default)]
struct Widening<'a> {
    wide: BTreeMap<Fact<&'a str>, Vec<u64>>,
    /// Those that have it already.
    taken: BTreeSet<Fact>,
}

impl<'a> Widening<'a> {
    fn add(&mut self, fact: &Fact<&'a str>, incidence: u64) {
        let is_wide = matches!(
            fact,
            Fact::Connect {
                peer: Peer::Cidr(_) | Peer::RegisteredDomain(_),
                ..
            }
        );
        if is_wide {
            self.taken.insert(fact.owned());
        } else if let Some(wide) = wider(fact) {
            self.wide.entry(wide).or_default().push(incidence);
        }
    }

    fn wide(self) -> BTreeSet<Fact> {
        self.wide
            .into_iter()
            .filter(|(_, incidences)| mine::is_open_set(incidences.iter().copied()))
            .map(|(wide, _)| wide.owned())
            .chain(self.taken)
            .collect()
    }
}

/// The same connection to a peer by its wider name. Private addresses keep theirs: whoever looks around in the
/// cluster would else look like an open set.
fn wider<'a>(fact: &Fact<&'a str>) -> Option<Fact<&'a str>> {
    let Fact::Connect {
        exe,
        peer,
        protocol,
        port,
    } = fact
    else {
        return None;
    };
    let is_private = |address: IpAddr| PeerClass::of(address, false) != PeerClass::Public;
    if matches!(peer, Peer::Address(address) if is_private(*address)) {
        return None;
    }
    Some(Fact::Connect {
        exe,
        peer: peer.wider()?,
        protocol: *protocol,
        port: *port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Protocol;

    struct Secrets;

    impl Protection for Secrets {
        fn is_sensitive(&self, path: &str) -> bool {
            path.contains("secret")
        }

        fn is_shipped(&self, path: &str) -> bool {
            path.starts_with("/opt/app/")
        }
    }

    fn file(path: &str, access: Access) -> Fact<&str> {
        Fact::File {
            exe: "/bin/x",
            path,
            access,
        }
    }

    fn hex(number: u64) -> String {
        format!("{:016x}", (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn executables_secrets_and_what_the_image_ships_are_never_generalised() {
        let in_directory = |directory: &str| -> Vec<String> {
            (0..30)
                .map(|number| format!("{directory}/{}", hex(number)))
                .collect()
        };
        for (directory, access, pattern) in [
            ("/tmp", Access::Read, Some("/tmp/<hex:16>")),
            ("/tmp", Access::Delete, Some("/tmp/<hex:16> (delete)")),
            ("/tmp", Access::Attribute, Some("/tmp/<hex:16> (attribute)")),
            ("/tmp", Access::Probe, Some("/tmp/<hex:16> (probe)")),
            ("./base", Access::Delete, Some("./base/<hex:16> (delete)")),
            ("../base", Access::Delete, None),
            ("/tmp", Access::Execute, None),
            ("/run/secret", Access::Read, None),
            ("/opt/app", Access::Read, None),
            ("/etc", Access::Read, None),
            ("/usr/lib", Access::Read, None),
        ] {
            let paths = in_directory(directory);
            let facts = paths.iter().map(|path| (file(path, access), 1));
            let patterns = Patterns::mine(facts, &Secrets);
            let found = patterns.facts().map(|fact| fact.target()).next();
            assert_eq!(found.as_deref(), pattern, "{directory} {access:?}");
        }
    }

    #[test]
    fn a_secret_does_not_match_even_if_it_came_later() {
        let paths: Vec<_> = (0..30).map(|number| format!("/tmp/{}", hex(number))).collect();
        let patterns = Patterns::mine(
            paths.iter().map(|path| (file(path, Access::Read), 1)),
            &Unprotected,
        );
        struct This(String);
        impl Protection for This {
            fn is_sensitive(&self, path: &str) -> bool {
                path == self.0
            }
            fn is_shipped(&self, _: &str) -> bool {
                false
            }
        }
        let path = format!("/tmp/{}", hex(99));
        assert!(patterns.of(&file(&path, Access::Read), &Unprotected).is_some());
        assert!(patterns.of(&file(&path, Access::Write), &Unprotected).is_none());
        assert!(
            patterns
                .of(&file(&path, Access::Read), &This(path.clone()))
                .is_none()
        );
    }

    #[test]
    fn names_vary_below_a_registered_domain_only() {
        let names: Vec<_> = (0..30)
            .flat_map(|number| {
                [
                    format!("{}.cdn.example.com", hex(number)),
                    format!("{}.com", hex(number)),
                ]
            })
            .collect();
        let facts = names.iter().map(|name| (Fact::Dns { exe: "/bin/x", name }, 1));
        let patterns = Patterns::mine(facts, &Unprotected);
        let found: Vec<_> = patterns.facts().map(|fact| fact.target()).collect();
        assert_eq!(found, ["<hex:16>.cdn.example.com"]);
    }

    #[test]
    fn public_peers_widen_and_private_ones_do_not() {
        let connect = |peer| Fact::Connect {
            exe: "/bin/x",
            peer,
            protocol: Protocol::Tcp,
            port: 443,
        };
        let names: Vec<_> = (0..20)
            .map(|number| format!("edge{number}.example.com"))
            .collect();
        let address = |text: String| Peer::Address(text.parse().unwrap());
        let peers = names
            .iter()
            .map(|name| Peer::Domain(name.as_str()))
            .chain((0..20).map(|number| address(format!("198.51.100.{number}"))))
            .chain((0..20).map(|number| address(format!("10.0.0.{number}"))));
        let patterns = Patterns::mine(peers.map(|peer| (connect(peer), 1)), &Unprotected);
        let found: Vec<_> = patterns.facts().map(|fact| fact.target()).collect();
        assert_eq!(found, ["below example.com tcp/443", "198.51.100.0/24 tcp/443"]);
        let new = connect(Peer::Domain("edge99.example.com"));
        assert!(patterns.of(&new, &Unprotected).is_some());
    }

    #[test]
    fn patterns_are_read_as_they_are_written() {
        let paths: Vec<_> = (0..30)
            .map(|number| format!("/tmp/a<b/{}", hex(number)))
            .collect();
        let patterns = Patterns::mine(
            paths.iter().map(|path| (file(path, Access::Create), 1)),
            &Unprotected,
        );
        let read: Patterns = rmp_serde::from_slice(&rmp_serde::to_vec(&patterns).unwrap()).unwrap();
        assert_eq!(
            read.facts().collect::<Vec<_>>(),
            patterns.facts().collect::<Vec<_>>()
        );
        assert!(read.of(&file(&paths[3], Access::Create), &Unprotected).is_some());
        assert_eq!(read.len(), 1);
    }
}
