//! Headers by which a server takes a request for another one: with another method, another path or another host than the
//! request line has.
//!
//! Frameworks and proxies honour them, each some. Where a grant is for some methods or paths only, they would lead past
//! it, so they are left out then.

use http::{HeaderMap, HeaderName};

/// The names, with `-` for `_`, which many servers take for the same.
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
    // The other path of COPY and MOVE (RFC 4918).
    "destination",
    // Another host.
    "x-host",
    "x-original-host",
    "x-backend-host",
    "x-real-ip",
    "forwarded",
];

/// What a proxy says of the request that it got: the host, the path's beginning, the scheme.
const PREFIX: &str = "x-forwarded-";

/// Removes such headers, and answers which.
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
    fn what_makes_another_request_of_one_is_removed() {
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
