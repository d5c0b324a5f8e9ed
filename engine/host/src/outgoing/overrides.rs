//! Headers that make a server treat a request as another one: with another method, path or host than those of the
//! request line.
//!
//! Different frameworks and proxies honour different ones. They would circumvent a grant that covers only some methods
//! or paths, so they are removed from such requests.

use http::{HeaderMap, HeaderName};

/// The names, with `-` for `_`, which many servers treat alike.
const NAMES: [&str; 24] = [
    // Another method.
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-method",
    "x-original-method",
    "x-forwarded-method",
    // Another path or URL.
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-rewrite-uri",
    "x-override-url",
    "x-http-destinationurl",
    "x-http-path-override",
    "x-http-host-override",
    "x-proxy-url",
    "request-uri",
    "x-request-uri",
    "x-envoy-original-path",
    // The destination path of COPY and MOVE (RFC 4918).
    "destination",
    // Another host.
    "x-host",
    "x-original-host",
    "x-backend-host",
    "x-real-ip",
    "forwarded",
];

/// The prefix of headers in which a proxy describes the original request: its host, path prefix and scheme.
const PREFIX: &str = "x-forwarded-";

/// Removes such headers, and returns their names.
pub(super) fn remove(headers: &mut HeaderMap) -> Vec<HeaderName> {
    let overrides = |name: &&HeaderName| {
        let name = name.as_str().replace('_', "-");
        NAMES.contains(&&*name) || name.starts_with(PREFIX)
    };
    let found: Vec<HeaderName> = headers.keys().filter(overrides).cloned().collect();
    for name in &found {
        headers.remove(name);
    }
    found
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_that_override_the_request_are_removed() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-HTTP-Method-Override",
            "x_http_method_override",
            "x-method-override",
            "X-Original-URL",
            "x-rewrite-url",
            "x-forwarded-prefix",
            "destination",
            "accept",
            "x-request-id",
        ] {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name.clone(), HeaderValue::from_static("DELETE"));
            headers.append(name, HeaderValue::from_static("PUT"));
        }
        assert_eq!(remove(&mut headers).len(), 7);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "x-request-id"]);
    }
}
