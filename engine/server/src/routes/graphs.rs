//! `/v1/graphs`: creates, checks, lists, shows, draws and deletes graphs.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_diagram::Diagram;
use heddle_kernel::{Definition, graph::SCHEMA};
use heddle_runtime::{
    CreateGraphError,
    ports::{self, GraphRow, StoreError},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::original::DefinitionDoc;
use crate::{
    app::App,
    request::{
        body::JsonText,
        page_token::{self, PageSize},
        path::{GraphParam, PathParams},
        query::QueryParams,
    },
    response::problem::{Finding, Problem, ProblemKind},
    view::{event::FunctionRefView, moment::Moment},
};

/// A graph that was created.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedGraphBody {
    /// The graph's id, derived from the definition.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The graph's name; null if it has none.
    #[schema(value_type = Option<String>, required)]
    name: Option<Arc<str>>,
    /// Likely mistakes in the definition.
    warnings: Vec<Finding>,
}

/// A graph in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphSummary {
    /// The graph's id.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// The graph's name; null if it has none. The name refers to the newest graph with it.
    #[schema(value_type = Option<String>, required)]
    name: Option<Arc<str>>,
    /// When the graph was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

/// A graph with its definition.
#[derive(Serialize, ToSchema)]
#[schema(as = Graph)]
pub(crate) struct GraphBody {
    #[serde(flatten)]
    summary: GraphSummary,
    /// The definition, as it was sent.
    #[schema(value_type = DefinitionDoc)]
    definition: Box<RawValue>,
    /// The exact function that new runs call for each function name in the graph: the newest matching one when the graph
    /// was last created. Creating the graph again updates them.
    #[schema(value_type = BTreeMap<String, FunctionRefView>)]
    functions: BTreeMap<Arc<str>, FunctionRefView>,
}

/// A page of graphs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphList {
    /// The graphs of this page.
    graphs: Vec<GraphSummary>,
    /// The `page_token` of the next page; null on the last page.
    #[schema(required)]
    next_page_token: Option<String>,
}

impl From<ports::GraphSummary> for GraphSummary {
    fn from(row: ports::GraphSummary) -> Self {
        Self {
            graph_id: row.id.0,
            name: row.name,
            created_at: Moment(row.created_at),
        }
    }
}

/// Create a graph
///
/// Validates and stores a definition. Creating the same definition again returns the same id, and updates the function
/// versions that new runs call.
#[utoipa::path(
    post, path = "/v1/graphs", tag = "Graphs", operation_id = "create_graph",
    request_body = DefinitionDoc,
    responses(
        (status = 201, description = "The graph is created", body = CreatedGraphBody, headers(("location" = String, description = "The path of the graph"))),
        (status = 200, description = "The graph existed already", body = CreatedGraphBody, headers(("location" = String, description = "The path of the graph"))),
        (status = 409, description = "The limit of stored graphs is reached"),
        (status = 422, description = "The graph has errors"),
    )
)]
pub(crate) async fn create(State(app): State<App>, body: JsonText) -> Result<impl IntoResponse, Problem> {
    body.check()?;
    let created = app.engine.create_graph(&body.text).await?;
    let status = if created.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/v1/graphs/{}", created.graph.id);
    let body = CreatedGraphBody {
        graph_id: created.graph.id.0.clone(),
        name: created.graph.name.clone(),
        warnings: created.warnings.into_iter().map(Finding::from).collect(),
    };
    Ok((status, [(header::LOCATION, location)], Json(body)))
}

/// The result of a check.
#[derive(Serialize, ToSchema)]
#[schema(as = Check, example = json!({
    "valid": false, "findings": [{
        "pointer": "/edges/extract", "message": "`analyse` is not a node of the graph: did you mean `analyze`?",
        "severity": "error"
    }], "start": null
}))]
pub(crate) struct CheckBody {
    /// Whether the graph has no errors. It may have warnings.
    valid: bool,
    /// All errors and warnings.
    findings: Vec<Finding>,
    /// The node at which runs start; null if the graph has errors.
    #[schema(value_type = Option<String>, required)]
    start: Option<Arc<str>>,
}

/// Check a graph
///
/// Validates a definition without storing it, and returns all errors and warnings.
#[utoipa::path(
    post, path = "/v1/graphs:check", tag = "Graphs", operation_id = "check_graph",
    request_body = DefinitionDoc,
    responses(
        (status = 200, description = "The errors and warnings", body = CheckBody),
        (status = 400, description = "The body is not JSON"),
    )
)]
pub(crate) async fn check(State(app): State<App>, body: JsonText) -> Result<Json<CheckBody>, Problem> {
    body.check()?;
    let (start, found) = match app.engine.check_graph(&body.text).await {
        Ok((graph, warnings)) => (Some(graph.node(graph.start).name.clone()), warnings),
        Err(CreateGraphError::Invalid(found)) => (None, found),
        Err(error) => return Err(error.into()),
    };
    Ok(Json(CheckBody {
        valid: start.is_some(),
        findings: found.into_iter().map(Finding::from).collect(),
        start,
    }))
}

/// The parameters of a list of graphs.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// The number of graphs on the page: 1 to 500, default 50.
    #[param(minimum = 1, maximum = 500, default = 50)]
    page_size: Option<usize>,
    /// `next_page_token` of the previous page.
    page_token: Option<String>,
}

/// List graphs
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/graphs", tag = "Graphs", operation_id = "list_graphs", params(ListParams),
    responses((status = 200, description = "A page of graphs", body = GraphList))
)]
pub(crate) async fn list(
    State(app): State<App>,
    QueryParams(params): QueryParams<ListParams>,
) -> Result<Json<GraphList>, Problem> {
    let page = PageSize::new(params.page_size)?;
    let after = params
        .page_token
        .as_deref()
        .map(page_token::read_graph)
        .transpose()?;
    let mut rows = app.engine.graphs(after, page.fetch_len()).await?;
    let next_page_token = page
        .cut(&mut rows)
        .map(|(position, _)| page_token::write_graph(*position));
    Ok(Json(GraphList {
        graphs: rows.into_iter().map(|(_, row)| row.into()).collect(),
        next_page_token,
    }))
}

/// Get a graph
///
/// By id, or the newest one by name.
#[utoipa::path(
    get, path = "/v1/graphs/{graph}", tag = "Graphs", operation_id = "get_graph",
    params(GraphParam),
    responses(
        (status = 200, description = "The graph", body = GraphBody),
        (status = 404, description = "There is no such graph"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams(graph): PathParams<String>,
) -> Result<Response, Problem> {
    let row = find_graph(&app, &graph).await?;
    let definition = RawValue::from_string(row.definition.to_string())
        .map_err(|error| StoreError::Damaged(error.to_string()))?;
    let functions = row.functions.iter();
    let functions = functions.map(|(uses, at)| (uses.clone(), at.into())).collect();
    let body = GraphBody {
        functions,
        summary: GraphSummary {
            graph_id: row.id.0,
            name: row.name,
            created_at: Moment(row.created_at),
        },
        definition,
    };
    app.responses.json(&body)
}

/// Delete a graph
///
/// Deletes the graph with this id permanently. Refused while a stored run (active or over), a schedule or another graph
/// uses it.
#[utoipa::path(
    delete, path = "/v1/graphs/{graph}", tag = "Graphs", operation_id = "delete_graph",
    params(("graph" = String, Path, min_length = 1, description = "The graph's id")),
    responses(
        (status = 204, description = "The graph is deleted"),
        (status = 404, description = "There is no graph with this id"),
        (status = 409, description = "The graph is in use"),
        (status = 503, description = "Runs that may use the graph are being started: retry later"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    PathParams(graph): PathParams<String>,
) -> Result<StatusCode, Problem> {
    app.engine.delete_graph(&graph).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Get the JSON Schema of graphs
///
/// Editors use it to complete and explain definitions. It describes only the format: check a graph to validate names and
/// expressions.
#[utoipa::path(
    get, path = "/v1/graph.schema.json", tag = "Graphs", operation_id = "get_graph_schema",
    responses((status = 200, description = "The schema", body = BTreeMap<String, Value>, content_type = "application/schema+json"))
)]
pub(crate) async fn schema() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/schema+json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, SCHEMA)
}

/// The parameters of a drawing.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PictureParams {
    /// The format, default `svg`.
    #[serde(default)]
    #[param(inline, required = false, example = "svg")]
    format: Format,
}

/// The format of a drawing.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[schema(as = PictureFormat)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Svg,
    Mermaid,
    Dot,
}

/// Draw a graph
///
/// Returns an SVG that follows the reader's colour scheme, a Mermaid flowchart, or DOT for Graphviz. In the SVG, each node
/// is a group with its name in `data-node`.
#[utoipa::path(
    get, path = "/v1/graphs/{graph}/picture", tag = "Graphs", operation_id = "draw_graph",
    params(GraphParam, PictureParams),
    responses(
        (status = 200, description = "The drawing", content(
            (String = "image/svg+xml"), (String = "application/vnd.mermaid"), (String = "text/vnd.graphviz")
        )),
        (status = 404, description = "There is no such graph"),
    )
)]
pub(crate) async fn picture(
    State(app): State<App>,
    PathParams(graph): PathParams<String>,
    QueryParams(params): QueryParams<PictureParams>,
) -> Result<impl IntoResponse, Problem> {
    let _permit = app.responses.read_permit().await;
    let row = find_graph(&app, &graph).await?;
    // The layout of a large graph takes seconds.
    let drawn = app.blocking.run(move || {
        let definition = Definition::parse(&row.definition)
            .map_err(|_| StoreError::Damaged(format!("the definition of graph {} cannot be read", row.id)))?;
        let picture = Diagram::from_definition(&definition);
        Ok::<_, StoreError>(match params.format {
            Format::Svg => ("image/svg+xml", picture.to_svg()),
            Format::Mermaid => ("application/vnd.mermaid", picture.to_mermaid()),
            Format::Dot => ("text/vnd.graphviz; charset=utf-8", picture.to_dot()),
        })
    });
    let (kind, text) = drawn.await??;
    // A browser that displays the SVG applies the style in it and loads nothing.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    Ok((headers, text))
}

/// Returns the graph with this id or name.
///
/// # Errors
/// `no-such-graph` if there is none.
pub(crate) async fn find_graph(app: &App, graph: &str) -> Result<GraphRow, Problem> {
    let found = app.engine.graph(graph).await?;
    found.ok_or_else(|| Problem::new(ProblemKind::NO_SUCH_GRAPH, format!("there is no graph `{graph}`")))
}
