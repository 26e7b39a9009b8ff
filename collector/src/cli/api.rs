//! `norma-collector api`: what auditors and operators ask of a running collector.

mod hold;

use super::{Failure, Output};
use crate::audit::show;
use clap::{Args, Subcommand};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use norma_wire::Event;
use norma_wire::api::audit_client::AuditClient;
use norma_wire::api::operation_client::OperationClient;
use norma_wire::api::{
    CheckpointRequest, DecideRequest, GapsRequest, ManifestsRequest, ProveRequest, QueryRequest, StatusReply,
    StatusRequest, TokenRequest,
};
use norma_wire::audit::{Record, record::Body};
use prost::Message as _;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// For connecting alone: a search of a large log takes its time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// `api …`.
#[derive(Debug, Args)]
pub struct ApiArgs {
    #[command(flatten)]
    target: Target,
    /// Form of the output
    #[arg(long, value_enum, default_value = "human", global = true)]
    output: Output,
    #[command(subcommand)]
    ask: Ask,
}

/// The collector, and who asks it.
#[derive(Debug, Args)]
struct Target {
    /// Where the collector answers (`api.listen` of its configuration)
    #[arg(long, value_name = "HOST:PORT")]
    collector: String,
    /// Name that its certificate must have, where that is not the host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Authorities of its certificate (PEM)
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Certificate of the operator or auditor (PEM), as `pki issue person` makes it
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Ask {
    /// How the collector is (auditor or operator)
    Status,
    /// The newest checkpoint, to be kept elsewhere for `audit verify --expect` (auditor)
    Checkpoint,
    /// The manifests of sealed segments (auditor)
    Manifests,
    /// What did not arrive; exit status 1 where something is not accounted for (auditor)
    Gaps,
    /// A proof of one event that somebody else can check with `audit check-proof` (auditor)
    Prove {
        /// The event as NODE/EPOCH/SEQUENCE, or the index of a record
        wanted: String,
    },
    /// Records that fit, in the order of the log (auditor)
    Query(QueryArgs),
    /// Make a token with which a node gets its first certificate, once (operator)
    Token {
        /// Name of the node, as in the agent's configuration
        node: String,
        /// How long it is good
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = norma_settings::duration)]
        lifetime: Duration,
    },
    /// Hand in signed decisions on baselines (operator)
    Decide {
        /// File with the decisions
        file: PathBuf,
    },
    /// Legal holds: what must not be removed, whatever its age
    #[command(subcommand)]
    Hold(hold::Command),
}

#[derive(Debug, Args)]
struct QueryArgs {
    /// Received from this time on, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Received up to this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Only of these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,
    /// Only these kinds of events (exec, open, ...) or records (rejected, gap, refused, ...)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only of containers of these namespaces
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    namespace: Vec<String>,
    /// Only what somebody should look at
    #[arg(long)]
    alerts: bool,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    limit: u64,
}

impl ApiArgs {
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| other(&error))?;
        runtime.block_on(async {
            let channel = self.target.connect().await?;
            self.ask.ask(channel, &self.target, self.output).await
        })
    }
}

fn other(error: &dyn std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}

/// What the collector answers instead.
fn told(status: &tonic::Status) -> Failure {
    let cause = status
        .source()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    Failure::Other(format!("the collector answers: {}{cause}", status.message()))
}

impl Target {
    async fn connect(&self) -> Result<Channel, Failure> {
        let host = self.collector.rsplit_once(':').map_or("", |(host, _)| host);
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned()).map_err(|_| {
            Failure::Other(format!(
                "--collector {}: not HOST:PORT, or --server-name is no name",
                self.collector
            ))
        })?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let failed = |error: String| Failure::Other(format!("cannot reach {}: {error}", self.collector));
        let endpoint = Endpoint::from_shared(format!("http://{}", self.collector))
            .map_err(|error| failed(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT);
        let address = self.collector.clone();
        let service = tower::service_fn(move |_: http::Uri| {
            let (connector, address, name) = (connector.clone(), address.clone(), name.clone());
            async move {
                let tcp = TcpStream::connect(&address).await?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
            }
        });
        endpoint.connect_with_connector(service).await.map_err(|error| {
            let cause = error.source().map(ToString::to_string);
            failed(cause.unwrap_or_else(|| error.to_string()))
        })
    }

    fn tls(&self) -> Result<ClientConfig, Failure> {
        let wrong = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::Other(format!("cannot use {}: {error}", path.display()))
        };
        let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, Failure> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| wrong(path, &error))
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(|error| wrong(&self.ca, &error))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, &error))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| other(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.certificate)?, key)
            .map_err(|error| wrong(&self.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }

    /// Whether the certificate is an operator's, to whom another service answers.
    fn is_operator(&self) -> bool {
        let leaf = CertificateDer::pem_file_iter(&self.certificate)
            .ok()
            .and_then(|mut certificates| certificates.next()?.ok());
        leaf.and_then(|leaf| crate::pki::principal_of(&leaf).ok())
            .is_some_and(|(who, _)| who.role() == crate::pki::Role::Operator)
    }
}

impl Ask {
    async fn ask(self, channel: Channel, target: &Target, output: Output) -> Result<(), Failure> {
        let mut audit = AuditClient::new(channel.clone());
        let mut operation = OperationClient::new(channel.clone());
        let json = output == Output::Json;
        match self {
            Self::Hold(command) => command.ask(channel, target, output).await?,
            Self::Status => {
                let answer = if target.is_operator() {
                    operation.status(StatusRequest {}).await
                } else {
                    audit.status(StatusRequest {}).await
                };
                print_status(&answer.map_err(|status| told(&status))?.into_inner(), json);
            }
            Self::Checkpoint => {
                let answer = audit.checkpoint(CheckpointRequest {}).await;
                let answer = answer.map_err(|status| told(&status))?.into_inner();
                let note = String::from_utf8_lossy(&answer.note);
                if json {
                    println!("{:#}", serde_json::json!({ "note": note, "key": answer.key }));
                } else {
                    print!("{note}");
                }
            }
            Self::Manifests => {
                let answer = audit.manifests(ManifestsRequest {}).await;
                let mut manifests = answer.map_err(|status| told(&status))?.into_inner();
                while let Some(found) = manifests.message().await.map_err(|status| told(&status))? {
                    let text = String::from_utf8_lossy(&found.manifest);
                    if json {
                        println!("{}", serde_json::json!({ "file": found.file, "manifest": text }));
                    } else {
                        println!("{text}");
                    }
                }
            }
            Self::Gaps => {
                let answer = audit.gaps(GapsRequest {}).await;
                let answer = answer.map_err(|status| told(&status))?.into_inner();
                println!("{}", answer.json);
                if !answer.explained {
                    return Err(Failure::Told);
                }
            }
            Self::Prove { wanted } => {
                let answer = audit.prove(ProveRequest { wanted }).await;
                let proof = answer.map_err(|status| told(&status))?.into_inner().proof;
                if json {
                    println!("{}", serde_json::json!({ "proof": proof }));
                } else {
                    print!("{proof}");
                }
            }
            Self::Query(query) => {
                let answer = audit.query(query.request()).await;
                let mut found = answer.map_err(|status| told(&status))?.into_inner();
                let mut out = std::io::stdout().lock();
                while let Some(reply) = found.message().await.map_err(|status| told(&status))? {
                    let line = line(&reply.record, json)?;
                    match writeln!(out, "{line}") {
                        // Whoever reads has seen enough, as `head` has.
                        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
                        written => written.map_err(|error| other(&error))?,
                    }
                }
            }
            Self::Token { node, lifetime } => {
                let seconds = lifetime.as_secs().max(1);
                let request = TokenRequest {
                    node: node.clone(),
                    seconds,
                };
                let answer = operation.make_token(request).await;
                let token = answer.map_err(|status| told(&status))?.into_inner().token;
                if json {
                    let told = serde_json::json!({ "node": node, "token": token, "seconds": seconds });
                    println!("{told}");
                } else {
                    println!("{token}");
                }
            }
            Self::Decide { file } => {
                let overlay = std::fs::read(&file)
                    .map_err(|error| Failure::Other(format!("cannot read {}: {error}", file.display())))?;
                let answer = operation.decide(DecideRequest { overlay }).await;
                let outcomes = answer.map_err(|status| told(&status))?.into_inner().outcomes;
                if json {
                    println!("{}", serde_json::json!({ "outcomes": outcomes }));
                } else {
                    outcomes.iter().for_each(|outcome| println!("{outcome}"));
                }
            }
        }
        Ok(())
    }
}

impl QueryArgs {
    fn request(self) -> QueryRequest {
        let nanoseconds =
            |time: Option<Timestamp>| time.map_or(0, |time| u64::try_from(time.as_nanosecond()).unwrap_or(0));
        QueryRequest {
            from_wall_ns: nanoseconds(self.from),
            to_wall_ns: nanoseconds(self.to),
            nodes: self.node,
            kinds: self.kind,
            namespaces: self.namespace,
            alerts: self.alerts,
            limit: self.limit,
        }
    }
}

/// A record as `audit show` prints it.
fn line(record: &[u8], json: bool) -> Result<String, Failure> {
    let record = Record::decode(record).map_err(|error| other(&error))?;
    if json {
        return serde_json::to_string(&record).map_err(|error| other(&error));
    }
    let event = match &record.body {
        Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
        _ => None,
    };
    Ok(show::line(&record, event.as_ref()))
}

fn print_status(status: &StatusReply, json: bool) {
    let time = show::time(status.wall_ns);
    if json {
        println!(
            "{:#}",
            serde_json::json!({
                "collector_version": status.collector_version,
                "log": status.origin,
                "records": status.records,
                "head": status.head,
                "checkpoint_size": status.checkpoint_size,
                "time": time,
            })
        );
    } else {
        println!(
            "collector {}, {time}\nlog {}: {} records, head {}\ncheckpoint of {} entries",
            status.collector_version, status.origin, status.records, status.head, status.checkpoint_size
        );
    }
}
