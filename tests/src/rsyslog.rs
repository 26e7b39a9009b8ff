//! rsyslog as the SIEM: TLS on a loopback port, a configuration of its own, one line of a file per message.

use crate::daemon::Daemon;
use crate::net::is_listening;
use crate::pki::KeyPair;
use crate::scratch::Scratch;
use crate::wait::wait_until;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running receiver.
#[derive(Debug)]
pub struct Rsyslog {
    daemon: Option<Daemon>,
    config: PathBuf,
    received: PathBuf,
    port: u16,
}

impl Rsyslog {
    /// Starts one that takes messages over TLS; where `clients_need_certificates`, only from clients with
    /// a certificate of the same authority.
    pub fn start(
        scratch: &Scratch,
        ca: &Path,
        server: &KeyPair,
        clients_need_certificates: bool,
    ) -> Result<Self> {
        let port = crate::net::free_port()?;
        let folder = scratch.folder("rsyslog")?;
        let received = folder.join("received.log");
        let mode = if clients_need_certificates {
            "x509/certvalid"
        } else {
            "anon"
        };
        let config = format!(
            "global(workDirectory=\"{work}\" maxMessageSize=\"256k\" net.enableDNS=\"off\"\n\
               defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile=\"{ca}\"\n\
               defaultNetstreamDriverCertFile=\"{certificate}\" defaultNetstreamDriverKeyFile=\"{key}\")\n\
             module(load=\"imtcp\" streamDriver.name=\"ossl\" streamDriver.mode=\"1\" streamDriver.authMode=\"{mode}\")\n\
             template(name=\"asReceived\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             ruleset(name=\"keep\") {{\n\
               action(type=\"omfile\" file=\"{received}\" template=\"asReceived\" asyncWriting=\"off\")\n\
             }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"keep\")\n\
             action(type=\"omfile\" file=\"{own}\")\n",
            work = folder.display(),
            ca = ca.display(),
            certificate = server.certificate.display(),
            key = server.key.display(),
            received = received.display(),
            own = folder.join("own.log").display(),
        );
        let config = scratch.file("rsyslog/rsyslog.conf", &config)?;
        let mut rsyslog = Self {
            daemon: None,
            config,
            received,
            port,
        };
        rsyslog.restart(scratch)?;
        Ok(rsyslog)
    }

    /// Starts it again on the same port and file.
    pub fn restart(&mut self, scratch: &Scratch) -> Result<()> {
        self.stop()?;
        let program = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"]
            .iter()
            .find(|path| Path::new(path).is_file());
        let mut command =
            Command::new(program.context("rsyslogd is not installed; run `cargo xtask setup`")?);
        command
            .arg("-n")
            .arg("-f")
            .arg(&self.config)
            .arg("-i")
            .arg(scratch.join("rsyslog/pid"));
        let mut daemon = Daemon::start(scratch, "rsyslog", &mut command)?;
        let port = self.port;
        daemon.wait_for(
            "listening",
            START_LIMIT,
            |_| Ok(is_listening(port)?.then_some(())),
        )?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Stops it, as for a maintenance.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.stop()?;
        }
        Ok(())
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The messages received so far, one per line.
    pub fn messages(&self) -> Vec<String> {
        fs::read(&self.received)
            .map(|bytes| {
                String::from_utf8_lossy(&bytes)
                    .lines()
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Waits for a message that `is_it` accepts.
    pub fn wait_for(&self, what: &str, limit: Duration, is_it: impl Fn(&str) -> bool) -> Result<String> {
        wait_until(&format!("{what} at rsyslog"), limit, || {
            Ok(self.messages().into_iter().find(|line| is_it(line)))
        })
        .with_context(|| format!("rsyslog has received:\n{}", self.messages().join("\n")))
    }
}
