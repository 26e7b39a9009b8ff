#![allow(unused, clippy::all)]
#[path = "../kernel/watch.rs"]
mod watch;
#[path = "../kernel/file.rs"]
mod file;
