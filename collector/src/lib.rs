//! Norma's collector.
//!
//! Modules in the order in which data flows: [`config`] says what to do, [`pki`] who may talk, [`enrolment`] lets nodes
//! in, [`ingest`] takes events from agents over mutual TLS and checks what nodes sign of them ([`heads`]), [`audit`]
//! keeps them in a tamper-evident log, [`archive`] keeps what is sealed of it for long, [`sinks`] read that log and forward
//! it, and [`witness`]es see that it only grows. [`baselines`] brings together what nodes learned. [`administration`] records
//! what the collector itself is told, [`api`] answers auditors and operators, and [`evidence`] is what a log shows for an
//! assessment, with [`au3`]'s answers.

#![forbid(unsafe_code)]

pub mod administration;
pub mod api;
pub mod archive;
pub mod au3;
pub mod audit;
pub mod baselines;
pub mod cli;
mod clock;
pub mod config;
mod durable;
pub mod enrolment;
pub mod evidence;
pub mod heads;
pub mod ingest;
mod metrics;
pub mod pki;
pub mod run;
pub mod sinks;
mod storage;
pub mod witness;
