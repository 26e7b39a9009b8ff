//! The whole line on real containers: kernel, agent, collector, SIEM. Needs root; see CONTRIBUTING.md.

#[path = "e2e/rig.rs"]
mod rig;
