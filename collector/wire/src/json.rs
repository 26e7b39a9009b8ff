//! The JSON form of the model: field names as in the contract, enums by name in lower case without
//! their prefix, enum values that this version does not know as numbers.

use crate::{audit, pb};
use bytes::Bytes;
use prost::Message as _;
use serde::{Serialize, Serializer};

/// An enum of the contract by the name that people read: lower case, without the prefix of its type.
pub trait Named: TryFrom<i32> {
    /// Prefix that the contract puts before each value's name.
    const PREFIX: &'static str;
    /// The name in the contract.
    fn contract_name(&self) -> &'static str;
}

/// Name of an enum value, such as `exec` for `KIND_EXEC`; the number where this version does not know it.
pub fn name<E: Named>(value: i32) -> String {
    E::try_from(value).map_or_else(
        |_| value.to_string(),
        |known| {
            known
                .contract_name()
                .trim_start_matches(E::PREFIX)
                .to_ascii_lowercase()
        },
    )
}

fn serialize_name<E: Named, S: Serializer>(value: i32, serializer: S) -> Result<S::Ok, S::Error> {
    match E::try_from(value) {
        Ok(_) => serializer.serialize_str(&name::<E>(value)),
        Err(_) => serializer.serialize_i32(value),
    }
}

macro_rules! named {
    ($($function:ident, $type:ty, $prefix:literal;)*) => {$(
        impl Named for $type {
            const PREFIX: &'static str = $prefix;
            fn contract_name(&self) -> &'static str {
                self.as_str_name()
            }
        }

        pub(crate) fn $function<S: Serializer>(value: &i32, serializer: S) -> Result<S::Ok, S::Error> {
            serialize_name::<$type, S>(*value, serializer)
        }
    )*};
}

named! {
    kind, pb::Kind, "KIND_";
    identity, pb::IdentityState, "IDENTITY_STATE_";
    verdict, pb::VerdictKind, "VERDICT_KIND_";
    severity, pb::Severity, "SEVERITY_";
    action, pb::Action, "ACTION_";
    result, pb::ResponseResult, "RESPONSE_RESULT_";
    cause, pb::LossCause, "LOSS_CAUSE_";
    rejection, pb::RejectionReason, "REJECTION_REASON_";
    administration, audit::AdministrativeAct, "ADMINISTRATIVE_ACT_";
}

/// Bytes in lower-case hex.
pub(crate) fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&crate::text::Hex(bytes))
}

/// Several of them.
pub(crate) fn hex_list<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|bytes| crate::text::Hex(bytes).to_string()))
}

/// An encoded batch head as the head; as hex where it is none.
pub(crate) fn batch_head<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match pb::BatchHead::decode(bytes) {
        Ok(head) => head.serialize(serializer),
        Err(_) => hex(bytes, serializer),
    }
}

/// An encoded hand-over as the hand-over; as hex where it is none.
pub(crate) fn handover<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match pb::Handover::decode(bytes) {
        Ok(handover) => handover.serialize(serializer),
        Err(_) => hex(bytes, serializer),
    }
}

/// An encoded event as the event; as hex where it is none.
pub(crate) fn event<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    match pb::Event::decode(bytes.clone()) {
        Ok(event) => event.serialize(serializer),
        Err(_) => hex(bytes, serializer),
    }
}

/// Stands for a batch in JSON, whose events are opaque bytes.
#[derive(Serialize)]
pub(crate) struct BatchSize {
    events: usize,
}

impl From<pb::Batch> for BatchSize {
    fn from(batch: pb::Batch) -> Self {
        Self {
            events: batch.events.len(),
        }
    }
}
