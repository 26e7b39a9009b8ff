//! What a workload normally does.
//!
//! In the order in which data flows:
//!
//! - [`fact`]: a behaviour in the context of the executable that showed it.
//! - [`mod@never`]: what is never learned, and why.
//! - [`evidence`]: who saw what how often; merges without order and without counting twice.
//! - [`estimate`]: how much was not seen yet, and whether a field is ready to be judged.
//! - [`pattern`]: typed wildcards for names that are another one each time.
//! - [`overlay`]: what people decided, apart from what was observed; signed as [`signature`] says.
//! - [`norm`]: what is expected, compiled from all of these; judges a fact and says how unusual it is.
//! - [`revision`]: what a new revision does differently, to be decided on as one.
//! - [`export`]: norms in the forms of others.
//!
//! All of it has a file form, [`mod@file`], and can be carried by hand as a signed [`bundle`].
//!
//! Everything here is pure: times and bytes are handed in, and the only files that are touched are those whose
//! paths are given.

pub mod bundle;
pub mod estimate;
pub mod evidence;
pub mod export;
pub mod fact;
pub mod file;
pub mod never;
pub mod norm;
pub mod overlay;
pub mod pattern;
pub mod revision;
pub mod signature;
#[cfg(test)]
mod testing;
mod time;

pub use time::Timestamp;
