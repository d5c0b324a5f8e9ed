//! Sends one request: resolves the host's name, tries the addresses that the grant allows, and uses a new connection.

use std::{
    error::Error as _,
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use heddle_kernel::Level;
use http::{Request, Response, Uri};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    task::spawn_blocking,
    time::timeout,
};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::{
    body::{Limit, LimitedBody},
    error::{SendError, internal},
    forms::SecretForms,
    log::RequestEntry,
    mask::{self, MaskedBody},
};
use crate::{
    memory::Charge,
    policy::{self, CallLimits, RequestTarget, Rules, Secret},
    resources::Resources,
};

/// How long one address is tried before the next one.
const NEXT_ADDRESS: Duration = Duration::from_secs(3);

/// The longest head of a response, in bytes.
pub(super) const HEAD_BYTES: usize = 128 << 10;

/// The most headers of a response.
const HEADERS: usize = 200;

/// A granted request with the data that its exchange needs.
pub(super) struct Exchange {
    pub(super) resources: Arc<Resources>,
    pub(super) rules: Arc<Rules>,
    pub(super) limits: Arc<CallLimits>,
    pub(super) target: RequestTarget,
    pub(super) options: RequestOptions,
    /// The permit of an active request, returned when the response's body ends.
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) entry: RequestEntry,
    /// Secrets that the response may contain and the guest must not see.
    pub(super) secrets: Vec<Secret>,
}

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Exchange {
    /// Sends the request. The response's body is read as the guest reads it.
    ///
    /// The charge and the unit of an open file are returned when the response's body ends.
    pub(super) async fn send(
        self,
        request: Request<WasiBody>,
        charge: Option<Charge>,
    ) -> Result<Response<WasiBody>, Error> {
        let open = self
            .resources
            .open_files
            .acquire(&self.rules.usage.files, 1)
            .await;
        let limits = &self.limits;
        let for_request = self.limit("body", "http_request_bytes", limits.http_request_bytes);
        let for_answer = self.limit("answer", "http_response_bytes", limits.http_response_bytes);
        let sender = self.entry.log.output.clone();
        let request = request.map(|body| LimitedBody::new(body, for_request).spending(sender));
        let answered = self.exchange(request).await.and_then(|(response, connection)| {
            match response.body().size_hint().lower() > for_answer.bytes as u64 {
                true => Err(SendError::Refused(for_answer.message.clone())),
                false => Ok((response, connection)),
            }
        });
        match answered {
            Ok((response, connection)) => {
                let status = response.status().as_u16();
                self.entry.end(Level::Info, format_args!("answered {status}"));
                let output = self.entry.log.output.clone();
                let quiet = self.options.between_bytes_timeout;
                let held = (self.permit, connection, open, charge);
                let (mut head, body) = response.into_parts();
                let forms = SecretForms::of(&self.secrets);
                mask::headers(&mut head.headers, &forms);
                let body = MaskedBody::new(body, forms);
                let body = LimitedBody::new(body, for_answer).noting(output).holding(held);
                Ok(Response::from_parts(head, body.within(quiet).boxed_unsync()))
            }
            Err(SendError::Refused(message)) => {
                self.entry.refuse(&message);
                Err(internal(message))
            }
            Err(SendError::Broken { error, reason }) => {
                self.entry.end(Level::Warn, format_args!("failed ({reason})"));
                Err(error)
            }
        }
    }

    fn limit(&self, what: &str, name: &str, limit: policy::Limit<usize>) -> Limit {
        let (plugin, shown) = (&self.rules.plugin, &self.entry.shown);
        let (bytes, limit) = (limit.value, limit.bytes(name));
        Limit {
            bytes,
            message: format!(
                "the {what} of {shown}, a request of plugin `{plugin}`, is larger than its limit of {limit}"
            ),
        }
    }

    /// Connects, sends the request, and waits for the head of the response.
    async fn exchange(
        &self,
        request: Request<LimitedBody<WasiBody>>,
    ) -> Result<(Response<Incoming>, AbortOnDropJoinHandle<()>), SendError> {
        let stream = within(self.options.connect_timeout, self.connect(), || {
            SendError::broken(
                Error::ConnectionTimeout,
                "the guest's time limit for connecting is over",
            )
        })
        .await?;
        within(self.options.first_byte_timeout, send(stream, request), || {
            SendError::broken(
                Error::ConnectionReadTimeout,
                "the guest's time limit for the response is over",
            )
        })
        .await
    }

    /// Connects to an address of the host that the grant allows.
    async fn connect(&self) -> Result<Box<dyn Stream>, SendError> {
        let origin = &self.target.origin;
        let mut last = None;
        let addresses = self.addresses().await?;
        let tries = addresses.len();
        for (at, address) in addresses.into_iter().enumerate() {
            let connecting = TcpStream::connect(address);
            let connected = match at + 1 < tries {
                true => timeout(NEXT_ADDRESS, connecting)
                    .await
                    .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
                false => connecting.await,
            };
            match connected {
                Ok(stream) if origin.is_https => {
                    let stream = self.resources.tls.connect(&origin.host, stream).await?;
                    return Ok(Box::new(stream));
                }
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => last = Some((address, error)),
            }
        }
        let (address, error) = last.expect("there is at least one address");
        let message = match error.kind() {
            ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            ErrorKind::TimedOut => Error::ConnectionTimeout,
            _ => Error::DestinationUnavailable,
        };
        Err(SendError::broken(
            message,
            format_args!("{}: {error}", address.ip()),
        ))
    }

    /// The addresses of the host that the request may connect to; at least one.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, SendError> {
        let origin = &self.target.origin;
        let found: Vec<SocketAddr> = match origin.address() {
            Some(address) => vec![(address, origin.port).into()],
            None => {
                let found = self.look_up().await;
                found.map_err(|error| {
                    let reason = format!("`{}` has no address: {error}", origin.host);
                    let (rcode, info_code) = (Some(reason.clone()), None);
                    SendError::broken(Error::DnsError { rcode, info_code }, reason)
                })?
            }
        };
        let mut refused = None;
        let allowed: Vec<_> = found
            .into_iter()
            .filter(|address| match self.check(address.ip()) {
                Ok(()) => true,
                Err(what) => {
                    refused.get_or_insert((address.ip(), what));
                    false
                }
            })
            .collect();
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some((address, what))) => Err(SendError::Refused(format!(
                "plugin `{}` was not granted the request {}: `{}` is at {address}, {what}, which its grant does not \
                 name. To allow it, add `private: [\"{address}\"]` to the grant of {origin} in the policy",
                self.rules.plugin, self.entry.shown, origin.host
            ))),
            (true, None) => Err(SendError::broken(
                Error::DestinationNotFound,
                format_args!("`{}` has no address", origin.host),
            )),
        }
    }

    /// Asks the system, on a thread that waits for the answer even if the call has ended.
    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let permit = self.resources.lookups.acquire(&self.rules.usage.lookups, 1).await;
        let (host, port) = (self.target.origin.host.clone(), self.target.origin.port);
        let found = spawn_blocking(move || {
            let found = (host, port).to_socket_addrs().map(Iterator::collect);
            drop(permit);
            found
        });
        found.await.map_err(io::Error::other)?
    }

    /// Whether a grant that covers the request allows a connection to this address.
    fn check(&self, address: IpAddr) -> Result<(), &'static str> {
        let covering = self
            .rules
            .grants
            .http
            .iter()
            .filter(|grant| grant.covers(&self.target));
        let checked = covering.map(|grant| grant.check(address));
        let either = |one: Result<_, _>, other| if one.is_ok() { one } else { other };
        checked.reduce(either).unwrap_or(Err("an address"))
    }
}

/// Waits up to a limit that the guest sets.
async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, SendError>>,
    over: impl FnOnce() -> SendError,
) -> Result<T, SendError> {
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(over())),
    }
}

/// Sends a request over a new connection.
async fn send(
    stream: Box<dyn Stream>,
    mut request: Request<LimitedBody<WasiBody>>,
) -> Result<(Response<Incoming>, AbortOnDropJoinHandle<()>), SendError> {
    // Servers expect a path, only proxies a URL.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    *request.uri_mut() =
        Uri::try_from(path).map_err(|error| SendError::broken(Error::HttpRequestUriInvalid, error))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(of_hyper)?;
    let connection = spawn(async move {
        // The sender and the reader of the response see how the connection ends.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(of_hyper)?;
    Ok((response, connection))
}

fn of_hyper(error: hyper::Error) -> SendError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // The request's body ended with this error.
        if let Some(Error::InternalError(Some(message))) = cause.downcast_ref() {
            return SendError::Refused(message.clone());
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            reason = format!("{reason}: {cause}");
        }
        source = cause.source();
    }
    let message = match () {
        () if error.is_parse_too_large() => Error::HttpResponseHeaderSectionSize(None),
        () if error.is_parse() => Error::HttpProtocolError,
        () if error.is_incomplete_message() => Error::HttpResponseIncomplete,
        () => Error::ConnectionTerminated,
    };
    SendError::broken(message, reason)
}
