//! What an agent signs of its batches, for clients that play one.

use anyhow::{Context as _, Result};
use norma_rig::pki::KeyPair;
use norma_wire::head::{self, Hash};
use norma_wire::pb::{Batch, BatchHead, SignedHead};
use prost::Message as _;
use prost::bytes::Bytes;
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;

/// In the order in which agents prefer them.
const SCHEMES: [SignatureScheme; 2] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
];

/// The chain of signed heads of one node and epoch.
pub struct Signer {
    node: String,
    epoch: u64,
    key: Arc<dyn SigningKey>,
    key_id: Hash,
    previous: Vec<u8>,
}

impl Signer {
    /// A chain that goes on after `newest`.
    pub fn new(identity: &KeyPair, node: &str, epoch: u64, newest: Option<&SignedHead>) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_file(&identity.key)?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)?;
        let info = key.public_key().context("the key has no public part")?;
        Ok(Self {
            node: node.to_owned(),
            epoch,
            key_id: head::hash(&info),
            key,
            previous: newest
                .map(|signed| head::hash(&signed.head).to_vec())
                .unwrap_or_default(),
        })
    }

    /// The batch of events with the sequences `first` to `last`, at `wall_ns` by the node's clock.
    pub fn batch(&mut self, events: Vec<Bytes>, (first, last): (u64, u64), wall_ns: u64) -> Result<Batch> {
        let hashes: Vec<Hash> = events.iter().map(|event| head::hash(event)).collect();
        let encoded = BatchHead {
            node: self.node.clone(),
            epoch: self.epoch,
            previous: std::mem::take(&mut self.previous),
            first_sequence: first,
            last_sequence: last,
            events: events.len() as u64,
            digest: head::digest(&hashes).to_vec(),
            kernel_lost: Vec::new(),
            wall_ns,
        }
        .encode_to_vec();
        let signer = self.key.choose_scheme(&SCHEMES).context("not an ECDSA key")?;
        self.previous = head::hash(&encoded).to_vec();
        let head = SignedHead {
            signature: signer.sign(&head::signed_bytes(&encoded))?,
            scheme: u16::from(signer.scheme()).into(),
            head: encoded,
            key: self.key_id.to_vec(),
        };
        Ok(Batch {
            events,
            head: Some(head),
        })
    }
}
