//! TLS to the database. The certificate of the database and its host name are always checked.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresError;
use crate::database::Protection;

/// A file of certificate authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("it cannot be read as PEM")]
    Pem(#[from] PemError),
    #[error("a certificate in it is invalid")]
    Invalid(#[from] rustls::Error),
    #[error("it has no certificate: name a file with lines such as -----BEGIN CERTIFICATE-----")]
    Empty,
}

/// Returns how connections are encrypted, and sets `config` accordingly; `None` if they are not encrypted.
pub(super) fn connector(
    config: &mut Config,
    protection: Protection,
) -> Result<Option<MakeRustlsConnect>, PostgresError> {
    let roots = match protection {
        Protection::Tls { roots } => roots,
        // An address that is not a URL.
        Protection::Asked if config.get_ssl_mode() == SslMode::Require => None,
        Protection::Asked => return Ok(None),
    };
    config.ssl_mode(SslMode::Require);
    let roots = match roots {
        Some(path) => authorities(&path).map_err(|source| PostgresError::Authorities { path, source })?,
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    Ok(Some(MakeRustlsConnect::new(tls)))
}

fn authorities(path: &Path) -> Result<RootCertStore, AuthorityError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err(AuthorityError::Empty) } else { Ok(roots) }
}
