//! What may be learned, and what the kernel side may recognise.

use crate::identity::{Container, Identified, IdentityState, Session};
use crate::observation::{self, Act};
use norma_baseline::never::{Circumstances, Origin};

/// Whether the kernel side may recognise what was observed: an open by a name that is known as a whole, or a
/// connection, by the container's own program, and that may be learned. Who acts for an exec session is another one to
/// the kernel side, too, so that what is recognised of the container is not of the session.
pub(super) fn may_be_recognised(container: &Container, identified: &Identified) -> bool {
    let act = &identified.observation.act;
    let is_named = match act {
        Act::Open(open) => !(open.path.truncated || open.path.disconnected || open.path.deleted),
        _ => true,
    };
    act.id().is_some()
        && is_named
        && identified.process.session == Session::Own
        && identified.process.exe.starts_with('/')
        && container.state != IdentityState::Pending
        && circumstances(identified).learnable().is_ok()
}

/// What decides whether a behaviour may be learned. What a policy objects to does not come that far.
pub(super) fn circumstances(identified: &Identified) -> Circumstances {
    let origin = match (&identified.observation.act, identified.process.program) {
        (Act::Exec(exec), _) => exec.origin(),
        // Whoever approves a program on a volume wants to know what it normally does.
        (_, observation::Origin::Volume) => observation::Origin::Unknown(""),
        (_, program) => program,
    };
    Circumstances {
        origin: match origin {
            observation::Origin::Image => Origin::Image,
            observation::Origin::UpperLayer => Origin::UpperLayer,
            observation::Origin::Volume => Origin::Volume,
            observation::Origin::Tmpfs => Origin::Tmpfs,
            observation::Origin::Memfd => Origin::Memory,
            observation::Origin::Deleted => Origin::Deleted,
            observation::Origin::Host | observation::Origin::Unknown(_) => Origin::Unknown,
        },
        exec_session: identified.process.session == Session::Exec,
        ..Circumstances::default()
    }
}
