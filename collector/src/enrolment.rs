//! Certificates for nodes that ask: with a one-time token for the first, over their own identity for the next.
//!
//! The collector needs the key of an authority for that, so it is off unless `enrolment` is configured. What a request
//! says of names is not looked at: a certificate names the node of the token, or of the one that asks. Each
//! certificate that is issued is an audit record before it is given out, and so is each request that is refused.

mod issue;
mod serve;
pub mod token;

pub use issue::{IssueError, Issuer};
pub use serve::{EnrolmentServer, Offer, RenewalService, serve};
