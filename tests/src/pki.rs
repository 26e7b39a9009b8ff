//! Certificates, made by the collector's own commands.

use crate::program::{Programs, output};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A private authority and the certificates it has issued, one folder each.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    programs: Programs,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Pki {
    /// Makes an authority in `folder`.
    pub fn create(programs: &Programs, folder: &Path) -> Result<Self> {
        output(
            programs
                .collector()
                .args(["pki", "init", "--dir"])
                .arg(folder.join("ca")),
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            programs: programs.clone(),
        })
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca/ca.pem")
    }

    /// A server certificate for `localhost` and 127.0.0.1, issued the first time that a name is asked for.
    pub fn server(&self, name: &str) -> Result<KeyPair> {
        let out = self.folder.join(name);
        let pair = KeyPair {
            certificate: out.join("server.pem"),
            key: out.join("server-key.pem"),
        };
        if !pair.certificate.exists() {
            self.issue(&["server", "--dns", "localhost", "--ip", "127.0.0.1"], &out)?;
        }
        Ok(pair)
    }

    /// Issues the certificate of a node, valid for `days`.
    pub fn node(&self, node: &str, days: u32) -> Result<KeyPair> {
        let out = self.folder.join(format!("{node}-{days}"));
        self.issue(&["node", node, "--days", &days.to_string()], &out)?;
        Ok(KeyPair {
            certificate: out.join("node.pem"),
            key: out.join("node-key.pem"),
        })
    }

    /// Issues the certificate of an operator or auditor.
    pub fn person(&self, role: &str, name: &str) -> Result<KeyPair> {
        let out = self.folder.join(format!("{role}-{name}"));
        self.issue(&["person", role, name], &out)?;
        Ok(KeyPair {
            certificate: out.join(format!("{role}.pem")),
            key: out.join(format!("{role}-key.pem")),
        })
    }

    fn issue(&self, what: &[&str], out: &Path) -> Result<()> {
        let mut command = self.programs.collector();
        command
            .args(["pki", "issue"])
            .args(what)
            .arg("--ca")
            .arg(self.folder.join("ca"));
        output(command.arg("--out").arg(out)).map(drop)
    }

    /// Makes a revocation list.
    pub fn crl(&self, days: u32) -> Result<PathBuf> {
        let list = self.folder.join("ca/crl.pem");
        let mut command = self.programs.collector();
        command.args(["pki", "crl", "--days", &days.to_string(), "--ca"]);
        output(command.arg(self.folder.join("ca")).arg("--out").arg(&list))?;
        Ok(list)
    }

    /// Revokes a certificate; the list says so.
    pub fn revoke(&self, certificate: &Path) -> Result<()> {
        let mut command = self.programs.collector();
        command.args(["pki", "revoke", "--reason", "key-compromise", "--ca"]);
        output(
            command
                .arg(self.folder.join("ca"))
                .arg("--certificate")
                .arg(certificate),
        )?;
        Ok(())
    }
}
