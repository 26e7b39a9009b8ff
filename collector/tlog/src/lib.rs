//! Transparency logs as C2SP specifies them, for both ends: whoever writes a log, and whoever checks one.
//!
//! - [`hash`], [`tree`]: the Merkle tree of RFC 6962 §2.1 with its proofs
//! - [`tile`]: how a tree lies in files (c2sp.org/tlog-tiles)
//! - [`note`], [`key`], [`public`]: signed text (c2sp.org/signed-note) and cosignatures (c2sp.org/tlog-cosignature)
//! - [`rotation`]: that another key follows a log's key
//! - [`checkpoint`]: a signed head of a tree (c2sp.org/tlog-checkpoint)
//! - [`policy`]: whose signatures count (c2sp.org/tlog-policy)
//! - [`proof`]: an entry with all that proves it (c2sp.org/tlog-proof)
//! - [`submission`]: what a log asks of a witness (c2sp.org/tlog-witness)
//!
//! No I/O, and total: whatever bytes come, the answer is a value or an error that says what is wrong. Hashing is
//! SHA-256, as those formats demand; signatures are Ed25519 (RFC 8032) or ECDSA by the one cryptographic library.

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod hash;
pub mod key;
pub mod note;
pub mod policy;
pub mod proof;
pub mod public;
pub mod rotation;
pub mod submission;
pub mod tile;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use hash::Hash;
pub use key::{SigningKey, VerifierKey};
pub use note::Note;
pub use policy::Policy;
pub use public::PublicKey;
pub use rotation::Rotation;
