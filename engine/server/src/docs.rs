//! `/openapi.json` and `/docs`: what the interface is, for programs and for people. Both come
//! from the binary, so they work without the internet.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use utoipa::{
    OpenApi,
    openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder, Schema},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    extract::json_body,
    problem::{self, Kind, ProblemBody},
    view::{ChunkView, EventView, MissedView},
};

/// What the docs page may do. Its framework styles elements in place.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(title = "Heddle"),
    tags(
        (name = "original", description = "The original engine's routes, in their shapes: they stay for good"),
        (name = "graphs", description = "Definitions of nodes and edges, checked as a whole and kept"),
        (name = "runs", description = "Executions of graphs, and their events"),
        (name = "steering", description = "Runs that are stopped, resumed, retried, upgraded and forked"),
        (name = "history", description = "What a run did, step by step, and the whole of it as a file"),
        (name = "schedules", description = "Runs that are started when their time comes"),
        (name = "plugins", description = "Components and their functions"),
        (name = "tools", description = "Functions that take JSON and give JSON, called by hand"),
        (name = "health", description = "For whoever starts, watches and routes to the server"),
    ),
    components(schemas(EventView, ChunkView<'_>, MissedView, ProblemBody))
)]
struct Head;

/// What is said before any route is.
pub(crate) fn head() -> openapi::OpenApi {
    let mut api = Head::openapi();
    api.info.description = Some(format!(
        "A workflow engine whose every step runs in a WebAssembly sandbox. Create a graph, run it, and watch its \
         events.\n\nErrors are problem details (RFC 9457, `{}`): `detail` is for people, `type` for programs, and \
         `errors` points into the body. The schema `Problem` lists the types.",
        problem::MEDIA_TYPE
    ));
    let kinds: Vec<String> = Kind::ALL
        .iter()
        .map(|kind| format!("- {}", kind.describe()))
        .collect();
    let components = api.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(problem))) = components.schemas.get_mut("Problem") {
        problem.description = Some(format!(
            "A problem (RFC 9457). The types are:\n\n{}",
            kinds.join("\n")
        ));
    }
    api
}

/// The description as JSON text.
pub(crate) fn text(mut api: openapi::OpenApi) -> String {
    every_operation_may_fail(&mut api);
    api.to_pretty_json().expect("the description has string keys")
}

/// The routes of the docs, with the description as text.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(text: String) -> Router<S> {
    let text: Arc<str> = text.into();
    let config = Config::from("/openapi.json")
        .use_base_layout()
        .validator_url("none")
        .display_request_duration(true);
    let page: Router<S> = SwaggerUi::new("/docs").config(config).into();
    page.layer(middleware::from_fn(with_policy))
        .route("/openapi.json", get(async move || json_body(text.to_string())))
}

async fn with_policy(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Says of every operation that any other answer is a problem.
fn every_operation_may_fail(api: &mut openapi::OpenApi) {
    let problem = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name("Problem"))))
        .build();
    let response = ResponseBuilder::new()
        .description("Anything else that goes wrong")
        .content(problem::MEDIA_TYPE, problem)
        .build();
    for path in api.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            operation
                .responses
                .responses
                .insert("default".to_owned(), RefOr::T(response.clone()));
        }
    }
}
