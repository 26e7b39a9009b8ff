//! Metrics for scrapers, in the OpenMetrics text form.
//!
//! A program has one table of [`Metric`]s, from which its documentation is printed, and fills a [`Page`] when somebody
//! asks ([`serve`]). What is served is read-only and holds names of workloads and counts, no content of events; it is
//! served without TLS, and therefore on loopback addresses only ([`Listen`]).

mod histogram;
mod page;
mod process;
mod serve;

pub use histogram::{Histogram, SECONDS};
pub use page::{Kind, Metric, Page, markdown};
pub use process::{PROCESS, tell as tell_process};
pub use serve::{Listen, NotLoopback, Serving, serve};
