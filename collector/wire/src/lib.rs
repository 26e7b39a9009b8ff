//! What agent and collector say to each other.
//!
//! [`pb`] is the protobuf contract (`proto/norma.proto`) and, with [`Event`], the normalized event model.
//! [`json`] gives its JSON form, [`describe`] its form in words. [`head`] is what nodes sign. [`audit`] is what the collector's audit
//! log holds (`proto/audit.proto`).
//!
//! The encoded bytes of an event are kept as they came wherever an event is stored or passed on, so that
//! fields and enum values of a newer version survive an older program.

pub mod describe;
pub mod head;
pub mod id;
pub mod json;
pub mod text;

/// Types generated from the contracts, nested as their packages are.
#[expect(
    missing_docs,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    reason = "generated; documented in the .proto files"
)]
mod norma {
    pub mod v1 {
        tonic::include_proto!("norma.v1");
    }
    pub mod audit {
        pub mod v1 {
            tonic::include_proto!("norma.audit.v1");
        }
    }
    pub mod api {
        pub mod v1 {
            tonic::include_proto!("norma.api.v1");
        }
    }
}

pub use norma::api::v1 as api;
pub use norma::audit::v1 as audit;
pub use norma::v1 as pb;
pub use pb::Event;
pub use pb::event::Detail;
