//! From an open file to its absolute path.
//!
//! The walk goes from the file up to the top of the mount namespace, so that a chroot does not shorten the
//! path. Names are appended in the order of the walk, leaf first, each ended by NUL: nothing is moved, and
//! user space turns the order round.

pub mod typed;

use crate::kernel::file::{Dentry, Mount};
use crate::kernel::view::View;
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use norma_abi::{
    FLAG_FILE_DELETED, FLAG_PATH_DISCONNECTED, FLAG_PATH_TRUNCATED, NAME_MAX, PATH_COMPONENTS_MAX, PATH_MAX,
};

/// Room for one name with its NUL.
pub const NAME_SLOT: usize = NAME_MAX + 1;
/// Steps of a walk: a name or the crossing of a mount each.
const STEPS_MAX: usize = PATH_COMPONENTS_MAX + 32;

/// State of a walk; lives in a scratch map, see [`load`].
#[repr(C)]
pub struct Walk {
    dentry: u64,
    mount: u64,
    /// Root of what is mounted there; the same for all dentries of a mount.
    root: u64,
    /// The mount that it is mounted on, and where.
    below: u64,
    mountpoint: u64,
    /// Bytes written so far.
    len: u64,
    /// Names written so far.
    count: u64,
    /// Names that [`absolute`] has yet to copy.
    left: u64,
    /// Bytes that [`absolute`] has written.
    written: u64,
    /// `FLAG_*`.
    flags: u32,
    /// Nonzero where a kernel object could not be read.
    failed: u32,
    /// Where each name starts.
    starts: [u16; PATH_COMPONENTS_MAX],
    /// The object that the walk is at.
    pub view: View,
}

/// What a walk came to.
pub struct Walked {
    /// Bytes written.
    pub len: u64,
    /// `FLAG_*`.
    pub flags: u32,
}

/// Writes the path of a name, reached through a mount, to the [`PATH_MAX`] bytes at `out`; `None` where an
/// object cannot be read.
#[inline(always)]
pub fn walk_from(state: *mut Walk, out: *mut u8, leaf: Dentry, mount: Mount) -> Option<Walked> {
    // SAFETY: the state is a live map value.
    let walk = unsafe { &mut *state };
    store(&mut walk.dentry, leaf.0);
    enter(walk, mount)?;
    store(&mut walk.len, 0);
    store(&mut walk.count, 0);
    // A walk that uses up its steps has not seen the top; the last step clears this.
    store(&mut walk.flags, FLAG_PATH_TRUNCATED);
    climb(walk, out)
}

/// Goes on with a walk to its end.
#[inline(always)]
fn climb(walk: &mut Walk, out: *mut u8) -> Option<Walked> {
    store(&mut walk.failed, 0);
    for _ in 0..STEPS_MAX {
        if !step(walk, out) {
            break;
        }
    }
    let len = load(&walk.len);
    if load(&walk.failed) != 0 || len > PATH_MAX as u64 {
        return None;
    }
    Some(Walked {
        len,
        flags: load(&walk.flags),
    })
}

/// Goes on in this mount.
#[inline(always)]
fn enter(walk: &mut Walk, mount: Mount) -> Option<()> {
    let look = mount.look(&mut walk.view)?;
    store(&mut walk.mount, mount.0);
    store(&mut walk.root, look.root.0);
    store(&mut walk.below, look.parent.0);
    store(&mut walk.mountpoint, look.mountpoint.0);
    Some(())
}

/// One step up; false where the walk is over.
#[inline(always)]
fn step(walk: &mut Walk, out: *mut u8) -> bool {
    let dentry = Dentry(load(&walk.dentry));
    if dentry.0 == load(&walk.root) {
        return cross(walk);
    }
    let Some(look) = dentry.look(&mut walk.view) else {
        store(&mut walk.failed, 1);
        return false;
    };
    if load(&walk.count) == 0 && look.is_unhashed && look.parent != dentry {
        store(&mut walk.flags, load(&walk.flags) | FLAG_FILE_DELETED);
    }
    if !append(walk, out, dentry, look.name, u64::from(look.name_len)) {
        return false;
    }
    if dentry == look.parent {
        finish(walk, FLAG_PATH_DISCONNECTED);
        return false;
    }
    store(&mut walk.dentry, look.parent.0);
    true
}

/// Goes from the root of a mount to where it is mounted; false at the top.
#[inline(always)]
fn cross(walk: &mut Walk) -> bool {
    let mount = Mount(load(&walk.mount));
    let below = Mount(load(&walk.below));
    if below == mount || below.0 == 0 {
        finish(
            walk,
            if mount.is_in_namespace() {
                0
            } else {
                FLAG_PATH_DISCONNECTED
            },
        );
        return false;
    }
    let mountpoint = load(&walk.mountpoint);
    store(&mut walk.dentry, mountpoint);
    if enter(walk, below).is_none() {
        store(&mut walk.failed, 1);
        return false;
    }
    true
}

/// Notes that the walk saw its end.
#[inline(always)]
fn finish(walk: &mut Walk, flags: u32) {
    store(&mut walk.flags, load(&walk.flags) & !FLAG_PATH_TRUNCATED | flags);
}

/// Appends a name; false where there is no room, which leaves the path marked as truncated.
///
/// The name is copied by its length, which is several times cheaper than looking for its end. A rename at the
/// same time can give the length of one name and the text of another; it cannot make the copy leave the slot,
/// and a NUL is put behind what was copied.
#[inline(always)]
fn append(walk: &mut Walk, out: *mut u8, dentry: Dentry, name: u64, name_len: u64) -> bool {
    let len = load(&walk.len);
    let count = load(&walk.count);
    if len > (PATH_MAX - NAME_SLOT) as u64 || count >= PATH_COMPONENTS_MAX as u64 {
        return false;
    }
    let name_len = name_len & NAME_MAX as u64;
    // SAFETY: `len` leaves room for a whole name, and `count` was checked against the array.
    let result = unsafe {
        store(
            (&raw mut walk.starts).cast::<u16>().add(count as usize),
            len as u16,
        );
        let slot = out.add(len as usize);
        let result = match dentry.inline_name(name) {
            Some(at) => {
                walk.view.copy_inline_name(dentry.0, at, slot);
                0
            }
            None => bpf_probe_read_kernel(slot.cast(), name_len as u32, name as *const _),
        };
        store(slot.add(name_len as usize), 0);
        result
    };
    if result < 0 {
        store(&mut walk.failed, 1);
        return false;
    }
    store(&mut walk.len, len + name_len + 1);
    store(&mut walk.count, count + 1);
    true
}

/// Writes the walked path root first, `/a/b` and a NUL, to `out`, which has room for `limit` bytes and one
/// more name; stops after `limit` bytes.
#[inline(always)]
pub fn absolute(state: *mut Walk, names: *const u8, out: *mut u8, limit: u64) {
    // SAFETY: the state is a live map value.
    let walk = unsafe { &mut *state };
    store(&mut walk.left, load(&walk.count));
    store(&mut walk.written, 0);
    for _ in 0..PATH_COMPONENTS_MAX {
        let left = load(&walk.left).wrapping_sub(1);
        let written = load(&walk.written);
        if left >= PATH_COMPONENTS_MAX as u64 || written >= limit {
            return;
        }
        // SAFETY: `left` was checked against the array; a start lies within the names, and the helper
        // checks what it reads from; `written` leaves room for a slash and a whole name.
        let taken = unsafe {
            let start = load((&raw const walk.starts).cast::<u16>().add(left as usize));
            store(out.add(written as usize), b'/');
            bpf_probe_read_kernel_str(
                out.add(written as usize + 1).cast(),
                NAME_SLOT as u32,
                names.add(start as usize & (PATH_MAX - 1)).cast(),
            )
        };
        if taken <= 0 {
            return;
        }
        store(&mut walk.written, written + taken as u64);
        store(&mut walk.left, left);
    }
}
