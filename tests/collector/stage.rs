//! What every test here needs.

use anyhow::Result;
use norma_rig::{Collector, CollectorSettings, Pki, Programs, Rsyslog, Scratch};
use std::time::Duration;

/// Far more than anything here takes, even on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(180);

/// A scratch folder with an authority; a test takes a collector from it.
pub struct Stage {
    pub scratch: Scratch,
    pub programs: Programs,
    pub pki: Pki,
}

impl Stage {
    pub fn new(purpose: &str) -> Result<Self> {
        let scratch = Scratch::new(purpose)?;
        let programs = Programs::find()?;
        let pki = Pki::create(&programs, scratch.path())?;
        Ok(Self {
            scratch,
            programs,
            pki,
        })
    }

    pub fn collector(&self, siem: Option<&Rsyslog>, settings: &CollectorSettings) -> Result<Collector> {
        Collector::start(&self.scratch, &self.programs, &self.pki, siem, settings)
    }
}
