//! Paths as the kernel side walks them: leaf first.

use crate::observation::KernelPath;
use norma_abi::{FLAG_FILE_DELETED, FLAG_PATH_DISCONNECTED, FLAG_PATH_TRUNCATED};

/// Stands for the directories that were not walked.
const CUT: &[u8] = "\u{2026}/".as_bytes();

/// Turns components, leaf first and each ended by NUL, into a path.
pub fn kernel_path(components: &[u8], flags: u32) -> KernelPath {
    let truncated = flags & FLAG_PATH_TRUNCATED != 0;
    let disconnected = flags & FLAG_PATH_DISCONNECTED != 0;
    let components = components.strip_suffix(&[0]).unwrap_or(components);
    let mut bytes = Vec::with_capacity(components.len() + CUT.len());
    if truncated {
        bytes.extend_from_slice(CUT);
    } else if !disconnected {
        bytes.push(b'/');
    }
    for (index, component) in components.rsplit(|byte| *byte == 0).enumerate() {
        if index > 0 {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(component);
    }
    KernelPath {
        bytes,
        truncated,
        disconnected,
        deleted: flags & FLAG_FILE_DELETED != 0,
    }
}
