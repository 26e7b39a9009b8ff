//! A small client that speaks the contract as an agent does.

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use norma_rig::Pki;
use norma_rig::pki::KeyPair;
use norma_wire::pb::{
    self, Batch, EventId, Hello, ToAgent, ToCollector, VerdictKind, ingest_client::IngestClient, to_agent,
    to_collector,
};
use norma_wire::{Detail, Event};
use prost::Message as _;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;

/// An open stream to the collector.
pub struct Agent {
    pub welcome: pb::Welcome,
    pub epoch: u64,
    node: String,
    batches: mpsc::Sender<ToCollector>,
    answers: Streaming<ToAgent>,
}

impl Agent {
    /// Connects with a certificate and says hello as `node`.
    pub async fn connect(ca: &Path, identity: &KeyPair, port: u16, node: &str, epoch: u64) -> Result<Self> {
        Self::connect_with(ca, identity, port, node, epoch, Hello::default()).await
    }

    /// As [`Self::connect`], and says what else `hello` has.
    pub async fn connect_with(
        ca: &Path,
        identity: &KeyPair,
        port: u16,
        node: &str,
        epoch: u64,
        hello: Hello,
    ) -> Result<Self> {
        let tls = client_config(ca, Some(identity))?;
        let connector = tower::service_fn(move |_| {
            let tls = Arc::clone(&tls);
            async move { Ok::<_, std::io::Error>(TokioIo::new(connect_tls(tls, port).await?)) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await?;
        let mut client = IngestClient::new(channel)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let (batches, outgoing) = mpsc::channel(16);
        let hello = Hello {
            node: node.into(),
            epoch,
            agent_version: "test".into(),
            ..hello
        };
        batches
            .send(ToCollector {
                message: Some(to_collector::Message::Hello(hello)),
            })
            .await?;
        let mut answers = client.deliver(ReceiverStream::new(outgoing)).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.message) {
            Some(to_agent::Message::Welcome(welcome)) => Ok(Self {
                welcome,
                epoch,
                node: node.into(),
                batches,
                answers,
            }),
            other => bail!("not a welcome: {other:?}"),
        }
    }

    /// As [`Self::connect`], with a certificate that is issued for the purpose.
    pub async fn of_node(pki: &Pki, port: u16, node: &str, epoch: u64, days: u32) -> Result<Self> {
        Self::connect(&pki.ca(), &pki.node(node, days)?, port, node, epoch).await
    }

    /// As [`Self::of_node`], and says what else `hello` has.
    pub async fn of_node_with(
        pki: &Pki,
        port: u16,
        node: &str,
        (epoch, days): (u64, u32),
        hello: Hello,
    ) -> Result<Self> {
        Self::connect_with(&pki.ca(), &pki.node(node, days)?, port, node, epoch, hello).await
    }

    /// Waits until `sequence` is acknowledged; gives the checkpoint that came with it.
    pub async fn acknowledged_with(&mut self, sequence: u64) -> Result<Option<pb::Checkpoint>> {
        loop {
            if let to_agent::Message::Ack(ack) = self.answer().await?
                && ack.through >= sequence
            {
                return Ok(ack.checkpoint);
            }
        }
    }

    /// Events of this agent with sequences `first` to `last`.
    pub fn events(&self, first: u64, last: u64) -> Vec<Vec<u8>> {
        (first..=last)
            .map(|sequence| event(&self.node, self.epoch, sequence).encode_to_vec())
            .collect()
    }

    pub async fn send(&self, events: Vec<Vec<u8>>) -> Result<()> {
        let events = events.into_iter().map(Into::into).collect();
        let batch = to_collector::Message::Batch(Batch {
            events,
            ..Default::default()
        });
        self.batches
            .send(ToCollector { message: Some(batch) })
            .await
            .context("the stream is closed")
    }

    /// Says what it runs, or what it saw.
    pub async fn tell(&self, message: to_collector::Message) -> Result<()> {
        self.batches
            .send(ToCollector {
                message: Some(message),
            })
            .await
            .context("the stream is closed")
    }

    /// Waits for an answer of which something is looked for.
    pub async fn hears<T>(&mut self, find: impl Fn(to_agent::Message) -> Option<T>) -> Result<T> {
        loop {
            if let Some(found) = find(self.answer().await?) {
                return Ok(found);
            }
        }
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Result<to_agent::Message> {
        let answer = self
            .answers
            .message()
            .await?
            .context("the collector ended the stream")?;
        answer.message.context("an empty answer")
    }

    /// Waits until everything up to `sequence` is acknowledged; gives what else was answered.
    pub async fn acknowledged(&mut self, sequence: u64) -> Result<Vec<to_agent::Message>> {
        let mut others = Vec::new();
        loop {
            match self.answer().await? {
                to_agent::Message::Ack(ack) if ack.through >= sequence => return Ok(others),
                to_agent::Message::Ack(_) => {}
                other => others.push(other),
            }
        }
    }
}

/// An event as an agent makes it: every third one is an alert.
pub fn event(node: &str, epoch: u64, sequence: u64) -> Event {
    let novel = sequence.is_multiple_of(3);
    Event {
        id: Some(EventId {
            node: node.into(),
            epoch,
            sequence,
        }),
        wall_ns: 1_700_000_000_000_000_000 + sequence,
        kind: pb::Kind::Exec.into(),
        process: Some(pb::Process {
            pid: 4242,
            exe: "/usr/bin/nc".into(),
            argv: vec!["nc".into(), "-l".into(), "say \"]\\x41\"".into()],
            ancestors: vec![pb::Ancestor {
                pid: 1,
                start_boot_ns: 7,
                exe: "/bin/sh".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        container: Some(pb::Container {
            id: "0123456789abcdef".into(),
            name: "web".into(),
            ..Default::default()
        }),
        verdict: Some(pb::Verdict {
            kind: if novel {
                VerdictKind::Novel
            } else {
                VerdictKind::Expected
            }
            .into(),
            severity: pb::Severity::High.into(),
            score: 80,
            reasons: vec![pb::Reason {
                code: "baseline.exec".into(),
                expected: "programs this workload has started before".into(),
                why: "a program that was never seen may be an intruder's".into(),
                controls: vec!["NIST 800-53 SI-4".into()],
                ..Default::default()
            }],
            ..Default::default()
        }),
        detail: Some(Detail::Exec(pb::Exec {
            filename: "/usr/bin/nc".into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// TLS 1.3, with or without a client certificate.
pub fn client_config(ca: &Path, identity: Option<&KeyPair>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_file_iter(ca)? {
        roots.add(authority?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some(pair) => {
            let chain = CertificateDer::pem_file_iter(&pair.certificate)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

pub async fn connect_tls(config: Arc<ClientConfig>, port: u16) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    // As agents do: otherwise the end of a batch waits for the acknowledgement of its beginning.
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    TlsConnector::from(config).connect(name, tcp).await
}
