//! `norma-collector baseline`.

use norma_baseline_command::Program;

/// The collector, as the commands on baselines know it.
pub const PROGRAM: Program = Program {
    name: "norma-collector",
    state_dir: "/var/lib/norma-collector",
    read: crate::baselines::shelf,
};
