//! TLS connections to the hosts that guests send requests to.

use std::{io, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, sync::OnceCell, task::spawn_blocking};
use tokio_rustls::{TlsConnector, client::TlsStream};
use wasmtime_wasi_http::Error;

use super::error::{SendError, internal};

/// The trusted certificate authorities, loaded for the first request.
pub(crate) struct Tls {
    authorities: Option<PathBuf>,
    config: OnceCell<Arc<ClientConfig>>,
}

impl Tls {
    /// Trusts the authorities in this file, or those of the machine.
    pub(crate) fn new(authorities: Option<PathBuf>) -> Self {
        Self {
            authorities,
            config: OnceCell::new(),
        }
    }

    /// Starts TLS on a connection. The server's certificate must match the host.
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, SendError> {
        let failed = |error: Error, reason: String| SendError::Broken { error, reason };
        let config = self.config.get_or_try_init(|| self.load()).await;
        let config = config.map_err(|message| failed(internal(message.clone()), message))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| failed(Error::TlsProtocolError, format!("`{host}`: {error}")))?;
        let connecting = TlsConnector::from(config.clone()).connect(name, stream);
        connecting.await.map_err(|error| {
            let message = match error.get_ref().and_then(|error| error.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
                Some(_) => Error::TlsProtocolError,
                None if error.kind() == io::ErrorKind::UnexpectedEof => Error::ConnectionTerminated,
                None => Error::TlsProtocolError,
            };
            failed(message, format!("TLS: {error}"))
        })
    }

    async fn load(&self) -> Result<Arc<ClientConfig>, String> {
        let authorities = self.authorities.clone();
        let loaded = spawn_blocking(move || config(authorities)).await;
        loaded.map_err(|error| error.to_string())?.map(Arc::new)
    }
}

fn config(authorities: Option<PathBuf>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let from = match authorities {
        Some(file) => {
            let failed = |error| format!("no certificate authorities in {}: {error}", file.display());
            let certificates = CertificateDer::pem_file_iter(&file).map_err(failed)?;
            roots.add_parsable_certificates(certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?);
            file.display().to_string()
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "this machine".to_owned()
        }
    };
    if roots.is_empty() {
        return Err(format!(
            "{from} has no certificate authority to trust: install the package ca-certificates, or set \
             SSL_CERT_FILE to a file of them"
        ));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
