//! Events in words.

use crate::Event;

/// An event in one line.
pub fn sentence(event: &Event) -> String {
    crate::json::name::<crate::pb::Kind>(event.kind)
}
