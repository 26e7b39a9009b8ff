//! One look at a kernel object: its first bytes in one read.
//!
//! A read by the helper costs about the same for eight bytes as for a hundred, and the fields that belong together
//! lie close to each other at the beginning of the objects that matter here. A field that a kernel keeps further
//! away is read by itself. Where a word can be loaded, nothing is copied: then the fields are loaded as they are asked
//! for.

use super::read;
use crate::settings;
use crate::verifier::{load, store};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

const WORDS: usize = 16;

/// The first bytes of an object. Lives in a scratch map or on the stack.
#[repr(C)]
pub struct View {
    words: [u64; WORDS],
}

impl View {
    /// How many bytes are seen.
    pub const BYTES: u64 = 8 * WORDS as u64;
    /// Most bytes of a name that lies within a dentry, in whole words.
    pub const INLINE_NAME: u64 = 40;

    /// Looks at the object at `base`; `None` where it cannot be read.
    #[inline(always)]
    pub fn fill(&mut self, base: u64) -> Option<()> {
        if settings::casts() {
            return (base != 0).then_some(());
        }
        // SAFETY: the helper writes as much as the words hold, or fails.
        let result = unsafe {
            bpf_probe_read_kernel((&raw mut self.words).cast(), Self::BYTES as u32, base as *const _)
        };
        (result == 0).then_some(())
    }

    /// The word so far into the object.
    #[inline(always)]
    pub fn word(&self, base: u64, offset: u64) -> u64 {
        if settings::casts() || offset > Self::BYTES - 8 {
            return read(base, offset);
        }
        // SAFETY: within the words, as was checked; the kernel's fields are aligned.
        load(unsafe {
            (&raw const self.words)
                .cast::<u8>()
                .add(offset as usize)
                .cast::<u64>()
        })
    }

    /// The half word so far into the object.
    #[inline(always)]
    pub fn half(&self, base: u64, offset: u64) -> u32 {
        if settings::casts() || offset > Self::BYTES - 4 {
            return read(base, offset);
        }
        // SAFETY: as above.
        load(unsafe {
            (&raw const self.words)
                .cast::<u8>()
                .add(offset as usize)
                .cast::<u32>()
        })
    }

    /// The two bytes so far into the object.
    #[inline(always)]
    pub fn short(&self, base: u64, offset: u64) -> u16 {
        if settings::casts() || offset > Self::BYTES - 2 {
            return read(base, offset);
        }
        // SAFETY: as above.
        load(unsafe {
            (&raw const self.words)
                .cast::<u8>()
                .add(offset as usize)
                .cast::<u16>()
        })
    }

    /// Copies [`Self::INLINE_NAME`] bytes from so far into the object at `base` to `out`.
    #[inline(always)]
    pub fn copy_inline_name(&self, base: u64, offset: u64, out: *mut u8) {
        if offset > Self::BYTES - Self::INLINE_NAME {
            return;
        }
        for word in 0..Self::INLINE_NAME / 8 {
            let bytes = self.word(base, offset + 8 * word);
            // SAFETY: the caller's room is longer than any name.
            store(unsafe { out.cast::<u64>().add(word as usize) }, bytes);
        }
    }
}
