//! `baseline`: what people do with what this node learned.

use crate::config::DEFAULT_STATE_DIR;
use norma_baseline_command::Program;

/// The agent, as the commands on baselines know it.
pub(super) const PROGRAM: Program = Program {
    name: "norma-agent",
    state_dir: DEFAULT_STATE_DIR,
    read: crate::judge::baseline::shelf,
};
