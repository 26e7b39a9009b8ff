//! `norma-collector pki`.

use crate::pki::{
    Authority, NODE_DAYS, NodeName, PkiError, SERVER_DAYS, ServerNames, TrustDomain, issue_node,
    issue_server, show,
};
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// More than ten years is more than the authority itself is valid.
const MAX_DAYS: i64 = 3650;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a certificate authority: ca.pem and ca-key.pem, valid for ten years
    Init {
        /// Where to; nothing there is overwritten
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Trust domain of the nodes' names, spiffe://TRUSTDOMAIN/node/NAME
        #[arg(long, value_name = "NAME", default_value = "norma")]
        trust_domain: String,
    },
    /// Make a certificate and its key
    #[command(subcommand)]
    Issue(Issue),
    /// Print the certificates in a PEM file
    Show {
        /// The file
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Issue {
    /// For a collector: server.pem and server-key.pem
    Server {
        #[command(flatten)]
        places: Places,
        /// A DNS name under which agents reach it; may be given several times
        #[arg(long, value_name = "NAME")]
        dns: Vec<String>,
        /// An address under which agents reach it; may be given several times
        #[arg(long, value_name = "ADDRESS")]
        ip: Vec<IpAddr>,
        /// Days for which it is valid
        #[arg(long, default_value_t = SERVER_DAYS, value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
        days: u32,
    },
    /// For the agent of a node: node.pem and node-key.pem
    Node {
        /// Name of the node, as in the agent's configuration
        name: String,
        #[command(flatten)]
        places: Places,
        /// Days for which it is valid
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
        days: u32,
    },
}

#[derive(Debug, Args)]
pub struct Places {
    /// Directory of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Where to; nothing there is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Command {
    pub fn execute(self) -> Result<(), PkiError> {
        match self {
            Self::Init { dir, trust_domain } => {
                let trust_domain: TrustDomain = trust_domain.parse()?;
                Authority::create(&dir, &trust_domain)?;
                println!(
                    "made {0}/ca.pem and {0}/ca-key.pem; keep the key away from collectors and nodes",
                    dir.display()
                );
            }
            Self::Issue(Issue::Server {
                places: Places { ca, out },
                dns,
                ip,
                days,
            }) => {
                issue_server(&Authority::open(&ca)?, &out, &ServerNames { dns, ip }, days)?;
                println!(
                    "made {0}/server.pem and {0}/server-key.pem, valid for {days} days",
                    out.display()
                );
            }
            Self::Issue(Issue::Node {
                name,
                places: Places { ca, out },
                days,
            }) => {
                let node: NodeName = name.parse()?;
                issue_node(&Authority::open(&ca)?, &out, &node, days)?;
                println!(
                    "made {0}/node.pem and {0}/node-key.pem, valid for {days} days",
                    out.display()
                );
            }
            Self::Show { file } => {
                for (number, facts) in show(&file)?.iter().enumerate() {
                    if number > 0 {
                        println!();
                    }
                    println!("{facts}");
                }
            }
        }
        Ok(())
    }
}
