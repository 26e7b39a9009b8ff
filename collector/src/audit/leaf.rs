//! What a record is in the tree of its segment.
//!
//! The entry of a record with an event has the event's SHA-256 in the event's place. Batch heads, which nodes sign, are
//! over the same hashes: an event is hashed once for both, and who has the hash alone can follow a proof.

use norma_tlog::Hash as Leaf;
use norma_wire::head;

/// Begins the entry of a record with an event. No payload begins so: zero is the key of no field.
const EVENT: u8 = 0;
/// Before the number of a record, its time and its event, as protobuf encodes the keys of these fields.
const NUMBER: u8 = 1 << 3;
const TIME: u8 = 2 << 3 | 1;
const BODY: u8 = 11 << 3 | 2;

/// Of a record that is a number, a time and an event, in this order, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Its number.
    pub index: u64,
    /// When it was received.
    pub received_wall_ns: u64,
    /// Where in the payload the event begins, which goes on to its end.
    event: usize,
}

/// The leaf of the record with this payload.
pub fn leaf(payload: &[u8]) -> Leaf {
    leaf_of(payload, &Parts::hashed(payload))
}

/// As [`leaf`], where the parts of the payload are known, with the hash of the event.
pub fn leaf_of(payload: &[u8], parts: &Option<(Parts, head::Hash)>) -> Leaf {
    match parts {
        Some((parts, event)) => {
            let mut message = Vec::new();
            parts.message(payload, event, &mut message);
            Leaf(head::hash(&message))
        }
        None => Leaf::leaf(payload),
    }
}

impl Parts {
    /// Of a payload that has this form. Its bytes alone decide, not what a decoder would make of others.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let (index, rest) = varint(payload.strip_prefix(&[NUMBER])?)?;
        let (time, rest) = rest.strip_prefix(&[TIME])?.split_first_chunk()?;
        let (length, event) = varint(rest.strip_prefix(&[BODY])?)?;
        (length == event.len() as u64).then_some(Self {
            index,
            received_wall_ns: u64::from_le_bytes(*time),
            event: payload.len() - event.len(),
        })
    }

    /// As [`Self::of`], with the hash of the event.
    pub fn hashed(payload: &[u8]) -> Option<(Self, head::Hash)> {
        let parts = Self::of(payload)?;
        Some((parts, head::hash(parts.event(payload))))
    }

    /// The event, of the payload that has these parts.
    pub fn event<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        &payload[self.event..]
    }

    /// Appends what is hashed for the leaf of the payload that has these parts, where the hash of the event is known.
    pub fn message(&self, payload: &[u8], event: &head::Hash, out: &mut Vec<u8>) {
        out.extend([Leaf::LEAF, EVENT]);
        out.extend_from_slice(&payload[..self.event]);
        out.extend_from_slice(event);
    }
}

/// Appends what is hashed for the leaf of a record that has not this form.
pub fn message(payload: &[u8], out: &mut Vec<u8>) {
    out.push(Leaf::LEAF);
    out.extend_from_slice(payload);
}

/// The varint at the beginning of `bytes`, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut rest = bytes;
    let value = prost::encoding::decode_varint(&mut rest).ok()?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_wire::audit::{Gap, Record, record::Body};
    use proptest::prelude::*;
    use prost::Message as _;

    fn record(index: u64, time: u64, event: &[u8]) -> Vec<u8> {
        let record = Record {
            index,
            received_wall_ns: time,
            body: Some(Body::Event(event.to_vec().into())),
        };
        record.encode_to_vec()
    }

    proptest! {
        #[test]
        fn every_record_with_an_event_has_parts(
            index in 1u64..,
            time in 1u64..,
            event in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let payload = record(index, time, &event);
            let parts = Parts::of(&payload).unwrap();
            prop_assert_eq!(parts.event(&payload), event);
            prop_assert_eq!((parts.index, parts.received_wall_ns), (index, time));
        }

        #[test]
        fn other_bytes_have_another_leaf(
            event in proptest::collection::vec(any::<u8>(), 0..300),
            place: proptest::sample::Index,
            flip in 1u8..,
        ) {
            let payload = record(7, 8, &event);
            let mut other = payload.clone();
            let place = place.index(other.len());
            other[place] ^= flip;
            prop_assert_ne!(leaf(&payload), leaf(&other));
        }

        #[test]
        fn no_bytes_are_too_many(payload in proptest::collection::vec(any::<u8>(), 0..80), index in 1u64..) {
            leaf(&payload);
            leaf(&[&record(index, 1, b"")[..], &payload].concat());
        }
    }

    /// As `sha256sum` gives them, by hand: docs/audit.md.
    #[test]
    fn a_leaf_is_what_other_tools_compute() {
        let payload = record(1, 2, b"a");
        let event = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let entry = format!("0000{}{event}", "08011102000000000000005a01");
        let entry: Vec<u8> = (0..entry.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&entry[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(leaf(&payload).0, head::hash(&entry));
    }

    #[test]
    fn what_is_no_event_or_has_another_form_is_hashed_as_it_is() {
        let gap = Record {
            index: 1,
            received_wall_ns: 2,
            body: Some(Body::Gap(Gap::default())),
        };
        let mut longer = record(1, 2, b"event");
        longer.extend([0x08, 5]);
        let mut shorter = record(1, 2, b"event");
        shorter.pop();
        let named = [&record(1, 2, b"event")[..13], &head::hash(b"event")[..]].concat();
        for payload in [gap.encode_to_vec(), longer, shorter, named] {
            assert_eq!(leaf(&payload), Leaf::leaf(&payload));
        }
    }
}
