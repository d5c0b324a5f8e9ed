//! A stub HTTP server, with or without TLS: it records the requests and returns the replies of a test.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// A request that a stub received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// The path with the query.
    pub path: String,
    head: String,
    /// The whole body, as received.
    pub body: Vec<u8>,
}

/// The reply of a stub.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

/// A server that runs until its process ends.
pub struct Stub {
    /// The address that the stub listens on.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

impl Request {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut of_name = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value.trim())
    }
}

impl Reply {
    /// A reply with this status and content type.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: format!("content-type: {kind}\r\n"),
            body: body.into(),
        }
    }

    /// A reply with status 200 and a JSON body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new(200, "application/json", value.to_string())
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

impl Stub {
    /// Starts a stub for plain HTTP.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen(None, Arc::new(answer))
    }

    /// Starts a stub for TLS on `localhost` and 127.0.0.1, with a certificate that [`authority`] signed.
    pub fn start_tls(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let certificates = CertificateDer::pem_file_iter(tls_file("server.pem"))
            .and_then(Iterator::collect)
            .expect("the certificate");
        let key = PrivateKeyDer::from_pem_file(tls_file("server.key")).expect("the key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("the key fits the certificate");
        Self::listen(Some(Arc::new(config)), Arc::new(answer))
    }

    fn listen(tls: Option<Arc<ServerConfig>>, answer: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tls, answer, kept) = (tls.clone(), answer.clone(), kept.clone());
                std::thread::spawn(move || {
                    // The test decides whether a disconnected client is an error.
                    let _ = converse(stream, tls, &*answer, &kept);
                });
            }
        });
        Self { address, requests }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic under this lock").clone()
    }
}

/// The certificate authority that signed the certificate of [`Stub::start_tls`].
pub fn authority() -> PathBuf {
    tls_file("authority.pem")
}

pub(crate) fn tls_file(name: &str) -> PathBuf {
    super::repository().join("engine/host/tests/host/tls").join(name)
}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: &Handler,
    kept: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    match tls {
        None => one_request(stream, answer, kept),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            one_request(StreamOwned::new(connection, stream), answer, kept)
        }
    }
}

fn one_request(stream: impl Read + Write, answer: &Handler, kept: &Mutex<Vec<Request>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        body: Vec::new(),
        head: head.clone(),
    };
    let length = request
        .header("content-length")
        .and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut request.body)?;
    kept.lock()
        .expect("no panic under this lock")
        .push(request.clone());
    let Reply {
        status,
        headers,
        body,
    } = answer(&request);
    let stream = reader.get_mut();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )?;
    stream.write_all(&body)?;
    stream.flush()
}
