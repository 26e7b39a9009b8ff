//! Witnesses (C2SP tlog-witness): others that see each checkpoint of an audit log and sign that it goes on from what
//! they saw before.
//!
//! Whoever has a collector's host has its key and can sign another history. A witness on another host, under other
//! people's hands, cannot be made to cosign that: [`memory`] and [`serve`] are such a witness, [`ask`] is what a
//! collector does to get cosignatures. A log works without; what it lacks is told by metrics of the log: records of
//! missing quorums, and `audit verify` with a trust policy that demands one.
//!
//! TLS is the default. What is exchanged is public and signed on both sides, so that plain HTTP within a trusted network
//! loses nothing but privacy of the log's name and size, and the protection of the witness from strangers' requests;
//! it has to be asked for (`--plain`, a URL with `http://`).

pub mod ask;
mod http;
pub mod memory;
pub mod serve;
pub(crate) mod tls;

pub use memory::{Answer, Memory, MemoryError};
pub use tls::TlsError;
