//! A server on loopback that responds as a test needs, and records its requests.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use futures_util::future::BoxFuture;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// A request.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedRequest {
    /// The method and the path.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: usize,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A response.
pub(crate) enum Answer {
    /// A status, more headers (each with its line end), and a body of a known length.
    Of(u16, &'static str, Vec<u8>),
    /// A body without a declared length.
    Unsaid(usize),
    /// No response, while the connection stays open.
    Never,
    /// An empty response, when this future is ready.
    When(BoxFuture<'static, ()>),
}

impl Answer {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Of(200, "", body.as_bytes().to_vec())
    }
}

type Answers = Arc<dyn Fn(&ReceivedRequest) -> Answer + Send + Sync>;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    arrived: Arc<Semaphore>,
}

impl Server {
    pub(crate) async fn answering(
        answer: impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start(answer, None).await
    }

    /// With a certificate that only the tests' own authority signed.
    pub(crate) async fn secret(answer: impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static) -> Self {
        let certificates = CertificateDer::pem_file_iter(tls("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(tls("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates.map(Result::unwrap).collect(), key)
            .unwrap();
        Self::start(answer, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(
        answer: impl Fn(&ReceivedRequest) -> Answer + Send + Sync + 'static,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            arrived: Arc::new(Semaphore::new(0)),
        };
        let (requests, arrived, answer) = (
            server.requests.clone(),
            server.arrived.clone(),
            Arc::new(answer) as Answers,
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, arrived, answer) = (requests.clone(), arrived.clone(), answer.clone());
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &requests, &arrived, &answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &requests, &arrived, &answer).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// The idempotency keys of the requests so far.
    pub(crate) fn keys(&self) -> Vec<Option<String>> {
        let key = |request: &ReceivedRequest| request.header("idempotency-key").map(str::to_owned);
        self.requests().iter().map(key).collect()
    }

    /// Waits for the next request.
    pub(crate) async fn next(&self) {
        crate::soon(self.arrived.acquire()).await.unwrap().forget();
    }
}

pub(crate) fn tls(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/host/tls")
        .join(file)
}

/// Handles one request. The client sees errors on the way.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    requests: &Mutex<Vec<ReceivedRequest>>,
    arrived: &Semaphore,
    answer: &Answers,
) {
    let mut stream = BufReader::new(stream);
    let mut request = ReceivedRequest::default();
    let mut line = String::new();
    while stream.read_line(&mut line).await.unwrap_or(0) > 2 {
        let text = std::mem::take(&mut line);
        match text.trim_end().split_once(": ") {
            Some((name, value)) => request.headers.push((name.to_lowercase(), value.to_owned())),
            None => request.line = text.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        }
    }
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    if stream.read_exact(&mut body).await.is_err() {
        return;
    }
    request.body = length;
    let answer = answer(&request);
    requests.lock().unwrap().push(request);
    arrived.add_permits(1);
    let _ = match answer {
        Answer::Of(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).await;
            stream.write_all(&body).await
        }
        Answer::Unsaid(bytes) => {
            let _ = stream.write_all(b"HTTP/1.1 200 X\r\n\r\n").await;
            stream.write_all(&vec![b'x'; bytes]).await
        }
        Answer::Never => std::future::pending().await,
        Answer::When(over) => {
            over.await;
            stream
                .write_all(b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
                .await
        }
    };
    let _ = stream.shutdown().await;
}
