//! What a process may do, and what it does to other processes.

mod comm;
mod group;
mod ids;
mod namespace;
mod prctl;
mod signal;
mod trace;
mod used;
