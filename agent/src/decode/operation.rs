//! Operations on files, privileges and the host.

use super::DecodeError;
use super::path::kernel_path;
use super::tail::Tail;
use crate::observation::{BootTime, CgroupId, FileId, Name, Op, Operation, Outcome, ProcessKey, Target};
use norma_abi::{
    ACT_AT_DESCRIPTOR, ACT_IO_URING, ACT_OTHER_CLAIMED, ACT_OTHER_WALKED, ACT_PATH_CLAIMED, ACT_PATH_WALKED,
    ACT_RESULT, ACT_TEXT_TRUNCATED, ActBody, Header,
};

pub fn operation(header: &Header, tail: &mut Tail<'_>) -> Result<Operation, DecodeError> {
    let body: ActBody = tail.body()?;
    let op = Op::new(body.op)
        .filter(|op| op.definition().kind == header.kind)
        .ok_or(DecodeError::Value {
            field: "operation",
            value: body.op,
        })?;
    let flag = |bit: u32| body.flags & bit != 0;
    let path = tail.take(body.path_len, "path")?;
    let other = tail.take(body.other_len, "other path")?;
    let text = tail.take(body.text_len, "text")?.to_vec();
    Ok(Operation {
        op,
        outcome: outcome(flag(ACT_RESULT), body.result),
        path: name(path, flag(ACT_PATH_CLAIMED), header.flags).or(root(flag(ACT_PATH_WALKED), header.flags)),
        other: name(other, flag(ACT_OTHER_CLAIMED), body.other_flags)
            .or(root(flag(ACT_OTHER_WALKED), body.other_flags)),
        at_descriptor: flag(ACT_AT_DESCRIPTOR),
        file: FileId {
            dev: body.dev,
            inode: body.inode,
        },
        mode: body.mode,
        target: (body.target_pid != 0).then_some(Target {
            process: ProcessKey {
                pid: body.target_pid,
                start: BootTime(body.target_start_ns),
            },
            cgroup: CgroupId(body.target_cgroup),
        }),
        args: body.args,
        text,
        text_truncated: flag(ACT_TEXT_TRUNCATED),
        io_uring: flag(ACT_IO_URING),
    })
}

/// What came of an act, where the record says so.
pub fn outcome(known: bool, result: i32) -> Outcome {
    match (known, result) {
        (false, _) => Outcome::Permitted,
        (true, 0..) => Outcome::Succeeded,
        (true, error) => Outcome::Failed(error.unsigned_abs()),
    }
}

/// The root directory, whose walk has no components.
fn root(walked: bool, flags: u32) -> Option<Name> {
    walked.then(|| Name::Walked(kernel_path(&[], flags)))
}

/// A path, `None` where the record has none.
pub fn name(bytes: &[u8], claimed: bool, flags: u32) -> Option<Name> {
    match (bytes.is_empty(), claimed) {
        // A claimed path that could not be read, or is empty, is still a claim.
        (_, true) => Some(Name::Claimed(bytes.to_vec())),
        // Nor has the root directory components, where the record does not say that it was walked to.
        (true, false) => None,
        (false, false) => Some(Name::Walked(kernel_path(bytes, flags))),
    }
}
