//! What is known is recognised here, and counted instead of reported.
//!
//! An act is put into words: who acts (control group, namespaces, executable), on which file, by which name and how; or
//! with which peer they connect, see [`connection`].
//! Their keyed hash is the act's identity. The record of an act that is not recognised carries it, and the agent
//! enters it into [`KNOWN`] where it holds the act for expected.
//!
//! A name is told by its directory entries up to the top of the mounts: the address of each, the number of changes
//! that the kernel counts in it, and the kernel's own hash of the name. That number never comes back to an earlier
//! value while the entry exists, so a rename at any level, even back again, makes other words; and words that were
//! read before a name was walked stand for no other name than that. A file is told by device, number and
//! generation, by its hard links, and by the upper layer's name for it where it lies on an overlay: a file that is
//! linked, replaced or copied up makes other words, even under the same number. An executable is told by
//! its times besides. Mounts are told by the state of their namespace, which no two have in common, and sessions by
//! the set of namespaces that they entered with: whoever comes into a container from outside gets one of their own.

pub mod connection;

use crate::emit;
use crate::kernel::file::{Dentry, File, FileIdentity, FileLook, Inode, InodeLook, Mount};
use crate::kernel::task::Task;
use crate::kernel::view::View;
use crate::path::typed::{self, Tops};
use crate::settings;
use crate::verifier::{add, load, store};
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use norma_abi::{IDENTITY_WORDS, KIND_OPEN, KNOWN_MEMORY, KNOWN_WAYS, KnownBucket, known_buckets, siphash};

/// What was entered. Its size is set when it is made.
#[map]
static KNOWN: Array<KnownBucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// What was found there, with its words: comparing them costs a fraction of the hash.
#[map]
static KNOWN_MEMORY_OF: PerCpuArray<Found> = PerCpuArray::with_max_entries(KNOWN_MEMORY, 0);

/// Steps from a file to the top of the mounts: a name or the crossing of a mount each.
const STEPS_MAX: usize = 32;
/// Names below the root of a mount that are followed by their types.
const NAMES_MAX: usize = 12;
/// Bits of `f_mode` that are part of an identity: opened for reading, for writing.
const ACCESS: u32 = 3;
/// The same: this open created the file, which by that is none that was known.
const FMODE_CREATED: u32 = 1 << 20;
/// Stands for the top of the mounts as the end of a walk: no address is this.
const TOP: u64 = u64::MAX;
/// 2^64 divided by the golden ratio: spreads numbers that lie close together.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// An act in words. Lives in a scratch map, see [`load`].
#[repr(C)]
pub struct Words {
    words: [u64; IDENTITY_WORDS],
    /// Where a walk is.
    dentry: u64,
    mount: u64,
    root: u64,
    below: u64,
    mountpoint: u64,
    /// What the names came to.
    names: u64,
    /// An address on its way to being a number, with which the verifier lets one calculate.
    number: u64,
    /// Nonzero where the walk came to the top.
    arrived: u64,
    view: View,
}

#[repr(C)]
struct Found {
    words: [u64; IDENTITY_WORDS],
    identity: u64,
    bucket: u32,
    way: u32,
}

/// Whether an act is known.
pub enum Recognised {
    /// It is, and was counted; this is its identity.
    Yes(u64),
    /// It is not; this is its identity, 0 where it can have none.
    No(u64),
}

/// Words of [`Words`], by what they are about.
mod word {
    pub const CGROUP: usize = 0;
    pub const NAMESPACES: usize = 1;
    pub const MOUNTS: usize = 2;
    pub const PROGRAM: usize = 3;
    pub const PROGRAM_MOUNT: usize = 7;
    pub const PROGRAM_TIME: usize = 8;
    pub const FILE: usize = 9;
    pub const FILE_MOUNT: usize = 13;
    pub const DEVICE: usize = 14;
    pub const LAYER: usize = 15;
    pub const NAMES: usize = 16;
}

/// Whether an open is known, of a file that the verifier knows by its type.
#[inline(always)]
pub fn open_typed(
    state: *mut Words,
    tops: *mut Tops,
    cgroup: u64,
    look: &FileLook,
    inode: &InodeLook,
    alone: bool,
) -> Recognised {
    if !settings::typed_loads() {
        return open(state, tops, cgroup, look, alone);
    }
    // SAFETY: a live map value.
    let this = unsafe { &mut *state };
    let root = look.mount.root_typed();
    let mut dentry = look.dentry;
    let is_gone = dentry.is_unhashed_typed() && dentry.parent_typed() != dentry;
    if !may_be_known(look) || is_gone || !this.actor(cgroup) {
        return Recognised::No(0);
    }
    this.entry(word::FILE, dentry, look.inode, inode.number);
    this.file(look, &look.inode.identity_typed(inode));
    let mut arrived = dentry == root;
    for _ in 0..NAMES_MAX {
        if arrived {
            break;
        }
        let parent = dentry.parent_typed();
        if parent == dentry || parent.0 == 0 {
            break;
        }
        dentry = parent;
        arrived = dentry == root;
        if !arrived {
            let (changes, name) = (dentry.changes_typed(), dentry.name_hash_typed());
            store(&mut this.number, dentry.0);
            this.add_name(load(&this.number), changes, name);
        }
    }
    if !arrived {
        return Recognised::No(0);
    }
    let event = load(&this.words[word::MOUNTS]);
    if typed::top(tops, &mut this.view, look.mount, event).is_none() && !this.climb_from(root, look.mount) {
        return Recognised::No(0);
    }
    this.recognise(alone, KIND_OPEN)
}

/// Whether an open is known.
#[inline(always)]
pub fn open(state: *mut Words, tops: *mut Tops, cgroup: u64, look: &FileLook, alone: bool) -> Recognised {
    // SAFETY: a live map value.
    let this = unsafe { &mut *state };
    if !may_be_known(look) || !this.actor(cgroup) {
        return Recognised::No(0);
    }
    // First, for what is read later may only be younger, see above.
    let Some(parent) = this.leaf(look) else {
        return Recognised::No(0);
    };
    let Some(identity) = look.inode.identity(&mut this.view) else {
        return Recognised::No(0);
    };
    let word = load(&this.words[word::FILE + 2]);
    this.set(word::FILE + 2, word | u64::from(look.inode.generation()));
    this.set(word::FILE + 3, identity.number);
    this.file(look, &identity);
    let event = load(&this.words[word::MOUNTS]);
    let arrived = match typed::top(tops, &mut this.view, look.mount, event) {
        Some(root) => {
            store(&mut this.root, root.0);
            this.climb(look.dentry, parent, root.0)
        }
        None => this.enter(look.mount) && this.climb(look.dentry, parent, TOP),
    };
    if !arrived {
        return Recognised::No(0);
    }
    this.recognise(alone, KIND_OPEN)
}

/// Whether anything is recognised; a file that this open created is none that was known.
#[inline(always)]
fn may_be_known(look: &FileLook) -> bool {
    look.mode & FMODE_CREATED == 0 && settings::known_mask() != 0
}

impl Words {
    #[inline(always)]
    fn set(&mut self, at: usize, word: u64) {
        store(&mut self.words[at], word);
    }

    /// Who acts; false where that is not known well enough.
    #[inline(always)]
    fn actor(&mut self, cgroup: u64) -> bool {
        let task = Task::current();
        let namespaces = task.namespaces();
        let event = namespaces.mount_event();
        let program = File(task.executable());
        if event == 0 || program.0 == 0 {
            return false;
        }
        store(&mut self.names, 0);
        let (dentry, mount, inode) = program.named_typed();
        self.set(word::CGROUP, cgroup);
        self.set(word::NAMESPACES, namespaces.address());
        self.set(word::MOUNTS, event);
        self.entry(word::PROGRAM, dentry, inode, inode.number_typed());
        self.set(word::PROGRAM_MOUNT, mount.0);
        self.set(word::PROGRAM_TIME, inode.changed_typed());
        true
    }

    /// Four words for an entry of a directory and the file that it names.
    #[inline(always)]
    fn entry(&mut self, at: usize, dentry: Dentry, inode: Inode, number: u64) {
        let changes = u64::from(dentry.changes_typed());
        self.set(at, dentry.0);
        self.set(at + 1, dentry.name_hash_typed());
        self.set(at + 2, changes << 32 | u64::from(inode.generation_typed()));
        self.set(at + 3, number);
    }

    /// The first of them for an opened file, from one look at its entry; gives the directory, and `None` for a file
    /// that is gone.
    #[inline(always)]
    fn leaf(&mut self, look: &FileLook) -> Option<Dentry> {
        let entry = look.dentry.look_at_name(&mut self.view)?;
        if entry.is_unhashed && entry.parent != look.dentry {
            return None;
        }
        self.set(word::FILE, look.dentry.0);
        self.set(word::FILE + 1, entry.name_hash);
        self.set(word::FILE + 2, u64::from(entry.changes) << 32);
        Some(entry.parent)
    }

    /// The words for an opened file besides its entry.
    #[inline(always)]
    fn file(&mut self, look: &FileLook, identity: &FileIdentity) {
        let how = u64::from(look.mode & ACCESS) << 30 | u64::from(identity.links & 0x3fff_ffff);
        self.set(word::FILE_MOUNT, look.mount.0);
        self.set(word::DEVICE, how << 32 | u64::from(identity.device));
        self.set(word::LAYER, identity.upper);
    }

    /// Adds a name that a path leads through.
    #[inline(always)]
    fn add_name(&mut self, dentry: u64, changes: u32, name_hash: u64) {
        let entry = dentry ^ u64::from(changes) << 48;
        let [_, _, factor] = settings::secret();
        let names = load(&self.names)
            .wrapping_add(entry)
            .wrapping_mul(factor)
            .wrapping_add(name_hash)
            .wrapping_mul(factor);
        store(&mut self.names, names);
    }

    /// From an opened file, whose entry was looked at, to `end` or to the top of the mounts.
    #[inline(always)]
    fn climb(&mut self, leaf: Dentry, parent: Dentry, end: u64) -> bool {
        let at_root = leaf.0 == load(&self.root);
        store(&mut self.dentry, if at_root { leaf.0 } else { parent.0 });
        self.steps(end)
    }

    /// From the root of a mount to the top of the mounts.
    #[inline(always)]
    fn climb_from(&mut self, root: Dentry, mount: Mount) -> bool {
        store(&mut self.dentry, root.0);
        self.enter(mount) && self.steps(TOP)
    }

    /// Goes on up to `end`; false where it does not come there.
    #[inline(always)]
    fn steps(&mut self, end: u64) -> bool {
        store(&mut self.arrived, 0);
        for _ in 0..STEPS_MAX {
            if !self.step(end) {
                break;
            }
        }
        load(&self.arrived) != 0
    }

    /// One step up; false where the walk is over.
    #[inline(always)]
    fn step(&mut self, end: u64) -> bool {
        let dentry = Dentry(load(&self.dentry));
        if dentry.0 == end {
            store(&mut self.arrived, 1);
            return false;
        }
        if dentry.0 == load(&self.root) {
            return self.cross();
        }
        let Some(entry) = dentry.look_at_name(&mut self.view) else {
            return false;
        };
        if entry.parent == dentry {
            return false;
        }
        self.add_name(dentry.0, entry.changes, entry.name_hash);
        store(&mut self.dentry, entry.parent.0);
        true
    }

    /// Goes from the root of a mount to where it is mounted; false at the top.
    #[inline(always)]
    fn cross(&mut self) -> bool {
        let below = load(&self.below);
        if below == load(&self.mount) || below == 0 {
            store(&mut self.arrived, 1);
            return false;
        }
        let mountpoint = load(&self.mountpoint);
        store(&mut self.dentry, mountpoint);
        self.add_name(below, 0, 0);
        self.enter(Mount(below))
    }

    /// Goes on in this mount; false where it is none of the namespace whose state the words tell.
    #[inline(always)]
    fn enter(&mut self, mount: Mount) -> bool {
        let Some(look) = mount.look(&mut self.view) else {
            return false;
        };
        store(&mut self.mount, mount.0);
        store(&mut self.root, look.root.0);
        store(&mut self.below, look.parent.0);
        store(&mut self.mountpoint, look.mountpoint.0);
        mount.namespace() == Task::current().namespaces().mount_namespace()
    }

    /// Looks the words up, and counts an act of this `KIND_*` where they are found; who is not `alone` on this processor
    /// leaves the memory of what was found to who came first.
    #[inline(always)]
    fn recognise(&mut self, alone: bool, kind: u16) -> Recognised {
        let names = load(&self.names);
        self.set(word::NAMES, names);
        let at = load(&self.words[word::FILE])
            .wrapping_add(load(&self.words[word::PROGRAM]))
            .wrapping_add(load(&self.words[word::DEVICE]))
            .wrapping_add(load(&self.words[word::CGROUP]))
            .wrapping_mul(SPREAD);
        let Some(memory) = KNOWN_MEMORY_OF.get_ptr_mut((at >> (64 - KNOWN_MEMORY.ilog2())) as u32) else {
            return Recognised::No(0);
        };
        // SAFETY: the verifier has seen the null check; this processor's value is only used here.
        let memory = unsafe { &mut *memory };
        let mut differing = 0;
        for word in 0..IDENTITY_WORDS {
            differing |= load(&self.words[word]) ^ load(&memory.words[word]);
        }
        let remembered = load(&memory.identity);
        if alone && differing == 0 && count(load(&memory.bucket), load(&memory.way), remembered, kind) {
            return Recognised::Yes(remembered);
        }
        let [first, second, _] = settings::secret();
        let identity = match siphash::<IDENTITY_WORDS>([first, second], |at| load(&self.words[at])) {
            0 => 1,
            identity => identity,
        };
        for bucket in known_buckets(identity, settings::known_mask()) {
            for way in 0..KNOWN_WAYS as u32 {
                if count(bucket, way, identity, kind) {
                    if alone {
                        for word in 0..IDENTITY_WORDS {
                            store(&mut memory.words[word], load(&self.words[word]));
                        }
                        store(&mut memory.identity, identity);
                        store(&mut memory.bucket, bucket);
                        store(&mut memory.way, way);
                    }
                    return Recognised::Yes(identity);
                }
            }
        }
        Recognised::No(identity)
    }
}

/// Counts an identity where it stands in this entry; false where it does not.
#[inline(always)]
fn count(bucket: u32, way: u32, identity: u64, kind: u16) -> bool {
    let Some(bucket) = KNOWN.get_ptr_mut(bucket) else {
        return false;
    };
    let way = way as usize & (KNOWN_WAYS - 1);
    // SAFETY: the verifier has seen the null check, and the way is within the bucket.
    unsafe {
        if load((&raw const (*bucket).identities).cast::<u64>().add(way)) != identity {
            return false;
        }
        let count = (&raw mut (*bucket).counts).cast::<u64>().add(way);
        add(count, 1);
    }
    emit::recognised(kind);
    true
}
