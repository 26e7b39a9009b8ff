//! What tests take into account where the processor is emulated, as in most runs of `cargo xtask vm`.
//!
//! Everything happens there as on a real processor, only some fifty times slower.

use std::time::Duration;

/// Set in a guest whose processor is emulated.
pub const ENV_EMULATED: &str = "NORMA_EMULATED";

/// Set in a guest of `cargo xtask vm`, which is made for a test and gone after it.
pub const ENV_GUEST: &str = "NORMA_GUEST";

const SHARE: u64 = 20;
const PATIENCE: u32 = 6;

/// Whether this machine is such a guest, with which a test may do what it likes.
pub fn is_here() -> bool {
    std::env::var_os(ENV_GUEST).is_some()
}

fn is_emulated() -> bool {
    std::env::var_os(ENV_EMULATED).is_some()
}

/// How often something is done, of which the number proves nothing but that there are many.
pub fn repetitions(count: u64) -> u64 {
    if is_emulated() { count / SHARE } else { count }
}

/// How long something may take that is over long before.
pub fn patience(limit: Duration) -> Duration {
    if is_emulated() { limit * PATIENCE } else { limit }
}
