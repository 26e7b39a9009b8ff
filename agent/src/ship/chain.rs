//! Signed heads: what this node states of each batch, chained by hash and signed with the key of its certificate.
//!
//! The chain goes on over streams, restarts and new keys: the collector says at each welcome which head it holds, and
//! this node remembers the ones that it signed and that were acknowledged. Where the two differ, the node goes by what
//! it remembers, and the audit log shows a chain that does not fit together.

use crate::outbox::Batch;
use norma_wire::head::{self, Hash};
use norma_wire::pb::{BatchHead, Handover, KindCount, SignedHandover, SignedHead};
use prost::Message as _;
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most heads that are remembered; more are not on their way at any time.
const REMEMBERED: usize = 64;
/// In the order of preference; those of TLS 1.3 that keys of certificates have.
const SCHEMES: [SignatureScheme; 7] = [
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Signs with the key of this node's certificate.
#[derive(Clone, Debug)]
pub struct HeadSigner {
    key: Arc<dyn SigningKey>,
    /// SHA-256 of the certificate's SubjectPublicKeyInfo.
    key_id: Hash,
}

impl HeadSigner {
    /// A signer for a certificate with this SubjectPublicKeyInfo (DER).
    pub fn new(key: Arc<dyn SigningKey>, public_key_info: &[u8]) -> Self {
        Self {
            key,
            key_id: head::hash(public_key_info),
        }
    }

    fn sign(&self, encoded: Vec<u8>) -> Result<SignedHead, rustls::Error> {
        let (scheme, signature) = self.signature(&head::signed_bytes(&encoded))?;
        Ok(SignedHead {
            signature,
            scheme,
            head: encoded,
            key: self.key_id.to_vec(),
        })
    }

    /// Signs what other collectors hold.
    pub fn hand_over(&self, handover: &Handover) -> Result<SignedHandover, rustls::Error> {
        let encoded = handover.encode_to_vec();
        let (scheme, signature) = self.signature(&head::signed_handover(&encoded))?;
        Ok(SignedHandover {
            signature,
            scheme,
            handover: encoded,
            key: self.key_id.to_vec(),
        })
    }

    fn signature(&self, message: &[u8]) -> Result<(u32, Vec<u8>), rustls::Error> {
        let signer = self
            .key
            .choose_scheme(&SCHEMES)
            .ok_or_else(|| rustls::Error::General("the key of the certificate cannot sign".to_owned()))?;
        Ok((u16::from(signer.scheme()).into(), signer.sign(message)?))
    }
}

/// A head that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    last: u64,
    hash: Hash,
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    epoch: u64,
    acknowledged: Option<Link>,
}

/// This node's side of the chain of an epoch.
#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
    node: String,
    epoch: u64,
    /// In ascending order of what they cover.
    links: VecDeque<Link>,
    /// What the file says.
    stored: Option<Link>,
}

impl Chain {
    /// Reads what an earlier run remembered of this epoch. Without it the chain goes on from what the collector says.
    pub fn open(path: &Path, node: &str, epoch: u64) -> Self {
        let stored = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok())
            .filter(|stored| stored.epoch == epoch)
            .and_then(|stored| stored.acknowledged);
        Self {
            path: path.to_owned(),
            node: node.to_owned(),
            epoch,
            links: stored.into_iter().collect(),
            stored,
        }
    }

    /// After which sequence a stream goes on, when the collector holds everything up to `durable`, `held` as its last
    /// head, and had acknowledged up to `acknowledged`.
    ///
    /// Events that the collector has without a head that covers them are sent again, so that one does.
    pub fn resume(&mut self, durable: u64, held: Option<&SignedHead>, acknowledged: u64) -> u64 {
        let held = held.and_then(|signed| {
            let head = BatchHead::decode(&signed.head[..]).ok()?;
            let ours = head.node == self.node && head.epoch == self.epoch;
            ours.then(|| Link {
                last: head.last_sequence,
                hash: head::hash(&signed.head),
            })
        });
        let covered = held.map_or(durable, |link| link.last.min(durable));
        let after = covered.max(acknowledged);
        self.links.retain(|link| link.last <= after);
        if let Some(held) = held.filter(|link| link.last <= after) {
            match self.links.iter().find(|link| link.last >= held.last) {
                Some(link) if *link != held && link.last == held.last => tracing::error!(
                    sequence = held.last,
                    "the collector holds another head of this node's events than the one that it signed"
                ),
                // It remembers less than this node, or the same.
                Some(_) => {}
                None => self.push(held),
            }
        }
        after
    }

    /// The head of a batch that goes out after everything up to `sent`.
    pub fn head(
        &mut self,
        signer: &HeadSigner,
        batch: &Batch,
        sent: u64,
        kernel_lost: Vec<KindCount>,
    ) -> Result<SignedHead, rustls::Error> {
        let hashes: Vec<Hash> = batch.events.iter().map(|event| head::hash(event)).collect();
        let encoded = BatchHead {
            node: self.node.clone(),
            epoch: self.epoch,
            previous: self
                .links
                .back()
                .map(|link| link.hash.to_vec())
                .unwrap_or_default(),
            first_sequence: sent + 1,
            last_sequence: batch.last,
            events: batch.events.len() as u64,
            digest: head::digest(&hashes).to_vec(),
            kernel_lost,
            wall_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        }
        .encode_to_vec();
        let link = Link {
            last: batch.last,
            hash: head::hash(&encoded),
        };
        let signed = signer.sign(encoded)?;
        self.push(link);
        Ok(signed)
    }

    /// The collector holds everything up to a sequence, heads included.
    pub fn acknowledged(&mut self, through: u64) {
        while self.links.get(1).is_some_and(|link| link.last <= through) {
            self.links.pop_front();
        }
    }

    /// Hash of the newest head of what is acknowledged, which a head of what comes after that names.
    pub fn newest(&self, acknowledged: u64) -> Option<Hash> {
        let covered = self.links.iter().rev().find(|link| link.last <= acknowledged);
        covered.map(|link| link.hash)
    }

    /// Remembers the newest acknowledged head beyond this run; cheap where nothing changed.
    pub fn save(&mut self, acknowledged: u64) {
        let newest = self
            .links
            .front()
            .copied()
            .filter(|link| link.last <= acknowledged);
        if newest == self.stored || newest.is_none() {
            return;
        }
        let stored = Stored {
            epoch: self.epoch,
            acknowledged: newest,
        };
        let temporary = self.path.with_extension("new");
        let written = serde_json::to_vec(&stored)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&temporary, bytes))
            .and_then(|()| std::fs::rename(&temporary, &self.path));
        match written {
            Ok(()) => self.stored = newest,
            // The collector says at the next welcome what it holds.
            Err(error) => tracing::debug!(%error, "cannot remember the newest batch head"),
        }
    }

    fn push(&mut self, link: Link) {
        self.links.push_back(link);
        if self.links.len() > REMEMBERED {
            self.links.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rustls_pki_types::PrivateKeyDer;
    use rustls_pki_types::pem::PemObject as _;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n";

    fn signer() -> HeadSigner {
        let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        HeadSigner::new(key, b"info")
    }

    fn batch(first: u64, last: u64) -> Batch {
        Batch {
            events: (first..=last)
                .map(|number| Bytes::from(number.to_string()))
                .collect(),
            last,
        }
    }

    fn head(chain: &mut Chain, first: u64, last: u64) -> (SignedHead, BatchHead) {
        let signed = chain
            .head(&signer(), &batch(first, last), first - 1, Vec::new())
            .unwrap();
        let head = BatchHead::decode(&signed.head[..]).unwrap();
        (signed, head)
    }

    #[test]
    fn heads_are_chained_over_restarts_and_lost_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chain");
        let mut chain = Chain::open(&path, "n", 7);
        assert_eq!(chain.resume(0, None, 0), 0);
        let (first, one) = head(&mut chain, 1, 10);
        assert_eq!(
            (
                one.previous.len(),
                one.first_sequence,
                one.last_sequence,
                one.events
            ),
            (0, 1, 10, 10)
        );
        let (second, two) = head(&mut chain, 11, 20);
        assert_eq!(two.previous, head::hash(&first.head));
        chain.acknowledged(20);
        chain.save(20);
        // Its own memory, although the collector says nothing of heads.
        let mut again = Chain::open(&path, "n", 7);
        assert_eq!(again.resume(20, None, 20), 20);
        assert_eq!(head(&mut again, 21, 30).1.previous, head::hash(&second.head));
        // The collector's, where it has none or that of another epoch.
        for (path, epoch) in [(dir.path().join("gone"), 7), (path.clone(), 7)] {
            let mut again = Chain::open(&path, "n", epoch);
            assert_eq!(again.resume(20, Some(&second), 20), 20);
            assert_eq!(head(&mut again, 21, 30).1.previous, head::hash(&second.head));
        }
        let mut other = Chain::open(&path, "n", 8);
        assert_eq!(other.resume(0, Some(&second), 0), 0);
        assert_eq!(head(&mut other, 1, 2).1.previous, Vec::<u8>::new());
    }

    #[test]
    fn what_no_head_covers_is_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut chain = Chain::open(&dir.path().join("chain"), "n", 7);
        chain.resume(0, None, 0);
        let (first, _) = head(&mut chain, 1, 10);
        head(&mut chain, 11, 20);
        // Events up to 20 are stored, of the heads only the first.
        assert_eq!(chain.resume(20, Some(&first), 0), 10);
        assert_eq!(head(&mut chain, 11, 30).1.previous, head::hash(&first.head));
        // What was acknowledged is gone from the outbox and is not sent again.
        assert_eq!(chain.resume(5, Some(&first), 20), 20);
    }
}
