use super::super::claim::{Claim, HeadError};
use super::*;
use bytes::Bytes;
use norma_wire::Event;
use norma_wire::audit::{BatchHeads, NodeKey as KeyRecord};
use norma_wire::pb::EventId;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivateKeyDer;

/// A node that signs as an agent does, and a log that is written as a collector does.
struct Line {
    key: KeyPair,
    certificate: Vec<u8>,
    previous: Vec<u8>,
    next: u64,
    records: Vec<Record>,
}

impl Line {
    fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = certificate(&key, "n");
        let mut line = Self {
            key,
            certificate,
            previous: Vec::new(),
            next: 1,
            records: Vec::new(),
        };
        line.record_key();
        line
    }

    fn push(&mut self, body: Body) {
        let index = self.records.len() as u64 + 1;
        self.records.push(Record {
            index,
            received_wall_ns: 0,
            body: Some(body),
        });
    }

    fn record_key(&mut self) {
        let key = NodeKey::of(&self.certificate).unwrap();
        self.push(Body::NodeKey(KeyRecord {
            node: "n".into(),
            key: key.id().to_vec(),
            chain: vec![self.certificate.clone()],
        }));
    }

    fn events(&self, count: u64) -> Vec<Bytes> {
        (self.next..self.next + count)
            .map(|sequence| {
                let id = EventId {
                    node: "n".into(),
                    epoch: 7,
                    sequence,
                };
                let event = Event {
                    id: Some(id),
                    ..Event::default()
                };
                Bytes::from(event.encode_to_vec())
            })
            .collect()
    }

    fn sign(&mut self, events: &[Bytes]) -> SignedHead {
        let hashes: Vec<Hash> = events.iter().map(|event| hash(event)).collect();
        let last = self.next + events.len() as u64 - 1;
        let head = BatchHead {
            node: "n".into(),
            epoch: 7,
            previous: std::mem::take(&mut self.previous),
            first_sequence: self.next,
            last_sequence: last,
            events: events.len() as u64,
            digest: digest(&hashes).to_vec(),
            ..BatchHead::default()
        }
        .encode_to_vec();
        self.previous = hash(&head).to_vec();
        self.next = last + 1;
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let offered = [
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ];
        let signer = key.choose_scheme(&offered).unwrap();
        SignedHead {
            signature: signer.sign(&norma_wire::head::signed_bytes(&head)).unwrap(),
            scheme: u16::from(signer.scheme()).into(),
            head,
            key: NodeKey::of(&self.certificate).unwrap().id().to_vec(),
        }
    }

    /// A batch, stored with its head.
    fn batch(&mut self, count: u64) {
        let events = self.events(count);
        let signed = self.sign(&events);
        for event in events {
            self.push(Body::Event(event));
        }
        self.push(Body::BatchHeads(BatchHeads { heads: vec![signed] }));
    }

    fn report(&self) -> ChainReport {
        let (mut reports, told) = Chains::check(None, &self.records);
        assert_eq!(reports.len(), 1);
        assert_eq!(told.len(), reports[0].faults.len(), "{told:?}");
        reports.remove(0)
    }
}

fn certificate(key: &KeyPair, node: &str) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let uri = format!("spiffe://norma/node/{node}");
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
    params.self_signed(key).unwrap().der().to_vec()
}

#[test]
fn what_a_node_signed_is_proven_for_each_kind_of_key_and_over_a_new_one() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let mut line = Line::new(algorithm);
        line.batch(10);
        line.batch(1);
        line.key = KeyPair::generate().unwrap();
        line.certificate = certificate(&line.key, "n");
        line.record_key();
        line.batch(5);
        let report = line.report();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!((report.heads, report.signed, report.unsigned), (3, 16, 0));
    }
}

#[test]
fn a_changed_removed_or_made_up_event_shows() {
    let intact = || {
        let mut line = Line::new(&rcgen::PKCS_ED25519);
        line.batch(3);
        line.batch(3);
        line.batch(3);
        line
    };
    let mut changed = intact();
    let Some(Body::Event(bytes)) = &mut changed.records[2].body else {
        panic!()
    };
    let mut event = Event::decode(bytes.clone()).unwrap();
    event.unit = "x".into();
    *bytes = event.encode_to_vec().into();
    assert_eq!(changed.report().faults.len(), 1);

    let mut removed = intact();
    removed.records.remove(2);
    assert!(removed.report().faults[0].what.contains("signed for 3 events"));

    // A whole batch with its head: the next head does not follow.
    let mut left_out = intact();
    left_out.records.drain(5..9);
    let report = left_out.report();
    assert_eq!((report.breaks.len(), report.faults.len()), (1, 0), "{report:?}");

    let mut made_up = intact();
    let more = made_up.events(1);
    made_up.push(Body::Event(more[0].clone()));
    let report = made_up.report();
    assert!(report.is_sound() && report.unsigned == 1, "{report:?}");
}

#[test]
fn a_head_by_another_key_or_without_its_certificate_does_not_count() {
    let mut forged = Line::new(&rcgen::PKCS_ED25519);
    forged.key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    forged.batch(2);
    let report = forged.report();
    assert_eq!((report.heads, report.unsigned), (0, 2));
    assert!(report.faults[0].what.contains("does not verify"), "{report:?}");

    let mut unknown = Line::new(&rcgen::PKCS_ED25519);
    unknown.records.clear();
    unknown.batch(2);
    assert!(unknown.report().faults[0].what.contains("no certificate"));

    let mut of_another = Line::new(&rcgen::PKCS_ED25519);
    of_another.records.clear();
    of_another.certificate = certificate(&of_another.key, "m");
    of_another.record_key();
    of_another.batch(2);
    assert!(of_another.report().faults[0].what.contains("node m"));
}

#[test]
fn one_signature_vouches_for_those_before_it_and_a_wrong_one_for_none() {
    let line = || {
        let mut line = Line::new(&rcgen::PKCS_ED25519);
        (0..30).for_each(|_| line.batch(2));
        line
    };
    let damage = |line: &mut Line, heads: &[usize]| {
        let stored = line
            .records
            .iter_mut()
            .filter_map(|record| match &mut record.body {
                Some(Body::BatchHeads(stored)) => Some(&mut stored.heads[0]),
                _ => None,
            });
        for (number, head) in stored.enumerate() {
            if heads.contains(&number) {
                head.signature[9] ^= 1;
            }
        }
    };
    let found = |heads: &[usize]| {
        let mut line = line();
        damage(&mut line, heads);
        let report = line.report();
        assert_eq!(report.signed, report.heads * 2);
        assert_eq!(report.signed + report.unsigned, 60);
        let sequences: Vec<u64> = report.faults.iter().map(|fault| fault.first_sequence).collect();
        (report.heads, sequences)
    };
    assert_eq!(found(&[]), (30, vec![]));
    // The last one, for which nothing vouches, and others before it that nothing else vouches for either.
    assert_eq!(found(&[29]), (29, vec![59]));
    assert_eq!(found(&[27, 28, 29]), (27, vec![55, 57, 59]));
    // A later head that the same key signed names it.
    assert_eq!(found(&[5, 20, 28]), (30, vec![]));
    assert_eq!(found(&(0..30).collect::<Vec<_>>()).0, 0);

    // Behind a break nothing vouches for what is before it.
    let mut broken = line();
    damage(&mut broken, &[4]);
    let at = broken
        .records
        .iter()
        .position(|record| record.index == 1 + 5 * 3 + 1);
    let at = at.unwrap();
    broken.records.drain(at..at + 3);
    let report = broken.report();
    assert_eq!(
        (report.breaks.len(), report.faults.len(), report.heads),
        (1, 1, 28),
        "{report:?}"
    );
}

#[test]
fn a_collector_takes_no_head_that_does_not_fit() {
    let mut line = Line::new(&rcgen::PKCS_ECDSA_P384_SHA384);
    let key = NodeKey::of(&line.certificate).unwrap();
    let events = line.events(3);
    let signed = line.sign(&events);
    let of = |node: &str| Outbox {
        node: node.into(),
        epoch: 7,
    };
    let check = |outbox: &Outbox, signed: &SignedHead, events: &[Bytes]| {
        Claim::check(outbox, &key, signed.clone(), events).err()
    };
    assert_eq!(check(&of("n"), &signed, &events), None);
    assert_eq!(
        check(&of("n"), &signed, &events[1..]),
        Some(HeadError::OtherEvents)
    );
    assert!(matches!(
        check(&of("m"), &signed, &events),
        Some(HeadError::Foreign { .. })
    ));
    let mut other = signed.clone();
    other.signature[9] ^= 1;
    assert!(matches!(
        check(&of("n"), &other, &events),
        Some(HeadError::Signature(_))
    ));
}
