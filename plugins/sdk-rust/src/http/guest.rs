//! Requests by wasi:http.

use wasip2::{
    http::{
        outgoing_handler::handle,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
        },
    },
    io::streams::StreamError,
};

use super::{Request, Response, Url};
use crate::{Error, Result};

/// How much is written, and read, at once.
const CHUNK_BYTES: usize = 64 << 10;

pub(super) fn send(request: &Request, url: &Url<'_>) -> Result<Response> {
    let shown = request.shown();
    let invalid = |what: &str| Error::permanent(format!("{shown} cannot be sent: {what}"));
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
        .map_err(|()| invalid("its method is none"))?;
    outgoing
        .set_scheme(Some(&scheme))
        .map_err(|()| invalid("its scheme is none"))?;
    outgoing
        .set_authority(Some(url.authority))
        .map_err(|()| invalid("its host is none"))?;
    outgoing
        .set_path_with_query(Some(url.path))
        .map_err(|()| invalid("its path is none"))?;
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
        // Where this does not go well, the answer says why.
        let _ = write(body, &request.body);
    }
    answer.subscribe().block();
    let response = answer
        .get()
        .and_then(Result::ok)
        .ok_or_else(|| Error::retryable(format!("{shown} failed: there was no answer")))?
        .map_err(|code| failed(&shown, &code))?;
    read(&shown, response)
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

fn read(shown: &str, response: IncomingResponse) -> Result<Response> {
    let status = response.status();
    let headers = response.headers().entries().into_iter();
    let headers = headers.filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)));
    let headers = headers.collect();
    let incoming: IncomingBody = response
        .consume()
        .map_err(|()| Error::permanent(format!("{shown}: the answer's body was taken before")))?;
    let stream = incoming
        .stream()
        .map_err(|()| Error::permanent(format!("{shown}: the answer's body was taken before")))?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(CHUNK_BYTES as u64) {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(kind(format!(
                    "{shown}: the answer broke off: {}",
                    error.to_debug_string()
                )));
            }
        }
    }
    Ok(Response {
        status,
        headers,
        body,
    })
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
        // What the engine itself says, in words of its own: that something was not granted, or a limit.
        ErrorCode::InternalError(Some(said)) => Error::permanent(said),
        ErrorCode::HttpRequestDenied
        | ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::TlsCertificateError => Error::permanent(format!("{shown} failed: {code:?}")),
        _ => Error::retryable(format!("{shown} failed: {code:?}")),
    }
}

/// An error while the answer was read: the engine's own words tell of a limit, which stays.
fn kind(message: String) -> Error {
    match message.contains("internal error") || message.contains("InternalError") {
        true => Error::permanent(message),
        false => Error::retryable(message),
    }
}
