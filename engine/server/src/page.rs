//! The page at `/`, on which a run can be watched: a few files, made by hand, in the binary.

use axum::{Router, http::header, response::IntoResponse, routing::get};

/// What the page may do: run its own script, and talk to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let html = "text/html; charset=utf-8";
    let css = "text/css; charset=utf-8";
    let js = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", get(async || file(html, include_str!("../ui/index.html"))))
        .route(
            "/style.css",
            get(async || file(css, include_str!("../ui/style.css"))),
        )
        .route("/app.js", get(async || file(js, include_str!("../ui/app.js"))))
        .route(
            "/graph.js",
            get(async || file(js, include_str!("../ui/graph.js"))),
        )
        .route(
            "/waits.js",
            get(async || file(js, include_str!("../ui/waits.js"))),
        )
        .route("/rows.js", get(async || file(js, include_str!("../ui/rows.js"))))
        .route("/json.js", get(async || file(js, include_str!("../ui/json.js"))))
        .route(
            "/favicon.svg",
            get(async || file("image/svg+xml", include_str!("../ui/favicon.svg"))),
        )
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
