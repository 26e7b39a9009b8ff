//! `norma-collector witness`.

use super::{Failure, Output, start_logging};
use crate::audit::key;
use crate::witness::Memory;
use crate::witness::serve::{serve, tls_files};
use clap::Args;
use norma_tlog::VerifierKey;
use norma_tlog::key::Use;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `witness`.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:7444")]
    listen: SocketAddr,
    /// Directory of what it saw, and of its key (`witness.key`), which is made where there is none
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Name of a key that is made, such as `witness.example.org/w1`; made up where it is not given
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Verifier key of a log to watch, as `norma-collector audit key` prints it
    #[arg(long, value_name = "VKEY", required = true)]
    log: Vec<VerifierKey>,
    /// Certificate chain (PEM)
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "plain",
        requires = "tls_key"
    )]
    certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    tls_key: Option<PathBuf>,
    /// HTTP without TLS: what is exchanged is signed, but who asks can be seen
    #[arg(long, conflicts_with = "certificate")]
    plain: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value = "human")]
    log_format: Output,
}

impl WitnessArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let told = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
        start_logging(self.log_format);
        if let Some(log) = self.log.iter().find(|log| log.usage() != Use::Log) {
            return Err(Failure::Other(format!(
                "{log} is the key of a witness, not of a log"
            )));
        }
        crate::durable::create_folders(&self.state)
            .map_err(|error| Failure::Other(format!("cannot make {}: {error}", self.state.display())))?;
        let file = self.state.join("witness.key");
        let key =
            key::load_or_make(&file, self.name.as_deref(), key::WITNESS).map_err(|error| told(&error))?;
        key::publish(&file, &key, Use::Witness).map_err(|error| told(&error))?;
        let memory = Memory::open(&self.state.join("logs"), key, self.log).map_err(|error| told(&error))?;
        let tls = match (&self.certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(tls_files(certificate, key).map_err(|error| told(&error))?)
            }
            _ => None,
        };
        println!("{}", memory.verifier());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(|error| told(&error))?.block_on(async {
            let listener = TcpListener::bind(self.listen)
                .await
                .map_err(|error| Failure::Other(format!("cannot listen on {}: {error}", self.listen)))?;
            let mut terminate = signal(SignalKind::terminate()).map_err(|error| told(&error))?;
            let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| told(&error))?;
            tracing::info!(address = %self.listen, key = %memory.verifier(), "watching");
            tokio::select! {
                () = serve(listener, tls, Arc::new(memory)) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Ok(())
        })
    }
}
