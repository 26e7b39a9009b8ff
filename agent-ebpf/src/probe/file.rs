//! Changes of the file tree.

mod unlink;
