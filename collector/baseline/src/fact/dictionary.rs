//! Facts by number. Each text is stored once and each fact is 20 bytes, so that thousands of facts of hundreds
//! of workloads fit beside a workload without being noticed.

use super::Fact;
use crate::room;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::BuildHasher as _;

/// Number of a fact in its dictionary. Numbers are given from 0 in the order of insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FactId(u32);

impl FactId {
    /// As an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

/// No text.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Row {
    variant: u8,
    detail: u8,
    port: u16,
    texts: [u32; 4],
}

/// A set of facts that only grows.
#[derive(Clone, Default)]
pub struct Dictionary {
    /// All texts, end to end.
    bytes: String,
    /// Where each text ends.
    ends: Vec<u32>,
    texts: HashTable<u32>,
    rows: Vec<Row>,
    facts: HashTable<u32>,
    hashing: RandomState,
}

impl Dictionary {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many facts.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// It holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.capacity()
            + self.ends.capacity() * size_of::<u32>()
            + self.rows.capacity() * size_of::<Row>()
            + self.texts.allocation_size()
            + self.facts.allocation_size()
    }

    /// Bytes that texts and rows take when written; what limits are set in, as it does not depend on chance.
    #[must_use]
    pub const fn content_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<u32>() + self.rows.len() * size_of::<Row>()
    }

    /// The number of a fact, if it is here.
    pub fn find<S: AsRef<str>>(&self, fact: &Fact<S>) -> Option<FactId> {
        let view = fact.view();
        let flat = view.flatten();
        let mut texts = [NONE; 4];
        for (id, text) in texts.iter_mut().zip(&flat.texts) {
            if let Some(text) = text {
                *id = self.find_text(text)?;
            }
        }
        self.find_row(&Row {
            variant: flat.variant,
            detail: flat.detail,
            port: flat.port,
            texts,
        })
        .map(FactId)
    }

    /// The number of a fact, which is added if it is not here yet.
    pub fn insert<S: AsRef<str>>(&mut self, fact: &Fact<S>) -> FactId {
        let view = fact.view();
        let flat = view.flatten();
        let mut texts = [NONE; 4];
        for (id, text) in texts.iter_mut().zip(&flat.texts) {
            if let Some(text) = text {
                *id = self.insert_text(text);
            }
        }
        let row = Row {
            variant: flat.variant,
            detail: flat.detail,
            port: flat.port,
            texts,
        };
        FactId(self.insert_row(row))
    }

    /// The fact of that number; `None` for a number that this dictionary did not give.
    #[must_use]
    pub fn get(&self, id: FactId) -> Option<Fact<&str>> {
        let row = self.rows.get(id.index())?;
        let text = |id: u32| (id != NONE).then(|| self.text(id)).flatten();
        Fact::of_flat(row.variant, row.detail, row.port, row.texts.map(text))
    }

    /// All facts in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (FactId, Fact<&str>)> {
        (0..self.rows.len())
            .map(FactId::from_index)
            .filter_map(|id| Some((id, self.get(id)?)))
    }

    fn text(&self, id: u32) -> Option<&str> {
        let end = *self.ends.get(id as usize)? as usize;
        let start = match id {
            0 => 0,
            id => *self.ends.get(id as usize - 1)? as usize,
        };
        self.bytes.get(start..end)
    }

    fn find_text(&self, text: &str) -> Option<u32> {
        let hash = self.hashing.hash_one(text);
        self.texts.find(hash, |id| self.text(*id) == Some(text)).copied()
    }

    fn insert_text(&mut self, text: &str) -> u32 {
        if let Some(id) = self.find_text(text) {
            return id;
        }
        let id = self.ends.len() as u32;
        self.bytes.reserve_exact(room::for_more(
            self.bytes.len(),
            self.bytes.capacity(),
            text.len(),
        ));
        self.bytes.push_str(text);
        room::push(&mut self.ends, self.bytes.len() as u32);
        let (bytes, ends, hashing) = (&self.bytes, &self.ends, &self.hashing);
        self.texts.insert_unique(hashing.hash_one(text), id, |id| {
            let at = *id as usize;
            let start = at.checked_sub(1).map_or(0, |before| ends[before] as usize);
            hashing.hash_one(&bytes[start..ends[at] as usize])
        });
        id
    }

    fn find_row(&self, row: &Row) -> Option<u32> {
        let hash = self.hashing.hash_one(row);
        self.facts
            .find(hash, |id| self.rows.get(*id as usize) == Some(row))
            .copied()
    }

    fn insert_row(&mut self, row: Row) -> u32 {
        if let Some(id) = self.find_row(&row) {
            return id;
        }
        let id = self.rows.len() as u32;
        room::push(&mut self.rows, row);
        let (rows, hashing) = (&self.rows, &self.hashing);
        self.facts.insert_unique(hashing.hash_one(row), id, |id| {
            hashing.hash_one(rows[*id as usize])
        });
        id
    }
}

impl fmt::Debug for Dictionary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set()
            .entries(self.iter().map(|(_, fact)| fact))
            .finish()
    }
}

/// What a written dictionary can be wrong in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DictionaryError {
    /// A row refers to a text that is not there, or is no fact.
    #[error("row {0} of the dictionary is no fact")]
    NoFact(usize),
    /// A row is there twice, so that two numbers would stand for one fact.
    #[error("row {0} of the dictionary is there twice")]
    Twice(usize),
    /// More texts or bytes than 32 bits can number.
    #[error("the dictionary's texts are too large")]
    TooLarge,
}

#[derive(Serialize)]
struct Written<'a> {
    texts: Vec<&'a str>,
    rows: &'a [Row],
}

#[derive(Deserialize)]
struct Read {
    texts: Vec<String>,
    rows: Vec<Row>,
}

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            texts: (0..self.ends.len() as u32)
                .filter_map(|id| self.text(id))
                .collect(),
            rows: &self.rows,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Dictionary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Read::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<Read> for Dictionary {
    type Error = DictionaryError;

    fn try_from(read: Read) -> Result<Self, DictionaryError> {
        let total: usize = read.texts.iter().map(String::len).sum();
        if total >= NONE as usize || read.texts.len() >= NONE as usize || read.rows.len() >= NONE as usize {
            return Err(DictionaryError::TooLarge);
        }
        let mut dictionary = Self::new();
        dictionary.bytes.reserve_exact(total);
        dictionary.rows.reserve_exact(read.rows.len());
        // A text that is there twice is taken once: rows are read through the numbers that are given here.
        let ids: Vec<u32> = read
            .texts
            .iter()
            .map(|text| dictionary.insert_text(text))
            .collect();
        for (at, mut row) in read.rows.into_iter().enumerate() {
            for text in &mut row.texts {
                if *text != NONE {
                    *text = *ids.get(*text as usize).ok_or(DictionaryError::NoFact(at))?;
                }
            }
            if dictionary.insert_row(row) as usize != at {
                return Err(DictionaryError::Twice(at));
            }
            let texts = row
                .texts
                .map(|id| (id != NONE).then(|| dictionary.text(id)).flatten());
            let fact = Fact::of_flat(row.variant, row.detail, row.port, texts);
            if !fact.is_some_and(|fact| fact.is_flat(row.detail, row.port, texts)) {
                return Err(DictionaryError::NoFact(at));
            }
        }
        Ok(dictionary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::any_fact;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(facts in proptest::collection::vec(any_fact(), 0..60)) {
            let mut dictionary = Dictionary::new();
            let ids: Vec<_> = facts.iter().map(|fact| dictionary.insert(fact)).collect();
            let written = rmp_serde::to_vec(&dictionary).unwrap();
            let read: Dictionary = rmp_serde::from_slice(&written).unwrap();
            for (fact, id) in facts.iter().zip(ids) {
                prop_assert_eq!(dictionary.find(fact), Some(id));
                prop_assert_eq!(&dictionary.get(id).unwrap().owned(), fact);
                prop_assert_eq!(&read.get(id).unwrap().owned(), fact);
            }
            let distinct: std::collections::BTreeSet<_> = facts.iter().collect();
            prop_assert_eq!(dictionary.len(), distinct.len());
        }
    }

    #[test]
    fn a_row_that_is_no_fact_is_refused() {
        let row = |variant, text| Row {
            variant,
            detail: 0,
            port: 0,
            texts: [0, text, NONE, NONE],
        };
        let read = |rows| {
            Dictionary::try_from(Read {
                texts: vec!["/bin/a".to_owned(), "b".to_owned()],
                rows,
            })
            .err()
        };
        assert_eq!(read(vec![row(1, 1)]), None);
        assert_eq!(read(vec![row(1, 1), row(1, 2)]), Some(DictionaryError::NoFact(1)));
        assert_eq!(read(vec![row(99, 1)]), Some(DictionaryError::NoFact(0)));
        assert_eq!(read(vec![row(1, 1), row(1, 1)]), Some(DictionaryError::Twice(1)));
    }
}
