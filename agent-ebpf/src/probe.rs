//! One file per hook family.

mod cgroup;
mod connect;
mod exec;
mod file;
mod open;
mod process;
mod security;
mod state;
mod syscall;
mod trial;
