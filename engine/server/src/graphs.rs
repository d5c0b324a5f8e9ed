//! `/v1/graphs`: graphs, created, listed and shown.

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
    CreateGraphError, DeleteGraphError,
    ports::{self, GraphRow, StoreError},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{JsonText, Params, Parted},
    original::DefinitionDoc,
    page_token::{self, Page},
    problem::{Finding, Kind, Problem, ProblemBody},
    view::{FunctionRefView, Moment},
};

/// A graph that was created.
#[derive(Serialize, ToSchema)]
pub(crate) struct CreatedGraphBody {
    /// The id: the same for the same definition.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// Its name, where it has one.
    #[schema(value_type = Option<String>, required)]
    name: Option<Arc<str>>,
    /// What may not be as it was meant.
    warnings: Vec<Finding>,
}

/// A graph in a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphSummary {
    /// Its id.
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    graph_id: Arc<str>,
    /// Its name, where it has one. The newest graph of a name is the one that runs by it.
    #[schema(value_type = Option<String>, required)]
    name: Option<Arc<str>>,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

/// A graph.
#[derive(Serialize, ToSchema)]
#[schema(as = Graph)]
pub(crate) struct GraphBody {
    #[serde(flatten)]
    summary: GraphSummary,
    /// The definition as it was written.
    #[schema(value_type = DefinitionDoc)]
    definition: Box<RawValue>,
    /// For each function that it names, the one that new runs of it call: the newest that fitted when it was
    /// created last. Creating it again looks again.
    #[schema(value_type = BTreeMap<String, FunctionRefView>)]
    functions: BTreeMap<Arc<str>, FunctionRefView>,
}

/// Graphs, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct GraphList {
    /// The graphs of this page.
    graphs: Vec<GraphSummary>,
    /// What to give as `page_token` for the next page; null on the last one.
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
/// Checks the definition as a whole and keeps it. Creating the same definition again answers the same id,
/// and looks up anew which versions of its functions runs of it call.
#[utoipa::path(
    post, path = "/v1/graphs", tag = "graphs", operation_id = "create_graph",
    request_body = DefinitionDoc,
    responses(
        (status = 201, description = "The graph is new", body = CreatedGraphBody, headers(("location" = String, description = "Where it is"))),
        (status = 200, description = "The graph was there", body = CreatedGraphBody, headers(("location" = String, description = "Where it is"))),
        (status = 409, description = "There are as many graphs as may be kept", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The graph has errors", body = ProblemBody, content_type = "application/problem+json"),
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

/// What a check found.
#[derive(Serialize, ToSchema)]
#[schema(as = Check, example = json!({
    "valid": false, "findings": [{
        "pointer": "/edges/extract", "message": "`analyse` is no node of the graph: did you mean `analyze`?",
        "severity": "error"
    }], "start": null
}))]
pub(crate) struct CheckBody {
    /// Whether the graph could be created: there may be warnings even so.
    valid: bool,
    /// Every error and warning.
    findings: Vec<Finding>,
    /// The node that a run would begin with, where the graph is valid.
    #[schema(value_type = Option<String>, required)]
    start: Option<Arc<str>>,
}

/// Check a graph
///
/// Checks a definition as creating it does, and keeps nothing: every error and warning at once.
#[utoipa::path(
    post, path = "/v1/graphs:check", tag = "graphs", operation_id = "check_graph",
    request_body = DefinitionDoc,
    responses(
        (status = 200, description = "What was found, also where the graph has errors", body = CheckBody),
        (status = 400, description = "The body is not JSON", body = ProblemBody, content_type = "application/problem+json"),
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

/// Which page of a list.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// How many to list: 1 to 500; 50 where it is left out.
    #[param(minimum = 1, maximum = 500, default = 50)]
    page_size: Option<usize>,
    /// `next_page_token` of the page before.
    page_token: Option<String>,
}

/// List graphs
///
/// Newest first.
#[utoipa::path(
    get, path = "/v1/graphs", tag = "graphs", operation_id = "list_graphs", params(ListParams),
    responses((status = 200, description = "A page of graphs", body = GraphList))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Params(params): Params<ListParams>,
) -> Result<Json<GraphList>, Problem> {
    let page = Page::new(params.page_size)?;
    let after = params
        .page_token
        .as_deref()
        .map(page_token::read_graph)
        .transpose()?;
    let mut rows = app.engine.graphs(after, page.ask()).await?;
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
/// By its id, or the newest one by its name.
#[utoipa::path(
    get, path = "/v1/graphs/{graph}", tag = "graphs", operation_id = "get_graph",
    params(("graph" = String, Path, min_length = 1, example = "starter", description = "The graph's id or name")),
    responses(
        (status = 200, description = "The graph", body = GraphBody),
        (status = 404, description = "There is no such graph", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(State(app): State<App>, Parted(graph): Parted<String>) -> Result<Response, Problem> {
    let row = find(&app, &graph).await?;
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
    app.large.json(&body)
}

/// Delete a graph
///
/// By its id, and for good. It is refused while something uses the graph: a run that is kept, over or not, since its
/// past could not be read without the graph; a schedule; or another graph that runs it.
#[utoipa::path(
    delete, path = "/v1/graphs/{graph}", tag = "graphs", operation_id = "delete_graph",
    params(("graph" = String, Path, min_length = 1, description = "The graph's id")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no graph with this id", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "Something uses the graph", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Runs are being started that may use the graph", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Parted(graph): Parted<String>,
) -> Result<StatusCode, Problem> {
    app.engine.delete_graph(&graph).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<DeleteGraphError> for Problem {
    fn from(error: DeleteGraphError) -> Self {
        match error {
            DeleteGraphError::NoSuchGraph(_) => Self::new(Kind::NO_SUCH_GRAPH, error.to_string()),
            DeleteGraphError::OfRun(_) | DeleteGraphError::OfSchedule(_) | DeleteGraphError::OfGraphs(_) => {
                Self::new(Kind::GRAPH_IN_USE, error.to_string())
            }
            DeleteGraphError::Busy => Self::new(Kind::OVERLOADED, error.to_string()).retry_after(1),
            DeleteGraphError::Store(error) => error.into(),
        }
    }
}

/// Get the form of a graph
///
/// A JSON Schema of definitions, by which an editor completes and explains them. It knows the form alone:
/// whether names lead somewhere, a check tells.
#[utoipa::path(
    get, path = "/v1/graph.schema.json", tag = "graphs", operation_id = "get_graph_schema",
    responses((status = 200, description = "The schema", body = BTreeMap<String, Value>, content_type = "application/schema+json"))
)]
pub(crate) async fn schema() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, "application/schema+json"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, SCHEMA)
}

/// How to draw.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PictureParams {
    /// `svg`, `mermaid` or `dot`; `svg` where it is left out.
    #[serde(default)]
    #[param(inline, required = false, example = "svg")]
    format: Format,
}

/// In what a graph is drawn.
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
/// As a finished SVG that follows the reader's colour scheme, as a Mermaid flowchart, or in DOT, the
/// language of Graphviz. In the SVG each node is a group with its name in `data-node`.
#[utoipa::path(
    get, path = "/v1/graphs/{graph}/picture", tag = "graphs", operation_id = "draw_graph",
    params(("graph" = String, Path, min_length = 1, example = "starter", description = "The graph's id or name"), PictureParams),
    responses(
        (status = 200, description = "The picture", content(
            (String = "image/svg+xml"), (String = "application/vnd.mermaid"), (String = "text/vnd.graphviz")
        )),
        (status = 404, description = "There is no such graph", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn picture(
    State(app): State<App>,
    Parted(graph): Parted<String>,
    Params(params): Params<PictureParams>,
) -> Result<impl IntoResponse, Problem> {
    let _turn = app.large.turn().await;
    let row = find(&app, &graph).await?;
    // A large graph takes a moment to lay out, in which others are served.
    let drawn = app.long_work.run(move || {
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
    // A browser that shows the SVG by itself may apply the style that is in it, and nothing more.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    Ok((headers, text))
}

/// The graph with this id or name.
pub(crate) async fn find(app: &App, graph: &str) -> Result<GraphRow, Problem> {
    let found = app.engine.graph(graph).await?;
    found.ok_or_else(|| Problem::new(Kind::NO_SUCH_GRAPH, format!("there is no graph `{graph}`")))
}
