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
//! - [`decisions`]: the overlay that is in force, in a file.
//! - [`norm`]: what is expected, compiled from all of these; judges a fact and says how unusual it is.
//! - [`revision`]: what a new revision does differently, to be decided on as one.
//! - [`export`]: norms in the forms of others.
//!
//! All of it has a file form, [`mod@file`], and can be carried by hand as a signed [`bundle`].
//!
//! Everything here is pure: times and bytes are handed in, and the only files that are touched are those whose
//! paths are given.
//!
//! ```
//! use norma_baseline::Timestamp;
//! use norma_baseline::estimate::{Criteria, Settled};
//! use norma_baseline::evidence::{Evidence, Recorder, SourceId, Start, Tuning, Version};
//! use norma_baseline::fact::{Access, Fact};
//! use norma_baseline::never::{Circumstances, Never};
//! use norma_baseline::norm::{Inputs, Membership};
//! use norma_baseline::overlay::{Overlay, Subject};
//! use norma_baseline::pattern::Unprotected;
//!
//! # fn main() -> Result<(), Never> {
//! // On each node: record what may be learned, and tell what is new.
//! let now = Timestamp::from_unix(1_800_000_000);
//! let source = SourceId { node: "node-1".into(), generation: 0x5eed };
//! let mut recorder = Recorder::open(None, source, Tuning::default(), now);
//! recorder.container_started("container-1", Start::Witnessed);
//! let reads = Fact::File { exe: "/usr/sbin/service", path: "/etc/service.conf", access: Access::Read };
//! let leave = Circumstances::default().learnable()?;
//! recorder.observe(&reads, "container-1", leave, now);
//! recorder.advance(now);
//! let (delta, _next) = recorder.delta(Version::START);
//!
//! // Where all nodes' evidence comes together: merge, and compile what is expected.
//! let mut evidence = Evidence::new();
//! evidence.merge(&delta);
//! let norm = Inputs {
//!     subject: &Subject { workload: "shop/deployment/web/app".into(), revision: "sha256:1".into() },
//!     evidence: &evidence,
//!     predecessor: None,
//!     overlay: &Overlay::new(),
//!     settled: &Settled::default(),
//!     replicas: 1,
//!     criteria: &Criteria::default(),
//!     protection: &Unprotected,
//!     facts_max: 10_000,
//! }
//! .compile();
//!
//! // On each node again: hold what happens against it. After one second, nothing can be said yet.
//! let strange = Fact::File { exe: "/usr/sbin/service", path: "/etc/shadow", access: Access::Read };
//! assert!(matches!(norm.judge(&reads, &Unprotected), Membership::Expected(_)));
//! assert_eq!(norm.judge(&strange, &Unprotected), Membership::NotReady);
//! # Ok(())
//! # }
//! ```

pub mod bundle;
pub mod decisions;
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
pub mod room;
pub mod signature;
#[cfg(test)]
mod testing;
mod time;

pub use time::Timestamp;
