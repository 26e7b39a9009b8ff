//! What agent and collector say to each other.
//!
//! [`pb`] is the protobuf contract (`proto/norma.proto`) and, with [`Event`], the normalized event model.
//! [`json`] gives its JSON form, [`describe`] its form in words.
//!
//! The encoded bytes of an event are kept as they came wherever an event is stored or passed on, so that
//! fields and enum values of a newer version survive an older program.

pub mod describe;
pub mod json;
pub mod text;

/// Types generated from the contract.
#[expect(missing_docs, clippy::all, reason = "generated; documented in the .proto file")]
pub mod pb {
    tonic::include_proto!("norma.v1");
}

pub use pb::Event;
pub use pb::event::Detail;
