//! Renewing the certificate over the identity that it gives, when a third of its time is left.

use super::{Asked, EnrolError, store};
use crate::config::CollectorTarget;
use crate::ship::{self, ShipError};
use norma_wire::pb::RenewRequest;
use norma_wire::pb::renewal_client::RenewalClient;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether it is time, and how soon a renewal that failed is tried again.
const LOOK: Duration = Duration::from_secs(60);

/// Renews the certificate whenever it is due, for as long as this runs.
pub async fn run(target: CollectorTarget) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if !is_due(&target.certificate) {
            continue;
        }
        match renew(&target).await {
            Ok(()) => {
                let certificate = target.certificate.display();
                tracing::info!(%certificate, "renewed this node's certificate");
            }
            Err(error) => {
                tracing::error!(%error, "cannot renew this node's certificate; trying again in a minute");
            }
        }
    }
}

/// Why it was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// There is no connection with the certificate that is there.
    #[error(transparent)]
    Ship(#[from] ShipError),
    /// There is no new one.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
}

/// Has the collector certify a new key, and puts it in place.
pub async fn renew(target: &CollectorTarget) -> Result<(), RenewError> {
    let directory = target.certificate.parent().unwrap_or(Path::new("."));
    let channel = ship::channel(target).await?;
    let asked = Asked::new()?;
    let answer = RenewalClient::new(channel)
        .renew(RenewRequest {
            request: asked.request.clone(),
        })
        .await
        .map_err(|status| EnrolError::Refused(status.message().to_owned()))?
        .into_inner();
    let files = asked.answered(&answer)?;
    store::replace(directory, &files).map_err(|source| EnrolError::Store {
        directory: directory.to_owned(),
        source,
    })?;
    Ok(())
}

/// Whether a third of its time or less is left. One that cannot be read is for people to mend.
fn is_due(certificate: &Path) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(certificate) else {
        return false;
    };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else {
        return false;
    };
    let (begin, end) = (
        parsed.validity().not_before.timestamp(),
        parsed.validity().not_after.timestamp(),
    );
    let now = x509_parser::time::ASN1Time::now().timestamp();
    end - now <= (end - begin) / 3
}
