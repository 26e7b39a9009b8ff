//! The tamper-evident audit log: the source of truth, and the queue that every sink reads.
//!
//! # Promises
//! - What [`AuditLog::append`] has answered is on stable storage: records are written, `fdatasync` has
//!   returned, and only then the answer is given. Appends that wait at the same time share one sync.
//! - An event of a (node, epoch) is stored at most once, in ascending sequence. What was not delivered
//!   before a later event was is stated by a gap record.
//! - A change, removal, insertion or swap of anything is found by [`verify`], which names file, offset and record, and
//!   says what is proven in spite of it. That holds against everybody who does not have the key of the checkpoints;
//!   against who has it, with a checkpoint that a witness, an agent or an auditor remembers.
//! - A checkpoint promises only what is on stable storage, and is never taken back.
//! - Whatever fails to be stored (disk full, I/O error) is reported to the one who asked, and cut back to the
//!   last good record; the writer goes on as soon as writing works again.
//!
//! # Format, version 3
//! A directory holds files `audit-<first index, 20 digits>.log`, a `.manifest` beside each but the newest, the folder
//! `tlog`, a `head` and a `lock`. A file is
//!
//! ```text
//! magic     16 bytes  "norma audit v03\n"
//! frame     repeated
//!   length   4 bytes  little endian, of the payload; 1 ..= 16 MiB
//!   crc32c   4 bytes  little endian, of length, payload and hash
//!   payload           norma.audit.v1.Record (proto/audit.proto)
//!   hash    32 bytes  SHA-256(hash of the record before ‖ leaf)
//! ```
//!
//! The leaf is that of the record in its segment's tree ([`leaf`]): SHA-256(0x00 ‖ entry), where the entry is the payload, or
//! of a record with an event 0x00 ‖ payload up to the event ‖ SHA-256(event).
//! The hash before the first record of all is 32 zero bytes. Record indexes start at 1 and have no gaps.
//! The first record of each file is a `FileHeader` with the hash before it and the watermarks (highest
//! sequence stored of each node and epoch), so that the newest file alone is enough to go on from. Within
//! one (node, epoch) each event or rejection takes the watermark + 1; a gap moves the watermark.
//!
//! `head` is one line, `<index>:<hash in hex>`, replaced atomically at most once a second, after the record
//! that it names became durable. It may lag; it is never ahead.
//!
//! # Segments, manifests, checkpoints
//! A file that was followed by another (by size or age) is a sealed segment. Its records are the leaves
//! of an RFC 6962 tree; its manifest ([`manifest`]) has the root, the digest of the file, times, and what is there of
//! each outbox. The manifest is named by an entry of a transparency log in `tlog/` ([`tlog`], [`entry`]; C2SP
//! tlog-tiles), whose checkpoints are signed at each seal and at an interval, which also binds the open segment.
//! docs/audit.md says how somebody else checks all of that.
//!
//! # Recovery
//! A crash can leave a torn end: frames that were never acknowledged. On start, a defect in the newest
//! file is taken for that, cut off and recorded, only where it is not covered by `head`, no whole frame
//! follows it, and what is there is not a whole frame itself. Everything else is damage: the collector refuses
//! to start, names file, offset and record, and changes nothing.

mod ahead;
pub(crate) mod by_outbox;
mod entry;
pub mod export;
mod format;
mod frames;
pub mod gaps;
mod head;
pub mod inventory;
pub mod key;
pub(crate) mod lanes;
mod leaf;
mod lock;
mod log;
mod manifest;
mod promise;
pub mod prove;
mod ranges;
mod read;
mod recover;
mod rotation;
mod scan;
mod sealer;
mod segment;
pub mod show;
pub(crate) mod shredding;
mod summary;
pub(crate) mod text;
mod tlog;
pub mod together;
pub(crate) mod tombstone;
pub mod verify;
pub mod walk;
mod watermark;
mod writer;

pub(crate) use format::{Frame, push_frame};
pub use format::{Hash, MAGIC, OVERHEAD, PREFIX};
pub(crate) use frames::{Place, event_hash};
pub use head::Head;
pub use log::{Appended, Arrival, AuditLog, AuditSettings, Beside, Content, StorageError, Writing, open};
pub(crate) use manifest::Manifest;
pub use promise::{Conflict, Promises};
pub use read::{Follower, ReadError};
pub use recover::OpenError;
pub use rotation::RotationError;
pub use scan::Defect;
pub(crate) use scan::Scan;
pub use sealer::{SealError, Signing};
pub(crate) use segment::Segment;
pub(crate) use summary::Digested;
pub use watermark::Outbox;
pub use writer::WriterSettings;

/// What bytes say as a manifest or an entry of the tlog, written again: the same bytes, or `None` where they are
/// neither. Total.
pub fn reread(bytes: &[u8]) -> Option<String> {
    let manifest = manifest::Manifest::parse(bytes).map(|manifest| manifest.to_string());
    manifest
        .or_else(|_| entry::Entry::parse(bytes).map(|entry| entry.to_string()))
        .ok()
}

/// Walks bytes as the audit file that begins with record `first_index`: how many records are proven, and what
/// is wrong with the next one, if anything. Total, and bounded in memory by the input.
pub fn walk(bytes: &[u8], first_index: u64) -> (u64, Option<Defect>) {
    let mut scan = scan::Scan::new(frames::Plain::new(bytes), bytes.len() as u64, first_index, None);
    let mut proven = 0;
    loop {
        match scan.next() {
            Ok(Some(_)) => proven += 1,
            Ok(None) => return (proven, None),
            Err(defect) => return (proven, Some(defect)),
        }
    }
}
