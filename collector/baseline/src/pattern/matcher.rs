//! Patterns compiled into a trie: a text is matched by one walk from its first segment to its last.

use super::Kind;
use super::template::{Pattern, Segment};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

/// Nodes that are looked at for one text. Templates of a directory hardly ever overlap, and then the walk takes
/// as many steps as the text has segments; a text for which it takes this many is not matched.
const STEPS_MAX: usize = 2_000;

/// A set of patterns.
#[derive(Clone, Debug)]
pub struct Matcher<K> {
    nodes: Vec<Node>,
    patterns: Vec<Arc<str>>,
    kind: PhantomData<K>,
}

impl<K> Default for Matcher<K> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            patterns: Vec::new(),
            kind: PhantomData,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Number of the pattern that ends here.
    ends: Option<usize>,
    literals: BTreeMap<Box<str>, usize>,
    templates: Vec<(Segment, usize)>,
}

impl<K: Kind> Matcher<K> {
    /// Of patterns.
    #[must_use]
    pub fn compile(patterns: BTreeSet<Pattern<K>>) -> Self {
        let mut matcher = Self::default();
        for pattern in patterns {
            let mut at = matcher.root();
            for segment in pattern.segments() {
                at = matcher.child(at, segment);
            }
            matcher.nodes[at].ends.get_or_insert(matcher.patterns.len());
            matcher.patterns.push(Arc::from(pattern.to_string()));
        }
        matcher
    }

    /// The pattern that stands for a text.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&Arc<str>> {
        if self.nodes.is_empty() {
            return None;
        }
        let segments = K::segments(text)?;
        let mut steps = 0;
        let found = self.walk(0, &segments, &mut steps)?;
        self.patterns.get(found)
    }

    /// There are no patterns.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns in order.
    pub fn patterns(&self) -> impl Iterator<Item = &Arc<str>> {
        self.patterns.iter()
    }

    fn walk(&self, at: usize, segments: &[&str], steps: &mut usize) -> Option<usize> {
        *steps += 1;
        if *steps > STEPS_MAX {
            return None;
        }
        let node = self.nodes.get(at)?;
        let Some((first, rest)) = segments.split_first() else {
            return node.ends;
        };
        if let Some(next) = node.literals.get(*first)
            && let Some(found) = self.walk(*next, rest, steps)
        {
            return Some(found);
        }
        node.templates
            .iter()
            .filter(|(template, _)| template.matches(first))
            .find_map(|(_, next)| self.walk(*next, rest, steps))
    }

    fn root(&mut self) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        0
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let found = match segment.literal() {
            Some(literal) => *node.literals.entry(Box::from(literal)).or_insert(next),
            None => match node.templates.iter().find(|(template, _)| template == segment) {
                Some((_, found)) => *found,
                None => {
                    node.templates.push((segment.clone(), next));
                    next
                }
            },
        };
        if found == next {
            self.nodes.push(Node::default());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::PathPattern;
    use super::*;

    fn matcher(patterns: &[&str]) -> Matcher<super::super::Path> {
        Matcher::compile(
            patterns
                .iter()
                .map(|text| text.parse::<PathPattern>().unwrap())
                .collect(),
        )
    }

    #[test]
    fn the_whole_path_has_to_match() {
        let matcher = matcher(&[
            "/proc/<int>/stat",
            "/proc/<int>/task/<int>/stat",
            "/proc/self<int>/x",
        ]);
        let find = |path| matcher.find(path).map(AsRef::as_ref);
        assert_eq!(find("/proc/12/stat"), Some("/proc/<int>/stat"));
        assert_eq!(find("/proc/12/task/13/stat"), Some("/proc/<int>/task/<int>/stat"));
        for path in [
            "/proc/12",
            "/proc/12/stat/x",
            "/proc/x/stat",
            "/proc/12/environ",
            "proc/12/stat",
            "/proc//stat",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn a_dead_end_is_walked_back_from() {
        let matcher = matcher(&["/a/1/<int>/x", "/a/<int>/2/y"]);
        assert!(matcher.find("/a/1/2/x").is_some());
        assert!(matcher.find("/a/1/2/y").is_some());
    }
}
