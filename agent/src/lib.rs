//! Norma's node agent.
//!
//! Events flow one way, and the modules are listed in that order:
//!
//! 1. [`config`]: the file as typed, then as validated.
//! 2. [`sensor`]: loads the kernel programs and reads their ring; the only module that touches bpf(2).
//! 3. [`decode`]: bytes of a record → [`observation::Observation`]; pure and total.
//! 4. [`identity`]: observation → who: process with its lineage, container, workload.
//! 5. [`judge`]: what was done by whom → verdict, from declared policy and learned baseline.
//! 6. [`respond`]: what a verdict makes happen on the node, and what the kernel side enforces by itself.
//!    [`posture`]: how containers are set up, held against the controls that say how they should be.
//!    [`hash`]: the SHA-256 of what was executed, where it is asked for; read beside the pipeline.
//! 7. [`outbox`]: the durable spool; an event gets its sequence here.
//! 8. [`ship`]: the mTLS stream to the collector; acknowledgements empty the outbox.
//!
//! Steps 2 to 7 run on one dedicated thread ([`pipeline`]): order is kept, and the kernel ring, which
//! counts what it loses, is the only place where an event can be lost. Step 8 waits a lot and runs on
//! tokio. What the pipeline takes can be recorded and played again ([`trace`]). [`enrol`] gets and renews this node's certificate. [`app`] wires the stages and owns the order of start and stop; [`telemetry`] tells the outside
//! how it goes; [`command`] holds the subcommands.

pub mod app;
pub mod clock;
pub mod command;
pub mod config;
pub mod decode;
pub mod enrol;
pub mod event;
pub mod fleet;
pub mod hash;
pub mod identity;
pub mod judge;
mod metrics;
pub mod observation;
pub mod outbox;
pub mod pipeline;
pub mod posture;
pub mod respond;
mod retry;
pub mod sensor;
pub mod ship;
pub mod telemetry;
pub mod trace;
