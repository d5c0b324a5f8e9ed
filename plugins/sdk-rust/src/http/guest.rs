//! Requests by wasi:http.

use wasip2::{
    http::{
        outgoing_handler::handle,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
        },
    },
    io::streams::{InputStream, StreamError},
};

use super::{Incoming, Request, Url};
use crate::{Error, Result};

/// How much is written, and read, at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Sends a request and waits for the head of the response.
pub(super) fn open(request: &Request, url: &Url<'_>) -> Result<Incoming> {
    let shown = request.shown();
    let invalid = |what: &str| Error::permanent(format!("{shown} cannot be sent: {what}"));
    let outgoing = outgoing(request, url, &invalid)?;
    let body = match request.body.is_empty() {
        true => None,
        false => Some(
            outgoing
                .body()
                .map_err(|()| invalid("its body is not what its headers say"))?,
        ),
    };
    let answer = handle(outgoing, None).map_err(|code| failed(&shown, &code))?;
    if let Some(body) = body {
        // If this fails, the response says why.
        let _ = write(body, &request.body);
    }
    answer.subscribe().block();
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| Error::retryable(format!("{shown} failed: there was no response")))?
        .map_err(|code| failed(&shown, &code))?;
    let headers = response.headers().entries().into_iter();
    let headers = headers.filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)));
    Ok(Incoming {
        status: response.status(),
        headers: headers.collect(),
        body: Body::of(shown, response)?,
    })
}

/// A request with everything but its body.
fn outgoing(request: &Request, url: &Url<'_>, invalid: &dyn Fn(&str) -> Error) -> Result<OutgoingRequest> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| invalid(&format!("the header `{name}`: {error}")))?;
    }
    if !request.body.is_empty() && !headers.has("content-length") {
        let length = request.body.len().to_string();
        headers
            .append("content-length", length.as_bytes())
            .map_err(|error| invalid(&error.to_string()))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method(&request.method))
        .map_err(|()| invalid("its method is not valid"))?;
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(|()| invalid("its scheme is not valid"))?;
    outgoing
        .set_authority(Some(url.authority))
        .map_err(|()| invalid("the URL has no valid host name"))?;
    outgoing
        .set_path_with_query(Some(url.path))
        .map_err(|()| invalid("the URL has no valid path"))?;
    Ok(outgoing)
}

/// The body of an answer that is still coming. The fields are dropped in this order, children first.
pub(super) struct Body {
    stream: InputStream,
    _incoming: IncomingBody,
    _response: IncomingResponse,
    shown: String,
}

impl Body {
    fn of(shown: String, response: IncomingResponse) -> Result<Self> {
        let taken = || Error::permanent(format!("{shown}: the response's body was already read"));
        let incoming = response.consume().map_err(|()| taken())?;
        let stream = incoming.stream().map_err(|()| taken())?;
        Ok(Self {
            stream,
            _incoming: incoming,
            _response: response,
            shown,
        })
    }

    /// The next bytes, as soon as there are any; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            match self.stream.blocking_read(CHUNK_BYTES as u64) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let (shown, detail) = (&self.shown, error.to_debug_string());
                    return Err(kind(format!("{shown}: the response broke off: {detail}")));
                }
            }
        }
    }
}

fn write(body: OutgoingBody, mut bytes: &[u8]) -> Result<(), ()> {
    let stream = body.write()?;
    while !bytes.is_empty() {
        stream.subscribe().block();
        let room = stream.check_write().map_err(drop)?;
        let now = bytes
            .len()
            .min(usize::try_from(room).unwrap_or(usize::MAX))
            .min(CHUNK_BYTES);
        stream.write(&bytes[..now]).map_err(drop)?;
        bytes = &bytes[now..];
    }
    stream.flush().map_err(drop)?;
    stream.subscribe().block();
    drop(stream);
    OutgoingBody::finish(body, None).map_err(drop)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn failed(shown: &str, code: &ErrorCode) -> Error {
    match code {
        // An error of the engine itself, with its own message: a missing grant, or a limit.
        ErrorCode::InternalError(Some(detail)) => Error::permanent(detail),
        ErrorCode::HttpRequestDenied
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::TlsCertificateError => Error::permanent(format!("{shown} failed: {code:?}")),
        _ => Error::retryable(format!("{shown} failed: {code:?}")),
    }
}

/// An error while the response was read. If the message comes from the engine, it names a limit, and the error is permanent.
fn kind(message: String) -> Error {
    match message.contains("internal error") || message.contains("InternalError") {
        true => Error::permanent(message),
        false => Error::retryable(message),
    }
}
