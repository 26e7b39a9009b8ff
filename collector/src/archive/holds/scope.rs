//! What a hold is on, and whether a segment has something of it.

use super::Hold;
use crate::audit::show::time;
use crate::audit::{Manifest, Outbox};
use norma_wire::Event;
use norma_wire::audit::{HoldScope, Record, record::Body};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What holds ask of a sealed segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its number.
    pub segment: u64,
    /// When its earliest and latest records were received, nanoseconds since 1970.
    pub time_ns: (u64, u64),
    /// Nodes of its events, and each with the namespaces of their containers.
    pub places: BTreeSet<(String, String)>,
    /// Holds that were placed in it.
    pub holds: BTreeSet<String>,
}

impl Facts {
    /// Of a segment with this manifest, before any of its records.
    pub fn of(manifest: &Manifest) -> Self {
        // What a manifest has of a node is its, whether or not an event can be read.
        let node = |outbox: &Outbox| (outbox.node.clone(), String::new());
        Self {
            segment: manifest.segment,
            time_ns: manifest.time_ns,
            places: manifest.outboxes.keys().map(node).collect(),
            holds: BTreeSet::new(),
        }
    }

    /// Takes a record into account.
    pub fn follow(&mut self, record: &Record) {
        match &record.body {
            Some(Body::Event(bytes)) => {
                let Ok(event) = Event::decode(bytes.clone()) else {
                    return;
                };
                let (Some(id), Some(container)) = (event.id, event.container) else {
                    return;
                };
                if !container.namespace.is_empty() {
                    self.places.insert((id.node, container.namespace));
                }
            }
            Some(Body::HoldPlaced(placed)) => {
                self.holds.insert(placed.id.clone());
            }
            _ => {}
        }
    }
}

/// Whether a segment has something that a hold is on.
///
/// A segment that has the record of the hold is covered as well: without it nobody could tell that the hold is.
pub fn covers(hold: &Hold, facts: &Facts) -> bool {
    if facts.holds.contains(&hold.id) {
        return true;
    }
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    hold.segment.is_none_or(|segment| segment == facts.segment)
        && hold.from_wall_ns.is_none_or(|from| facts.time_ns.1 >= from)
        && hold.to_wall_ns.is_none_or(|to| facts.time_ns.0 <= to)
        && ((hold.node.is_none() && hold.namespace.is_none())
            || facts
                .places
                .iter()
                .any(|(node, namespace)| is(&hold.node, node) && is(&hold.namespace, namespace)))
}

/// Whether a hold can be on this. What is meant to be on `everything` has to say so: nobody holds all by a slip.
///
/// # Errors
/// It cannot; why.
pub fn check(scope: &HoldScope, everything: bool) -> Result<(), &'static str> {
    let is_narrowed = *scope != HoldScope::default();
    if is_narrowed == everything {
        return Err(
            "say what to hold: a node, a namespace, a time from or to which, a segment, or else everything",
        );
    }
    if scope.to_wall_ns > 0 && scope.from_wall_ns > scope.to_wall_ns {
        return Err("it ends before it begins: the time from which on it holds is after the one up to which");
    }
    Ok(())
}

/// What a hold is on, in words.
pub fn scope(scope: Option<&HoldScope>) -> String {
    let Some(scope) = scope else {
        return "everything".to_owned();
    };
    let mut parts = Vec::new();
    if let Some(segment) = scope.segment {
        parts.push(format!("segment {segment}"));
    }
    if !scope.node.is_empty() {
        parts.push(format!("node {}", scope.node));
    }
    if !scope.namespace.is_empty() {
        parts.push(format!("namespace {}", scope.namespace));
    }
    if scope.from_wall_ns > 0 {
        parts.push(format!("from {}", time(scope.from_wall_ns)));
    }
    if scope.to_wall_ns > 0 {
        parts.push(format!("to {}", time(scope.to_wall_ns)));
    }
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold() -> Hold {
        Hold {
            id: "a".to_owned(),
            node: None,
            namespace: None,
            from_wall_ns: None,
            to_wall_ns: None,
            segment: None,
            reason: String::new(),
            who: String::new(),
            uid: 0,
            actor: String::new(),
            placed_wall_ns: 0,
        }
    }

    fn facts() -> Facts {
        let place = |node: &str, namespace: &str| (node.to_owned(), namespace.to_owned());
        Facts {
            segment: 3,
            time_ns: (100, 200),
            places: [place("one", "shop"), place("two", "bank"), place("two", "")].into(),
            holds: BTreeSet::new(),
        }
    }

    #[test]
    fn a_hold_covers_what_has_all_that_it_names_and_no_more() {
        let check = |expected: bool, change: &dyn Fn(&mut Hold)| {
            let mut hold = hold();
            change(&mut hold);
            assert_eq!(covers(&hold, &facts()), expected, "{hold:?}");
        };
        check(true, &|_| {});
        check(true, &|hold| hold.segment = Some(3));
        check(false, &|hold| hold.segment = Some(2));
        check(true, &|hold| hold.node = Some("two".to_owned()));
        check(false, &|hold| hold.node = Some("three".to_owned()));
        check(true, &|hold| hold.namespace = Some("shop".to_owned()));
        // Node and namespace of one event, not of two.
        check(false, &|hold| {
            hold.node = Some("two".to_owned());
            hold.namespace = Some("shop".to_owned());
        });
        check(true, &|hold| hold.from_wall_ns = Some(200));
        check(false, &|hold| hold.from_wall_ns = Some(201));
        check(true, &|hold| hold.to_wall_ns = Some(100));
        check(false, &|hold| hold.to_wall_ns = Some(99));
    }

    #[test]
    fn a_hold_says_what_it_is_on() {
        let none = HoldScope::default();
        assert!(check(&none, false).is_err());
        assert!(check(&none, true).is_ok());
        let first = HoldScope {
            segment: Some(0),
            ..none.clone()
        };
        assert!(check(&first, false).is_ok());
        assert!(check(&first, true).is_err());
        let times = |from_wall_ns, to_wall_ns| HoldScope {
            from_wall_ns,
            to_wall_ns,
            ..none.clone()
        };
        assert!(check(&times(5, 0), false).is_ok());
        assert!(check(&times(5, 5), false).is_ok());
        assert!(check(&times(6, 5), false).is_err());
    }

    #[test]
    fn the_segment_with_the_record_of_a_hold_is_held() {
        let mut facts = facts();
        facts.holds.insert("a".to_owned());
        let mut hold = hold();
        hold.segment = Some(9);
        assert!(covers(&hold, &facts));
    }
}
