//! What a peer must be able to do, in either build.

#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

use norma_crypto::{IS_FIPS, check, check_client, check_server};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::sync::Arc;

fn configs(of_client: CryptoProvider, of_server: CryptoProvider) -> (ClientConfig, ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["collector".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&key).unwrap().der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(of_server))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(of_client))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (client, server)
}

fn handshake(of_client: CryptoProvider, of_server: CryptoProvider) -> Result<(), Error> {
    let (client, server) = configs(of_client, of_server);
    let name = ServerName::try_from("collector").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn only_chacha() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256],
        ..default_provider()
    }
}

fn only_x25519() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    }
}

#[test]
fn what_is_approved_is_enough_in_either_build() {
    check().unwrap();
    let (client, server) = configs(default_provider(), default_provider());
    check_client(&client).unwrap();
    check_server(&server).unwrap();
    let approved = || CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::SECP384R1],
        ..default_provider()
    };
    handshake(approved(), default_provider()).unwrap();
    handshake(default_provider(), approved()).unwrap();
}

#[test]
fn a_fips_build_refuses_peers_that_can_only_do_what_is_not_approved() {
    for other in [only_chacha, only_x25519] {
        assert_eq!(handshake(other(), default_provider()).is_err(), IS_FIPS);
        assert_eq!(handshake(default_provider(), other()).is_err(), IS_FIPS);
        let (client, server) = configs(other(), other());
        assert_eq!(check_client(&client).is_err(), IS_FIPS);
        assert_eq!(check_server(&server).is_err(), IS_FIPS);
    }
}
