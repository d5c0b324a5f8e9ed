//! HTTP requests to a server, and their answers.
//!
//! Every answer that is not a success becomes an error: a [`Problem`], or a message that explains how to reach a server.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read, Write},
    ops::Deref,
    path::Path,
};

use anyhow::{Context, anyhow, bail};
use heddle_display as display;
use heddle_json::{Json, object};
use rustls::CertificateError;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use ureq::{
    Body, Timeout,
    http::{Response, header},
};

use crate::{
    Usage,
    connection::{Connection, Server},
    output,
    problem::{Flags, Problem},
};

/// The message for an answer that is not JSON.
const NOT_JSON: &str = "the server's answer is not JSON: is it Heddle?";
/// How many bytes of an error response are read.
const MAX_PROBLEM: u64 = 1 << 20;

/// Prints each item of a list as a line of JSON, with numbers as the server wrote them.
pub(crate) fn print_items(out: &mut impl Write, answer: &str, key: &str) -> anyhow::Result<()> {
    let members = read_members(answer)?;
    let items = members.get(key).map_or("[]", |items| items.get());
    let items: Vec<&RawValue> = serde_json::from_str(items).context(NOT_JSON)?;
    for item in items {
        // Line breaks in JSON occur only between values; inside strings they are escaped.
        let item = item.get().replace(['\n', '\r'], " ");
        writeln!(out, "{}", display::json(&item))?;
    }
    Ok(())
}

/// The members of an answer as the server wrote them, so that numbers stay exact.
pub(crate) fn read_members(answer: &str) -> anyhow::Result<BTreeMap<String, &RawValue>> {
    serde_json::from_str(answer).context(NOT_JSON)
}

/// The JSON text of a request's body. A [`RawValue`] in it keeps its text, so numbers stay exact.
pub(crate) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("the keys of a body are strings")
}

/// Reads an argument that is JSON, or `@FILE` with JSON in the file. Keeps the text of numbers.
///
/// # Errors
/// If the text is not JSON, or breaks a rule for which the server would refuse it.
pub(crate) fn json_argument(argument: &str, text: &str) -> anyhow::Result<Json> {
    let text = match text.strip_prefix('@') {
        Some(file) => read(Path::new(file))?,
        None => text.to_owned(),
    };
    object::admit(&text).map_err(|refused| {
        Usage::error(match refused.place {
            Some(_) => format!("{argument} is {refused}"),
            None => format!("{argument}: {refused}"),
        })
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        return io::read_to_string(io::stdin()).context("cannot read stdin");
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", output::path(file)))
}

pub(crate) fn get(server: &Server, path: &str) -> anyhow::Result<Value> {
    read_json(&get_text(server, path)?)
}

/// The text of the answer to a GET request.
pub(crate) fn get_text(server: &Server, path: &str) -> anyhow::Result<String> {
    let connection = server.connection()?;
    body(connection, connection.get(path).call(), &[])
}

pub(crate) fn post(server: &Server, path: &str, body: &str, flags: Flags) -> anyhow::Result<Answer> {
    post_with_key(server, path, body, None, flags)
}

/// Posts JSON, with an idempotency key. `flags` maps places in the body to the arguments that they come from; error
/// messages name the argument.
pub(crate) fn post_with_key(
    server: &Server,
    path: &str,
    json_body: &str,
    key: Option<&str>,
    flags: Flags,
) -> anyhow::Result<Answer> {
    let connection = server.connection()?;
    let mut request = connection.post(path).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    Answer::read(body(connection, request.send(json_body), flags)?)
}

/// Posts bytes of this content type.
pub(crate) fn upload(server: &Server, path: &str, kind: &str, bytes: &[u8]) -> anyhow::Result<Answer> {
    let connection = server.connection()?;
    let request = connection.post(path).header("content-type", kind);
    Answer::read(body(connection, request.send(bytes), &[("/name", "--name")])?)
}

/// The body of the answer to a GET request, as a stream.
pub(crate) fn download(server: &Server, path: &str) -> anyhow::Result<impl Read + use<>> {
    let connection = server.connection()?;
    let answered = check_status(connection, connection.get(path).call(), &[])?;
    Ok(answered.into_body().into_reader())
}

pub(crate) fn delete(server: &Server, path: &str) -> anyhow::Result<()> {
    let connection = server.connection()?;
    body(connection, connection.delete(path).call(), &[]).map(|_| ())
}

/// Sends a DELETE request that is answered with a list of what was deleted.
pub(crate) fn remove(server: &Server, path: &str) -> anyhow::Result<Value> {
    let connection = server.connection()?;
    read_json(&body(connection, connection.delete(path).call(), &[])?)
}

/// A JSON answer. Its text keeps numbers exact that do not fit into a double.
pub(crate) struct Answer {
    text: String,
    value: Value,
}

impl Answer {
    fn read(text: String) -> anyhow::Result<Self> {
        let value = read_json(&text)?;
        Ok(Self { text, value })
    }

    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// Prints the text of the answer to stdout, in one line.
    pub(crate) fn print(&self) -> io::Result<()> {
        output::print(display::json(&self.text))
    }
}

impl Deref for Answer {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// Parses an answer as JSON.
pub(crate) fn read_json(body: &str) -> anyhow::Result<Value> {
    serde_json::from_str(body).map_err(|error| match serde_json::from_str::<&RawValue>(body) {
        Ok(_) => anyhow!("the server's answer cannot be read: {error}"),
        Err(error) => anyhow!(error).context(NOT_JSON),
    })
}

/// The text of a successful answer.
fn body(
    connection: &Connection,
    result: Result<Response<Body>, ureq::Error>,
    flags: Flags,
) -> anyhow::Result<String> {
    let mut response = check_status(connection, result, flags)?;
    let mut body = String::new();
    let read = response.body_mut().as_reader().read_to_string(&mut body);
    read.with_context(|| format!("the answer of {} is incomplete", connection.url()))?;
    Ok(body)
}

/// Returns a successful answer, or an error for any other.
pub(crate) fn check_status(
    connection: &Connection,
    result: Result<Response<Body>, ureq::Error>,
    flags: Flags,
) -> anyhow::Result<Response<Body>> {
    let mut response = result.map_err(|error| unreachable(connection, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        let to = response.headers().get(header::LOCATION);
        let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        return Err(anyhow!(
            "{} redirects to {}: use that address with --server",
            connection.url(),
            display::line(&display::redact(to))
        ));
    }
    let mut body = String::new();
    let reader = response.body_mut().as_reader();
    // If the details cannot be read, the status is still reported.
    let _ = reader.take(MAX_PROBLEM).read_to_string(&mut body);
    let refusal = Problem::of(status, &connection.masked(&body), flags);
    if refusal.is_not_heddle(connection.has_path()) {
        bail!(
            "{} is not a Heddle server, it answered 404: check the path in --server",
            connection.url()
        );
    }
    Err(refusal.into())
}

/// The error for a server that cannot be reached, with advice.
fn unreachable(connection: &Connection, error: &ureq::Error) -> anyhow::Error {
    let url = connection.url();
    let of_tls = tls_error(error);
    if let (Some(proxy), None) = (connection.proxy(), of_tls) {
        let cause = display::redact(&error.to_string()).into_owned();
        return anyhow!(
            "no answer from {url} through the proxy {proxy} ({cause}): are both addresses right, and are both running?"
        );
    }
    match error {
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => anyhow!(
            "cannot connect to {url}: connection refused; is a server running at {url}? Start one with `heddle serve`, \
             or name another server with --server"
        ),
        ureq::Error::HostNotFound => {
            anyhow!("cannot connect to {url}: the host does not exist; is --server right?")
        }
        ureq::Error::Timeout(Timeout::Connect) => {
            anyhow!(
                "cannot connect to {url}: no answer in time; is --server right, and is the server reachable from here?"
            )
        }
        _ => match of_tls {
            Some(rustls::Error::InvalidCertificate(error)) => {
                anyhow!("cannot trust {url}: {}", untrusted(error))
            }
            Some(error) => {
                anyhow!(
                    "TLS with {url} failed ({error}); if the server uses plain HTTP, begin the URL with http://"
                )
            }
            None => anyhow!(
                "no answer from {url} ({}): is a Heddle server running there? Start one with `heddle serve`, or name \
                 another server with --server",
                display::line(&display::redact(&error.to_string()))
            ),
        },
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// Why a certificate is not trusted, with advice.
fn untrusted(error: &CertificateError) -> String {
    let reason = match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            return "no trusted authority signed its certificate; if a private certificate authority did, name that \
                    authority's file with --ca-cert FILE"
                .to_owned();
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: is the clock of this machine right?"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for other names: name the server as its certificate does"
        }
        // webpki has no public type for the errors that rustls passes on as they are.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "its certificate is one of a certificate authority, which a server must not use: create a certificate for \
             the server itself (with `openssl req -x509`, add `-addext basicConstraints=critical,CA:FALSE`)"
        }
        other => return format!("its certificate is not valid ({other})"),
    };
    reason.to_owned()
}

/// Escapes a name for use as one segment of a path (RFC 3986, 2.3).
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn the_reason_for_an_untrusted_certificate_says_what_to_do() {
        let of_authority = io::Error::other("CaUsedAsEndEntity");
        for (error, advice) in [
            (CertificateError::UnknownIssuer, "--ca-cert FILE"),
            (CertificateError::Expired, "has expired"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::NotValidForName, "other names"),
            (
                CertificateError::Other(OtherError(Arc::new(of_authority))),
                "CA:FALSE",
            ),
        ] {
            let reason = untrusted(&error);
            assert!(reason.contains(advice) && !reason.contains("Other"), "{reason}");
        }
    }
}
