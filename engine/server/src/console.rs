//! The console at `/`: a page that lists runs and shows the events, graph and state of one. Its files (`ui/`) are
//! embedded in the binary.

use axum::{Router, http::header, response::IntoResponse, routing::get};

/// The content security policy: the page runs only its own scripts and connects only to its own server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the routes of the page and its files.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let html = "text/html; charset=utf-8";
    let css = "text/css; charset=utf-8";
    let js = "text/javascript; charset=utf-8";
    let files = [
        ("/", html, include_str!("../ui/index.html")),
        ("/style.css", css, include_str!("../ui/style.css")),
        ("/app.js", js, include_str!("../ui/app.js")),
        ("/control.js", js, include_str!("../ui/control.js")),
        ("/graph.js", js, include_str!("../ui/graph.js")),
        ("/json.js", js, include_str!("../ui/json.js")),
        ("/list.js", js, include_str!("../ui/list.js")),
        ("/rows.js", js, include_str!("../ui/rows.js")),
        ("/server.js", js, include_str!("../ui/server.js")),
        ("/state.js", js, include_str!("../ui/state.js")),
        ("/waits.js", js, include_str!("../ui/waits.js")),
        ("/favicon.svg", "image/svg+xml", include_str!("../ui/favicon.svg")),
    ];
    let router = Router::new();
    files.into_iter().fold(router, |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    })
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
