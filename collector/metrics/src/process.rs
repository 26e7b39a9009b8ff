//! What every program tells of its process.

use crate::page::{Kind, Metric, Page};

/// To be part of the table.
pub const PROCESS: [Metric; 2] = [
    Metric {
        name: "process_cpu_seconds",
        kind: Kind::Counter,
        labels: &[],
        help: "Time on a processor",
    },
    Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        labels: &[],
        help: "Resident memory",
    },
];

/// Tells it; nothing where /proc does not.
pub fn tell(page: &mut Page) {
    let stat = procfs::process::Process::myself().and_then(|own| own.stat());
    let Ok(stat) = stat else { return };
    let ticks = (stat.utime + stat.stime) as f64;
    page.tell(
        "process_cpu_seconds",
        &[],
        ticks / procfs::ticks_per_second() as f64,
    );
    page.tell(
        "process_resident_memory_bytes",
        &[],
        (stat.rss * procfs::page_size()) as f64,
    );
}
