//! A small certificate authority, and what certificates say about who is who.
//!
//! Who connects is known by the one URI in the certificate, `spiffe://TRUSTDOMAIN/ROLE/NAME`, as an X.509 SVID
//! (SPIFFE X.509-SVID) has it: one URI, not a CA, digital signature, both extended key usages. The role is `node`,
//! `operator` or `auditor`, and each may do its own things only.

mod authority;
mod crl;
mod issue;
mod node;
mod show;

pub use authority::{Authority, PkiError, TrustDomain};
pub use crl::{CRL_DAYS, Reason, Serial, publish, revoke};
pub use issue::{NODE_DAYS, SERVER_DAYS, ServerNames, certify_node, issue_node, issue_person, issue_server};
pub use node::{IdentityError, NodeName, Person, Principal, Role, node_of, principal_of};
pub use show::{CertificateFacts, show};
