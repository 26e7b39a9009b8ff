//! Signed batch heads: what nodes state of the events that they send.
//!
//! A head covers a range of sequences of one (node, epoch) by the digest of its events, names the head before it, and is
//! signed with the key of the node's certificate. The collector takes no batch whose head does not fit ([`claim`]) and
//! records the heads after the events that they cover, before it acknowledges these. The certificate is recorded once
//! for each key. From the log alone, [`check`] then shows that no event of a node was made up, changed or
//! left out by whoever kept the log.

mod authorities;
pub mod check;
pub mod claim;
pub mod key;
mod tips;

pub use claim::HeadError;
pub use tips::{Heads, OpenError};
