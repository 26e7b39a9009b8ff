//! The contract between the kernel programs and the agent.
//!
//! Everything that crosses the kernel boundary is defined here and nowhere else: records of the event
//! ring, keys and values of the maps, and the read-only globals handed in at load time. The types are
//! integers and byte arrays only, without padding, so that every bit pattern is valid on both sides;
//! the derives of `zerocopy` turn a violation into a compile error on both sides.
//!
//! A record is a [`Header`], then the fixed body of its kind, then the variable tails that the body
//! gives the lengths of, in the order of its `*_len` fields. Integers are in native byte order except
//! where a field says otherwise. Only used bytes are emitted: [`Header::len`] is the length of the whole.
#![no_std]

mod act;
mod control;
pub mod fixup;
mod known;
mod offsets;
mod record;
mod socket;

pub use act::*;
pub use control::*;
pub use known::*;
pub use offsets::*;
pub use record::*;
pub use socket::*;
