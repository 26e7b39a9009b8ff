//! What a workload normally does.
//!
//! In the order in which data flows:
//!
//! - [`fact`]: a behaviour in the context of the executable that showed it.
//!
//! Everything here is pure: times are handed in, bytes are handed in, and the only files that are touched are
//! those whose paths are given to [`mod@file`].

pub mod fact;
#[cfg(test)]
mod testing;
