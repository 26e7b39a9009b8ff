//! Names of processes that are the same nowhere else.

use norma_wire::text::Hex;
use norma_wire::{Detail, Event};
use sha2::{Digest, Sha256};

/// /proc tells start times in ticks of 10 ms: a process must have one name however it was found.
const TICK_NS: u64 = 10_000_000;

/// Names the processes of one boot of one node.
#[derive(Clone, Debug)]
pub struct ProcessNames {
    boot: Sha256,
}

impl ProcessNames {
    /// For a node, by its name, and its boot, by the kernel's id of it.
    pub fn new(node: &str, boot_id: &str) -> Self {
        let mut boot = Sha256::new();
        for part in [node, boot_id] {
            boot.update((part.len() as u64).to_le_bytes());
            boot.update(part);
        }
        Self { boot }
    }

    /// The name of a process; empty for none.
    fn name(&self, pid: u32, start_boot_ns: u64) -> String {
        if pid == 0 {
            return String::new();
        }
        let mut hash = self.boot.clone();
        hash.update(pid.to_le_bytes());
        hash.update((start_boot_ns / TICK_NS).to_le_bytes());
        Hex(&hash.finalize()[..16]).to_string()
    }

    /// Names the processes of an event.
    pub fn fill(&self, event: &mut Event) {
        if let Some(process) = &mut event.process {
            process.id = self.name(process.pid, process.start_boot_ns);
            for ancestor in &mut process.ancestors {
                ancestor.id = self.name(ancestor.pid, ancestor.start_boot_ns);
            }
        }
        if let Some(Detail::Operation(operation)) = &mut event.detail
            && let Some(target) = &mut operation.target
        {
            target.id = self.name(target.pid, target.start_boot_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_name_and_no_other_has_it() {
        let names = ProcessNames::new("a", "b");
        let name = names.name(7, 120_000_000);
        assert_eq!(name.len(), 32);
        assert_eq!(name, names.name(7, 123_456_789), "as /proc tells it");
        assert_ne!(name, names.name(7, 130_000_000));
        assert_ne!(name, names.name(8, 120_000_000));
        assert_ne!(name, ProcessNames::new("ab", "").name(7, 120_000_000));
        assert_ne!(name, ProcessNames::new("a", "c").name(7, 120_000_000));
        assert_eq!(names.name(0, 0), "");
    }
}
