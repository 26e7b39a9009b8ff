//! System calls as they are: a deed that says `creat` must not be done by `openat`.
//!
//! All unsafe code of the deeds is here. Each call is one line with the types that it takes; what the kernel
//! reads or writes is handed over as a borrow, so that it is there for as long as the call takes.

pub mod compat;
pub mod file;
pub mod host;
pub mod memory;
pub mod network;
pub mod process;
pub mod uring;

pub use nix::errno::Errno;

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::AtomicU8;

/// What a system call gives.
pub type Sys<T> = Result<T, Errno>;

/// The words of a call, at most six.
#[derive(Default)]
pub struct Words {
    words: [libc::c_long; 6],
    used: usize,
}

impl Words {
    fn push(&mut self, word: libc::c_long) {
        self.words[self.used] = word;
        self.used += 1;
    }

    fn address<T: ?Sized>(&mut self, at: *const T) {
        self.push(at.cast::<u8>() as libc::c_long);
    }
}

/// Something that a system call takes.
pub trait Argument {
    fn push(self, words: &mut Words);
}

macro_rules! numbers {
    ($($number:ty: $word:expr;)*) => {$(
        impl Argument for $number {
            fn push(self, words: &mut Words) {
                let word: fn(Self) -> libc::c_long = $word;
                words.push(word(self));
            }
        }
    )*};
}
numbers! {
    i32: libc::c_long::from;
    u32: libc::c_long::from;
    i64: |number| number;
    u64: u64::cast_signed;
    usize: |number| number.cast_signed() as libc::c_long;
}

impl Argument for BorrowedFd<'_> {
    fn push(self, words: &mut Words) {
        self.as_raw_fd().push(words);
    }
}

impl Argument for &OwnedFd {
    fn push(self, words: &mut Words) {
        self.as_raw_fd().push(words);
    }
}

impl Argument for &CStr {
    fn push(self, words: &mut Words) {
        words.address(self.as_ptr());
    }
}

impl Argument for Option<&CStr> {
    fn push(self, words: &mut Words) {
        match self {
            Some(text) => text.push(words),
            None => words.push(0),
        }
    }
}

/// Text that another thread changes meanwhile.
impl Argument for &[AtomicU8] {
    fn push(self, words: &mut Words) {
        words.address(self.as_ptr());
    }
}

/// Bytes to read, and their number.
impl Argument for &[u8] {
    fn push(self, words: &mut Words) {
        words.address(self.as_ptr());
        self.len().push(words);
    }
}

/// Bytes to write to, and their number.
impl Argument for &mut [u8] {
    fn push(self, words: &mut Words) {
        words.address(self.as_mut_ptr());
        self.len().push(words);
    }
}

/// A structure to read, whose length the call knows.
pub struct From<'a>(pub &'a [u8]);

impl Argument for From<'_> {
    fn push(self, words: &mut Words) {
        words.address(self.0.as_ptr());
    }
}

/// A structure to read and write, whose length the call knows.
pub struct Into<'a>(pub &'a mut [u8]);

impl Argument for Into<'_> {
    fn push(self, words: &mut Words) {
        words.address(self.0.as_mut_ptr());
    }
}

/// No structure.
pub struct Null;

impl Argument for Null {
    fn push(self, words: &mut Words) {
        words.push(0);
    }
}

/// Texts as exec takes them.
pub struct Vector {
    pointers: Vec<*const libc::c_char>,
    // What the pointers point to.
    _texts: Vec<CString>,
}

// SAFETY: The pointers lead to the vector's own texts, which nobody changes.
unsafe impl Sync for Vector {}

impl Vector {
    pub fn new(texts: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self {
            pointers,
            _texts: texts,
        }
    }
}

impl Argument for &Vector {
    fn push(self, words: &mut Words) {
        words.address(self.pointers.as_ptr());
    }
}

/// What a call gives.
pub trait Answer {
    fn from_word(word: libc::c_long) -> Self;
}

impl Answer for () {
    fn from_word(_: libc::c_long) -> Self {}
}

impl Answer for usize {
    fn from_word(word: libc::c_long) -> Self {
        word.unsigned_abs() as Self
    }
}

impl Answer for OwnedFd {
    fn from_word(word: libc::c_long) -> Self {
        // SAFETY: Only calls that give a new descriptor, which nobody else knows, are declared to give one.
        unsafe { Self::from_raw_fd(word as libc::c_int) }
    }
}

/// Declares system calls: `name = SYS_name(arguments) -> answer`.
macro_rules! calls {
    ($($name:ident = $number:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {$(
        pub fn $name($($argument: $kind),*) -> $crate::deed::sys::Sys<$answer> {
            let mut words = $crate::deed::sys::Words::default();
            $($crate::deed::sys::Argument::push($argument, &mut words);)*
            let [a, b, c, d, e, f] = words.words;
            // SAFETY: The declaration has the types that the call takes, in its order. What is behind an
            // address is borrowed for as long as the call takes, and of the size that the call assumes;
            // no call that changes this process's own memory map is declared.
            let word = unsafe { libc::syscall(libc::$number, a, b, c, d, e, f) };
            nix::errno::Errno::result(word).map($crate::deed::sys::Answer::from_word)
        }
    )*};
}
pub(crate) use calls;

/// Declares system calls that only older processors have; elsewhere they give ENOSYS.
macro_rules! old_calls {
    ($($name:ident = $number:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[cfg(target_arch = "x86_64")]
        $crate::deed::sys::calls! { $($name = $number($($argument: $kind),*) -> $answer;)* }
        $(
            #[cfg(not(target_arch = "x86_64"))]
            pub fn $name($(_: $kind),*) -> $crate::deed::sys::Sys<$answer> {
                Err($crate::deed::sys::Errno::ENOSYS)
            }
        )*
    };
}
pub(crate) use old_calls;

/// Bytes of a structure, field by field.
#[derive(Default)]
pub struct Layout(Vec<u8>);

impl Layout {
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_ne_bytes())
    }

    /// The address of something that outlives the call.
    pub fn address<T>(self, at: &[T]) -> Self {
        self.u64(at.as_ptr() as u64)
    }

    /// Zeroes up to this length.
    pub fn up_to(mut self, length: usize) -> Self {
        self.0.resize(length, 0);
        self
    }

    pub fn end(self) -> Vec<u8> {
        self.0
    }
}
