//! The lower part of a walk, up to the root of the file's mount, for programs whose file the verifier knows by its
//! type.
//!
//! Fields are loaded instead of copied, at a third of the cost. Above the mount the types end. But most files
//! lie on the mount that is the top of their namespace, with nothing above it: which mounts are that is
//! found out once and remembered until the mounts of the namespace change.

use super::{NAME_SLOT, Walk, Walked, climb, enter};
use crate::kernel::file::{Dentry, Mount};
use crate::kernel::task::Task;
use crate::kernel::view::View;
use crate::settings;
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use norma_abi::{FLAG_FILE_DELETED, FLAG_PATH_TRUNCATED, NAME_MAX, PATH_MAX};

/// Names below the root of a mount; a deeper file is left to the other walk.
const NAMES_MAX: usize = 12;
/// Mounts that are remembered; a power of two.
const REMEMBERED: usize = 8;
/// Mounts that lie one upon the other as the root; more are taken for no top.
const TOPS_MAX: usize = 4;

/// Mounts that are the top of their namespace. Lives in a scratch map.
#[repr(C)]
pub struct Tops {
    /// An address on its way to being a number, with which the verifier lets one calculate.
    number: u64,
    mounts: [Top; REMEMBERED],
}

#[repr(C)]
struct Top {
    mount: u64,
    /// Root of what is mounted there.
    root: u64,
    /// State of the mount namespace, see `NsProxy::mount_event`; no two namespaces have the same.
    event: u64,
}

/// As [`super::walk_from`], for a name and a mount that the verifier knows by their types.
#[inline(always)]
pub fn walk_from(
    state: *mut Walk,
    tops: *mut Tops,
    out: *mut u8,
    leaf: Dentry,
    mount: Mount,
) -> Option<Walked> {
    if !settings::typed_loads() {
        return super::walk_from(state, out, leaf, mount);
    }
    let root = mount.root_typed();
    let mut flags = 0;
    let (mut len, mut count) = (0, 0);
    let mut dentry = leaf;
    let mut arrived = false;
    if dentry.is_unhashed_typed() && dentry.parent_typed() != dentry {
        flags = FLAG_FILE_DELETED;
    }
    for _ in 0..NAMES_MAX {
        if dentry == root {
            arrived = true;
            break;
        }
        let parent = dentry.parent_typed();
        // Above what belongs to no mount there is nothing, and an address that cannot be read gives 0.
        if parent == dentry || parent.0 == 0 || len > (PATH_MAX - NAME_SLOT) as u64 {
            break;
        }
        let (name, name_len) = dentry.name_typed();
        let name_len = name_len & NAME_MAX as u32;
        // SAFETY: `len` leaves room for a whole name; the helper checks the address.
        let result = unsafe {
            let slot = out.add(len as usize);
            let result = bpf_probe_read_kernel(slot.cast(), name_len, name as *const _);
            store(slot.add(name_len as usize), 0);
            result
        };
        if result < 0 {
            break;
        }
        len += u64::from(name_len) + 1;
        count += 1;
        dentry = parent;
    }
    if !arrived {
        return super::walk_from(state, out, leaf, mount);
    }
    // SAFETY: the state is a live map value.
    let walk = unsafe { &mut *state };
    let event = Task::current().namespaces().mount_event();
    if top(tops, &mut walk.view, mount, event).is_some() {
        return Some(Walked { len, flags });
    }
    store(&mut walk.dentry, root.0);
    enter(walk, mount)?;
    store(&mut walk.len, len);
    store(&mut walk.count, count);
    store(&mut walk.flags, flags | FLAG_PATH_TRUNCATED);
    climb(walk, out)
}

/// Root of what is mounted here, where nothing is above this mount of the current namespace, whose mounts are in the
/// state `event`.
#[inline(always)]
pub fn top(tops: *mut Tops, view: &mut View, mount: Mount, event: u64) -> Option<Dentry> {
    // SAFETY: a live map value.
    let tops = unsafe { &mut *tops };
    store(&mut tops.number, mount.0);
    let number = load(&tops.number);
    let top = &mut tops.mounts[(number >> 6 ^ number >> 9) as usize & (REMEMBERED - 1)];
    if load(&top.mount) == number && load(&top.event) == event {
        return Some(Dentry(load(&top.root)));
    }
    let namespace = Task::current().namespaces().mount_namespace();
    if event == 0 || namespace == 0 || mount.namespace() != namespace || !lies_on_roots(view, mount) {
        return None;
    }
    let root = mount.root();
    store(&mut top.mount, number);
    store(&mut top.root, root.0);
    store(&mut top.event, event);
    Some(root)
}

/// Whether a mount lies on nothing, or on the root of one that does.
#[inline(always)]
fn lies_on_roots(view: &mut View, mut mount: Mount) -> bool {
    let Some(mut look) = mount.look(view) else {
        return false;
    };
    for _ in 0..TOPS_MAX {
        if look.parent == mount || look.parent.0 == 0 {
            return true;
        }
        let mountpoint = look.mountpoint;
        mount = look.parent;
        match mount.look(view) {
            Some(below) if below.root == mountpoint => look = below,
            _ => return false,
        }
    }
    false
}
