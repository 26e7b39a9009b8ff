//! What a verdict makes happen on the node.
//!
//! What can be prevented is prevented in the kernel: [`Enforcement`] keeps the rules there in step with
//! policies and containers. What was not (a pattern that has no kernel form, a container that was not
//! known yet, a path that was cut) is made good by the agent, late, and says so. What is expected is recognised in
//! the kernel, too: [`Known`] says there what that is, and takes over how often it came.

mod enforcement;
mod known;

pub use enforcement::Enforcement;
pub use known::{Connections, Known, KnownUse, Recognised};

use crate::identity::Identified;
use crate::judge::policy::{ClauseRef, Response};
use crate::observation::{Act, KernelAction, ProcessKey};
use norma_wire::pb::{self, Action, ResponseResult};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Does what the policy wants, where the kernel side did not already; says what was done.
pub fn respond(identified: &Identified, wanted: Option<&(ClauseRef, Response)>) -> Option<pb::Response> {
    let prevented = match &identified.observation.act {
        Act::Exec(exec) => exec.action,
        Act::Connect(connect) => connect.action,
        _ => KernelAction::None,
    };
    let action = match prevented {
        KernelAction::Denied(_) => Some(Action::Deny),
        KernelAction::Killed(_) => Some(Action::Kill),
        KernelAction::None => None,
    };
    if let Some(action) = action {
        return Some(response(
            action,
            ResponseResult::Prevented,
            wanted.map(|(clause, _)| clause),
            String::new(),
        ));
    }
    let (clause, wanted) = wanted?;
    Some(match wanted {
        Response::Deny => response(
            Action::Deny,
            ResponseResult::Failed,
            Some(clause),
            "the connection was not refused: the container was not known to the kernel side yet, or the sensor \
             that refuses is not attached"
                .to_owned(),
        ),
        Response::Kill => match kill(identified.process.key) {
            Ok(()) => response(Action::Kill, ResponseResult::DoneLate, Some(clause), String::new()),
            Err(error) => response(Action::Kill, ResponseResult::Failed, Some(clause), error.to_string()),
        },
    })
}

fn response(
    action: Action,
    result: ResponseResult,
    clause: Option<&ClauseRef>,
    detail: String,
) -> pb::Response {
    pb::Response {
        action: action as i32,
        result: result as i32,
        policy: clause.map(|clause| clause.policy.to_string()).unwrap_or_default(),
        policy_revision: clause
            .map(|clause| clause.revision.to_string())
            .unwrap_or_default(),
        detail,
    }
}

/// Kills exactly this process: the pidfd is opened before the start time is compared, so that a reused pid
/// is never hit.
fn kill(process: ProcessKey) -> Result<(), KillError> {
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(KillError::Gone)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(KillError::Refused)?;
    let stat = procfs::process::Process::new(pid.as_raw_nonzero().get())
        .and_then(|process| process.stat())
        .map_err(|_| KillError::Gone)?;
    // /proc counts in clock ticks of 10 ms.
    if stat.starttime != process.start.0 / 10_000_000 {
        return Err(KillError::Gone);
    }
    pidfd_send_signal(handle, Signal::KILL).map_err(KillError::Refused)
}

#[derive(Debug, thiserror::Error)]
enum KillError {
    #[error("the process had already ended")]
    Gone,
    #[error("cannot kill the process: {0} (CAP_KILL is needed)")]
    Refused(rustix::io::Errno),
}
