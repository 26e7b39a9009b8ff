//! A value for each outbox.
//!
//! Records of one outbox lie together in a log, and names of nodes begin alike: comparing with the outbox that was looked
//! up last costs a fifth of a walk down a tree of names.

use super::watermark::Outbox;
use std::collections::BTreeMap;

/// Values by outbox.
#[derive(Clone, Debug)]
pub struct ByOutbox<V> {
    values: Vec<(Outbox, V)>,
    places: BTreeMap<Outbox, usize>,
    /// Which of the values was looked up last.
    last: usize,
}

impl<V> ByOutbox<V> {
    /// That of `outbox`.
    pub fn get(&self, outbox: &Outbox) -> Option<&V> {
        let place = self.places.get(outbox)?;
        Some(&self.values[*place].1)
    }

    /// That of `outbox`, to be changed.
    pub fn get_mut(&mut self, outbox: &Outbox) -> Option<&mut V> {
        let is_last = self.values.get(self.last).is_some_and(|(last, _)| last == outbox);
        if !is_last {
            self.last = *self.places.get(outbox)?;
        }
        Some(&mut self.values[self.last].1)
    }

    /// That of `outbox`, which is `new` where there is none yet.
    pub fn get_or_insert_with(&mut self, outbox: &Outbox, new: impl FnOnce() -> V) -> &mut V {
        if self.get_mut(outbox).is_none() {
            self.last = self.values.len();
            self.places.insert(outbox.clone(), self.last);
            self.values.push((outbox.clone(), new()));
        }
        &mut self.values[self.last].1
    }

    /// Gives `outbox` this value.
    pub fn insert(&mut self, outbox: Outbox, value: V) {
        match self.get_mut(&outbox) {
            Some(known) => *known = value,
            None => {
                self.places.insert(outbox.clone(), self.values.len());
                self.values.push((outbox, value));
            }
        }
    }

    /// All, in the order of the outboxes.
    pub fn iter(&self) -> impl Iterator<Item = (&Outbox, &V)> {
        self.places
            .iter()
            .map(|(outbox, place)| (outbox, &self.values[*place].1))
    }

    /// All, in the order of the outboxes.
    pub fn into_sorted(self) -> Vec<(Outbox, V)> {
        let mut values = self.values;
        values.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        values
    }
}

impl<V> Default for ByOutbox<V> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            places: BTreeMap::new(),
            last: 0,
        }
    }
}

impl<V: PartialEq> PartialEq for ByOutbox<V> {
    /// Whether both have the same values for the same outboxes.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for ByOutbox<V> {}

impl<V> Extend<(Outbox, V)> for ByOutbox<V> {
    fn extend<I: IntoIterator<Item = (Outbox, V)>>(&mut self, values: I) {
        for (outbox, value) in values {
            self.insert(outbox, value);
        }
    }
}

impl<V> FromIterator<(Outbox, V)> for ByOutbox<V> {
    fn from_iter<I: IntoIterator<Item = (Outbox, V)>>(values: I) -> Self {
        let mut all = Self::default();
        all.extend(values);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(writes in proptest::collection::vec((0..4u8, 0..3u64, any::<u8>(), any::<bool>()), 0..60)) {
            let mut map = BTreeMap::new();
            let mut found = ByOutbox::default();
            for (node, epoch, value, replaces) in writes {
                let outbox = Outbox::new(&format!("n{node}"), epoch);
                prop_assert_eq!(found.get_mut(&outbox).copied(), map.get(&outbox).copied());
                if replaces {
                    found.insert(outbox.clone(), value);
                    map.insert(outbox.clone(), value);
                } else {
                    prop_assert_eq!(
                        *found.get_or_insert_with(&outbox, || value),
                        *map.entry(outbox.clone()).or_insert(value)
                    );
                }
                prop_assert_eq!(found.get(&outbox), map.get(&outbox));
            }
            prop_assert!(found.iter().eq(map.iter()));
            prop_assert!(found == map.iter().rev().map(|(outbox, value)| (outbox.clone(), *value)).collect());
            prop_assert_eq!(found.into_sorted(), map.into_iter().collect::<Vec<_>>());
        }
    }
}
