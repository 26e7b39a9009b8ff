//! An event as it arrives.

use norma_collector::audit::{Arrival, Content};
use norma_wire::Event;
use norma_wire::pb::EventId;
use prost::Message as _;

/// The event of this sequence, with so many bytes that say nothing.
pub fn arrival(sequence: u64, padding: usize) -> Arrival {
    let id = Some(EventId {
        node: "worker-1".into(),
        epoch: 5,
        sequence,
    });
    let mut event = Event {
        id,
        kind: 1,
        ..Event::default()
    };
    event.process.get_or_insert_default().exe = "x".repeat(padding);
    Arrival {
        sequence,
        content: Content::Event(event.encode_to_vec().into()),
    }
}
