//! The collector from outside: the real program, real TLS, a real syslog receiver; a small client plays the
//! agent.

#[path = "collector/agent.rs"]
mod agent;
#[path = "collector/api.rs"]
mod api;
#[path = "collector/archive.rs"]
mod archive;
#[path = "collector/archive_boundaries.rs"]
mod archive_boundaries;
#[path = "collector/archive_encrypted.rs"]
mod archive_encrypted;
#[path = "collector/archive_expiry.rs"]
mod archive_expiry;
#[path = "collector/archive_store.rs"]
mod archive_store;
#[path = "collector/audit_outsider.rs"]
mod audit_outsider;
#[path = "collector/audit_promises.rs"]
mod audit_promises;
#[path = "collector/audit_together.rs"]
mod audit_together;
#[path = "collector/audit_witness.rs"]
mod audit_witness;
#[path = "collector/baselines.rs"]
mod baselines;
#[path = "collector/boundaries.rs"]
mod boundaries;
#[path = "collector/crash.rs"]
mod crash;
#[path = "collector/delivery.rs"]
mod delivery;
#[path = "collector/disk.rs"]
mod disk;
#[path = "collector/enrolment.rs"]
mod enrolment;
#[path = "collector/evidence.rs"]
mod evidence;
#[path = "collector/failover.rs"]
mod failover;
#[path = "collector/faults.rs"]
mod faults;
#[path = "collector/heads.rs"]
mod heads;
#[path = "collector/limits.rs"]
mod limits;
#[path = "collector/network.rs"]
mod network;
#[path = "collector/node.rs"]
mod node;
#[path = "collector/refusal.rs"]
mod refusal;
#[path = "collector/reload.rs"]
mod reload;
#[path = "collector/revocation.rs"]
mod revocation;
#[path = "collector/rotation.rs"]
mod rotation;
#[path = "collector/shred_boundaries.rs"]
mod shred_boundaries;
#[path = "collector/siem.rs"]
mod siem;
#[path = "collector/signer.rs"]
mod signer;
#[path = "collector/stage.rs"]
mod stage;
#[path = "collector/token.rs"]
mod token;
#[path = "collector/token_archive.rs"]
mod token_archive;
