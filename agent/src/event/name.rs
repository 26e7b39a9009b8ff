//! Names of processes that are the same nowhere else.

use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use norma_wire::{Detail, Event};
use sha2::{Digest, Sha256};

/// /proc tells start times in ticks of 10 ms: a process must have one name however it was found.
const TICK_NS: u64 = 10_000_000;
/// Length of a name: long enough that no two of any number of processes have the same.
const LENGTH: usize = 16;
/// Most names that are remembered. Ancestors are on event after event.
const REMEMBERED: usize = 32_768;

/// Names the processes of one boot of one node.
#[derive(Clone, Debug)]
pub struct ProcessNames {
    boot: Sha256,
    known: HashMap<(u32, u64), Bytes>,
}

impl ProcessNames {
    /// For a node, by its name, and its boot, by the kernel's id of it.
    pub fn new(node: &str, boot_id: &str) -> Self {
        let mut boot = Sha256::new();
        for part in [node, boot_id] {
            boot.update((part.len() as u64).to_le_bytes());
            boot.update(part);
        }
        Self {
            boot,
            known: HashMap::new(),
        }
    }

    /// The name of a process; empty for none.
    fn name(&mut self, pid: u32, start_boot_ns: u64) -> Bytes {
        if pid == 0 {
            return Bytes::new();
        }
        let key = (pid, start_boot_ns / TICK_NS);
        if let Some(name) = self.known.get(&key) {
            return name.clone();
        }
        let mut hash = self.boot.clone();
        hash.update(key.0.to_le_bytes());
        hash.update(key.1.to_le_bytes());
        let name = Bytes::copy_from_slice(&hash.finalize()[..LENGTH]);
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, name.clone());
        name
    }

    /// Names the processes of an event.
    pub fn fill(&mut self, event: &mut Event) {
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
        let mut names = ProcessNames::new("a", "b");
        let name = names.name(7, 120_000_000);
        assert_eq!(name.len(), LENGTH);
        assert_eq!(name, names.name(7, 123_456_789), "as /proc tells it");
        assert_ne!(name, names.name(7, 130_000_000));
        assert_ne!(name, names.name(8, 120_000_000));
        assert_ne!(name, ProcessNames::new("ab", "").name(7, 120_000_000));
        assert_ne!(name, ProcessNames::new("a", "c").name(7, 120_000_000));
        assert_eq!(names.name(0, 0), "");
    }
}
