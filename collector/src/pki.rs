//! A small certificate authority, and what certificates say about who is who.
//!
//! A node is known by the one URI in its certificate, `spiffe://TRUSTDOMAIN/node/NAME`, as an X.509 SVID
//! (SPIFFE X.509-SVID) has it: one URI, not a CA, digital signature, both extended key usages.

mod authority;
mod issue;
mod node;
mod show;

pub use authority::{Authority, PkiError, TrustDomain};
pub use issue::{NODE_DAYS, SERVER_DAYS, ServerNames, issue_node, issue_server};
pub use node::{IdentityError, NodeName, node_of};
pub use show::{CertificateFacts, show};
