//! Names that come in crowds: a program that makes up a name for each of its files must not drown everything else,
//! and must not hide anything else either.
//!
//! For each executable and kind of finding there is a tree of the directories in which it happened. Where a
//! directory has more than [`BRANCHES`] new entries within [`HOUR`], further ones are one of a crowd: they are
//! recorded as information, and the crowd is a finding of its own that comes again with each power of ten. Whatever
//! else the executable does, in other directories or of another kind, is not touched by that.

use crate::observation::BootTime;
use foldhash::{HashMap, HashMapExt as _, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// New entries of one directory that each are an alert.
const BRANCHES: u32 = 50;
/// New names of one executable and kind that each are an alert, in whatever directories.
const NAMES: u32 = 500;
/// How long a crowd lasts.
const HOUR: Duration = Duration::from_secs(3600);
/// Most trees of a container; above it the oldest is begun anew.
const TREES_MAX: usize = 512;

/// How a finding is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// By itself.
    Alone,
    /// As one of a crowd below this directory.
    OneOfMany(String),
    /// As the sign of a crowd below this directory, with so many until now.
    Sign(String, u64),
}

/// The crowds of a container.
pub(super) struct Crowds {
    trees: HashMap<(Arc<str>, &'static str), Tree>,
    hashing: RandomState,
}

struct Tree {
    since: BootTime,
    names: u32,
    /// Entries that were seen, by the hash of their path.
    seen: HashSet<u64>,
    /// Entries of each directory, by the hash of its path.
    branches: HashMap<u64, u32>,
    /// How many were one of the crowd of a directory.
    crowds: HashMap<u64, u64>,
}

impl Default for Crowds {
    fn default() -> Self {
        Self {
            trees: HashMap::new(),
            hashing: RandomState::new(),
        }
    }
}

impl Crowds {
    /// Takes a finding of a kind about a path (or a name, whose labels come last first), by an executable.
    pub fn take(&mut self, exe: &Arc<str>, code: &'static str, path: &str, at: BootTime) -> Standing {
        let key = (Arc::clone(exe), code);
        if self.trees.len() >= TREES_MAX && !self.trees.contains_key(&key) {
            let oldest = self.trees.iter().min_by_key(|(_, tree)| tree.since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.trees.remove(&oldest);
            }
        }
        let tree = self.trees.entry(key).or_insert_with(|| Tree::new(at));
        if at.0 >= tree.since.0.saturating_add(HOUR.as_nanos() as u64) {
            *tree = Tree::new(at);
        }
        let Some(directory) = tree.place(path, &self.hashing) else {
            return Standing::Alone;
        };
        let directory = if directory.is_empty() { "/" } else { directory };
        let crowd = tree.crowds.entry(self.hashing.hash_one(directory)).or_default();
        *crowd += 1;
        if is_power_of_ten(*crowd) {
            Standing::Sign(directory.to_owned(), *crowd)
        } else {
            Standing::OneOfMany(directory.to_owned())
        }
    }
}

impl Tree {
    fn new(since: BootTime) -> Self {
        Self {
            since,
            names: 0,
            seen: HashSet::default(),
            branches: HashMap::new(),
            crowds: HashMap::new(),
        }
    }

    /// Puts a path into the tree; gives the directory that has too many entries for it.
    fn place<'a>(&mut self, path: &'a str, hashing: &RandomState) -> Option<&'a str> {
        if self.names >= NAMES {
            return Some("");
        }
        let ends = path
            .char_indices()
            .skip(1)
            .filter(|(_, letter)| *letter == '/')
            .map(|(index, _)| index)
            .chain(std::iter::once(path.len()));
        let mut directory = "";
        for end in ends {
            let entry = &path[..end];
            let hash = hashing.hash_one(entry);
            if !self.seen.contains(&hash) {
                let branches = self.branches.entry(hashing.hash_one(directory)).or_default();
                if *branches >= BRANCHES {
                    return Some(directory);
                }
                *branches += 1;
                self.seen.insert(hash);
            }
            directory = entry;
        }
        self.names += 1;
        None
    }
}

fn is_power_of_ten(mut number: u64) -> bool {
    while number >= 10 && number.is_multiple_of(10) {
        number /= 10;
    }
    number == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(crowds: &mut Crowds, path: &str) -> Standing {
        crowds.take(&Arc::from("/bin/x"), "drift.new-write", path, BootTime(5))
    }

    #[test]
    fn a_crowd_in_one_directory_leaves_every_other_alone() {
        let mut crowds = Crowds::default();
        for number in 0..BRANCHES {
            assert_eq!(take(&mut crowds, &format!("/tmp/{number}/f")), Standing::Alone);
        }
        let signs: Vec<u64> = (0..1_000)
            .filter_map(
                |number| match take(&mut crowds, &format!("/tmp/more-{number}/f")) {
                    Standing::Sign(directory, count) => {
                        assert_eq!(directory, "/tmp");
                        Some(count)
                    }
                    Standing::OneOfMany(_) => None,
                    Standing::Alone => panic!("{number} is one too many"),
                },
            )
            .collect();
        assert_eq!(signs, [1, 10, 100, 1_000]);
        assert_eq!(take(&mut crowds, "/data/customers"), Standing::Alone);
        assert_eq!(
            take(&mut crowds, "/tmp/0/g"),
            Standing::Alone,
            "below one that was there"
        );
        let other = crowds.take(&Arc::from("/bin/y"), "drift.new-write", "/tmp/z", BootTime(5));
        assert_eq!(other, Standing::Alone, "another executable");
        let other = crowds.take(&Arc::from("/bin/x"), "drift.new-read", "/tmp/z", BootTime(5));
        assert_eq!(other, Standing::Alone, "another kind");
    }

    #[test]
    fn deep_trees_of_made_up_names_come_to_an_end_too() {
        let mut crowds = Crowds::default();
        let alone = (0..20_000)
            .filter(|number: &u32| {
                let path = format!("/t/{}/{}/{}", number % 27, number / 27 % 27, number / 729);
                take(&mut crowds, &path) == Standing::Alone
            })
            .count();
        assert_eq!(alone, NAMES as usize);
    }

    #[test]
    fn an_hour_later_it_begins_anew() {
        let mut crowds = Crowds::default();
        for number in 0..=BRANCHES {
            take(&mut crowds, &format!("/tmp/{number}"));
        }
        let later = BootTime(5 + HOUR.as_nanos() as u64);
        let exe = Arc::from("/bin/x");
        assert_eq!(
            crowds.take(&exe, "drift.new-write", "/tmp/later", later),
            Standing::Alone
        );
    }
}
