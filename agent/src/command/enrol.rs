//! `norma-agent enrol`.

use super::{ExitStatus, Output, say};
use crate::enrol::{self, Token, store};
use crate::ship::TlsName;
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Options {
    /// Where the collector lets nodes enrol, `host:port`.
    #[arg(long, value_name = "ADDRESS")]
    collector: String,
    /// Name that the collector's certificate must carry; default: the host of the address.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The token that `norma-collector pki token` printed for this node; `-` reads it from standard input, where no other
    /// process sees it.
    #[arg(long, env = "NORMA_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: String,
    /// Directory for tls.crt, tls.key and ca.crt; nothing there is overwritten.
    #[arg(long, value_name = "DIR", default_value = "/etc/norma-agent")]
    out: PathBuf,
    /// Form of the output.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// In the directory, until there is a certificate: a key for which one was asked. Where the answer is lost, the same
/// command with the same token gets it.
const PENDING: &str = "enrolling.key";

pub(super) fn run(options: &Options) -> anyhow::Result<ExitStatus> {
    let text = match options.token.as_str() {
        "-" => {
            std::io::read_to_string(std::io::stdin()).context("cannot read the token from standard input")?
        }
        text => text.to_owned(),
    };
    let token: Token = text.parse()?;
    let address = &options.collector;
    let Some((host, _)) = address
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
    else {
        bail!("--collector {address}: not `host:port`");
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = TlsName::parse(options.server_name.as_deref().unwrap_or(host))?;
    if options.out.join(store::KEY).symlink_metadata().is_ok() {
        bail!(
            "{} has a key already, which is not overwritten; use another --out or move it away",
            options.out.display()
        );
    }
    let pending = options.out.join(PENDING);
    let asked = enrol::Asked::kept(&pending)?;
    let files = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the I/O runtime")?
        .block_on(enrol::enrol(address, &name, &token, &asked))?;
    store::create(&options.out, &files)
        .with_context(|| format!("cannot store the certificate in {}", options.out.display()))?;
    match std::fs::remove_file(&pending) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %pending.display(), %error, "cannot remove the key from where it waited for its certificate");
        }
        _ => {}
    }
    let place = |name: &str| options.out.join(name);
    match options.output {
        Output::Json => say(&json!({
            "certificate": place(store::CERTIFICATE), "key": place(store::KEY), "ca": place(store::AUTHORITIES),
        })
        .to_string())?,
        Output::Human => say(&lines(&options.out))?,
    }
    Ok(ExitStatus::Success)
}

fn lines(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "enrolled. In the agent's configuration, below `collector`:\n  ca: {directory}/{}\n  certificate: {directory}/{}\n  \
         key: {directory}/{}\n  renew: true",
        store::AUTHORITIES,
        store::CERTIFICATE,
        store::KEY
    )
}
