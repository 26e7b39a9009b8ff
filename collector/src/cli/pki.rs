//! `norma-collector pki`.

use super::{Failure, Output};
use crate::config::Config;
use crate::enrolment::Issuer;
use crate::enrolment::token::Tokens;
use crate::pki::{
    Authority, CRL_DAYS, NODE_DAYS, NodeName, Person, Reason, Role, SERVER_DAYS, Serial, ServerNames,
    TrustDomain, issue_node, issue_person, issue_server, publish, revoke, show,
};
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Revoke a certificate, and make a revocation list that says so: crl.pem in the authority's directory
    ///
    /// Give the list to collectors as `tls.crl`; they take it up at once and end open connections of the certificate.
    Revoke {
        /// Directory of the authority
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        #[command(flatten)]
        which: Which,
        /// Why
        #[arg(long, value_enum, default_value_t)]
        reason: Reason,
    },
    /// Make a new revocation list, also where nothing was revoked: one that is out of date locks everybody out
    Crl {
        /// Directory of the authority
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// Where to; an older list there is replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Days after which there must be a newer one
        #[arg(long, default_value_t = CRL_DAYS, value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
        days: u32,
    },
    /// Make a token with which a node gets its first certificate, once: `norma-agent enrol`
    Token {
        /// Name of the node, as in the agent's configuration
        node: String,
        /// Configuration file (YAML) of the collector, which must have `enrolment`
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How long it is good
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = norma_settings::duration)]
        lifetime: Duration,
        /// Form of the output
        #[arg(long, value_enum, default_value = "human")]
        output: Output,
    },
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
    /// For a person or program that runs or audits the collector: ROLE.pem and ROLE-key.pem
    Person {
        /// What they may do; neither may deliver events
        #[arg(value_enum)]
        role: PersonRole,
        /// Their name, in the form of a node's
        name: String,
        #[command(flatten)]
        places: Places,
        /// Days for which it is valid
        #[arg(long, default_value_t = NODE_DAYS, value_parser = clap::value_parser!(u32).range(1..=MAX_DAYS))]
        days: u32,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// The certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its serial number in hexadecimal digits, as `pki show` prints it
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PersonRole {
    /// Runs the collector: lets nodes enrol
    Operator,
    /// Sees what the audit log has
    Auditor,
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
    pub fn execute(self) -> Result<(), Failure> {
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
            Self::Issue(Issue::Person {
                role,
                name,
                places: Places { ca, out },
                days,
            }) => {
                let person: Person = name.parse()?;
                let role = match role {
                    PersonRole::Operator => Role::Operator,
                    PersonRole::Auditor => Role::Auditor,
                };
                issue_person(&Authority::open(&ca)?, &out, role, &person, days)?;
                println!(
                    "made {0}/{1}.pem and {0}/{1}-key.pem, valid for {days} days",
                    out.display(),
                    role.as_str()
                );
            }
            Self::Revoke { ca, which, reason } => {
                let serial = match (which.certificate, which.serial) {
                    (Some(file), _) => Serial::of_file(&file)?,
                    (None, serial) => serial.unwrap_or_default().parse()?,
                };
                revoke(&ca, &serial, reason)?;
                println!(
                    "revoked {serial}; {}/crl.pem says so, and is to be replaced within {CRL_DAYS} days",
                    ca.display()
                );
            }
            Self::Crl { ca, out, days } => {
                publish(&ca, &out, days)?;
                println!("made {}, to be replaced within {days} days", out.display());
            }
            Self::Token {
                node,
                config,
                lifetime,
                output,
            } => token(&node.parse()?, &config, lifetime, output)?,
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

fn token(node: &NodeName, config: &Path, lifetime: Duration, output: Output) -> Result<(), Failure> {
    let path = config;
    let config = Config::read(path)?;
    let Some(enrolment) = config.enrolment.clone() else {
        return Err(Failure::Other(format!(
            "{}: there is no `enrolment`, so no node can use a token",
            path.display()
        )));
    };
    let authority = Issuer(enrolment).authority()?;
    let token = Tokens::in_directory(&config.tokens_dir())
        .make(node, lifetime, &authority)
        .map_err(|error| Failure::Other(error.to_string()))?;
    match output {
        Output::Human => println!("{token}"),
        Output::Json => println!(
            "{}",
            serde_json::json!({ "node": node.as_str(), "token": token.to_string(), "seconds": lifetime.as_secs() })
        ),
    }
    Ok(())
}
