//! Where records come from, and what time it is there.

use crate::clock;
use crate::observation::{BootTime, CgroupId};
use crate::sensor::{Losses, RingFill, Sensor, SensorError, Totals};
use norma_wire::pb::ClockState;
use std::io;
use std::time::Duration;

/// The kernel side of a node: a running one ([`Sensor`]), or one of a trace.
pub trait Source: Send {
    /// Waits until there are records or `timeout` is over, then gives each of them to `on_record`, in the order of
    /// time; gives how many there were.
    ///
    /// # Errors
    /// They cannot be read any more.
    fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize>;

    /// What was counted since the start.
    ///
    /// # Errors
    /// It cannot be read.
    fn counters(&mut self) -> Result<Totals, SensorError>;

    /// Whose records were lost since the start, by control group and kind.
    ///
    /// # Errors
    /// It cannot be read.
    fn losses(&mut self) -> Result<Losses, SensorError>;

    /// Forgets the losses of a control group that is no more, after they were reported.
    fn forget_losses(&mut self, cgroup: CgroupId);

    /// What time it is.
    fn now(&self) -> BootTime;

    /// Nanoseconds from kernel time to wall time.
    fn wall_offset_ns(&self) -> i64;

    /// How full each ring was found, since the last call; nothing where there are none.
    fn fills(&mut self) -> Vec<RingFill> {
        Vec::new()
    }

    /// How far the wall clock can be trusted; `None` where that of this host is not meant.
    fn clock_state(&self) -> Option<ClockState> {
        None
    }
}

impl Source for Sensor {
    fn poll(&mut self, timeout: Duration, on_record: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        Self::poll(self, timeout, on_record)
    }

    fn counters(&mut self) -> Result<Totals, SensorError> {
        Self::counters_soon(self)
    }

    fn losses(&mut self) -> Result<Losses, SensorError> {
        Self::losses(self)
    }

    fn forget_losses(&mut self, cgroup: CgroupId) {
        Self::forget_losses(self, cgroup);
    }

    fn fills(&mut self) -> Vec<RingFill> {
        Self::fills(self)
    }

    fn now(&self) -> BootTime {
        clock::boot_now()
    }

    fn wall_offset_ns(&self) -> i64 {
        clock::offset()
    }

    fn clock_state(&self) -> Option<ClockState> {
        Some(norma_clock::state())
    }
}
