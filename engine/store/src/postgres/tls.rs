//! TLS to PostgreSQL, with the meaning that `sslmode` has in other clients of PostgreSQL.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{OpenError, PostgresSettings};

/// Whether connections use TLS, and what they check of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// No TLS.
    Disable,
    /// TLS if the server offers it; nothing is checked.
    Prefer,
    /// TLS; nothing is checked, so this protects against listeners and not against another server.
    Require,
    /// TLS with a certificate of a trusted authority.
    Authority,
    /// TLS with a certificate of a trusted authority for the host's name.
    Full,
}

impl Verification {
    /// Parses `sslmode`. With `sslrootcert`, `require` means `verify-ca`. Default: `prefer`, and no TLS on a Unix socket.
    pub(super) fn parse(mode: Option<&str>, has_roots: bool, is_socket: bool) -> Result<Self, String> {
        Ok(match mode {
            _ if is_socket => Self::Disable,
            Some("disable") => Self::Disable,
            None | Some("prefer") => Self::Prefer,
            Some("require") if has_roots => Self::Authority,
            Some("require") => Self::Require,
            Some("verify-ca") => Self::Authority,
            Some("verify-full") => Self::Full,
            Some(_) => {
                return Err("sslmode is disable, prefer, require, verify-ca or verify-full".to_owned());
            }
        })
    }

    pub(super) fn ssl_mode(self) -> SslMode {
        match self {
            Self::Disable => SslMode::Disable,
            Self::Prefer => SslMode::Prefer,
            Self::Require | Self::Authority | Self::Full => SslMode::Require,
        }
    }
}

/// The connector of these settings.
pub(super) fn connector(settings: &PostgresSettings) -> Result<MakeRustlsConnect, OpenError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |message: String| OpenError::Tls {
        target: settings.target.clone(),
        message,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let config = match settings.verification {
        Verification::Full => {
            let roots = roots(settings.root_certificates.as_deref()).map_err(failed)?;
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        other => {
            let inner = match other {
                Verification::Authority => {
                    let roots = roots(settings.root_certificates.as_deref()).map_err(failed)?;
                    let verifier =
                        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                            .build();
                    Some(verifier.map_err(|error| failed(error.to_string()))?)
                }
                _ => None,
            };
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient { provider, inner }))
                .with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The certificates of the trusted authorities: those of the file, else the system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            let shown = path.display();
            let text = fs::read(path).map_err(|error| format!("sslrootcert {shown}: {error}"))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| format!("sslrootcert {shown}: {error}"))?;
                let added = roots.add(certificate);
                added.map_err(|error| format!("sslrootcert {shown}: {error}"))?;
            }
            if roots.is_empty() {
                return Err(format!("sslrootcert {shown} contains no certificate"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(
                    "the system has no trusted certificates: name a file with sslrootcert".to_owned(),
                );
            }
        }
    }
    Ok(roots)
}

/// Checks the signatures of the handshake, and the certificate's authority if there is an inner verifier, but not the
/// host's name.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    inner: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
