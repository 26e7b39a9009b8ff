//! One file per hook family.

mod cgroup;
mod connect;
mod exec;
mod open;
mod process;
mod state;
