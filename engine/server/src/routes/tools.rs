//! `/v1/tools`: lists and calls tools.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use heddle_json::Json as JsonValue;
use heddle_kernel::FunctionKind;
use heddle_runtime::ports::Resolved;
use serde::Serialize;
use utoipa::ToSchema;

use super::plugins::FunctionBody;
use crate::{
    app::App,
    request::{
        body::JsonText,
        path::{PathParams, ToolParams},
    },
    response::{
        json_list,
        problem::{Problem, ProblemKind},
    },
    view::failure::{LogLine, log_lines},
};

/// A tool: a function that takes and returns JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = Tool)]
pub(crate) struct ToolBody {
    /// The name in graphs and calls: `plugin/tool`.
    #[schema(example = "starter/count-words")]
    tool: String,
    /// The plugin's name.
    #[schema(value_type = String)]
    plugin: Arc<str>,
    /// The plugin's version.
    #[schema(value_type = String)]
    version: Arc<str>,
    /// The description of the function.
    function: FunctionBody,
}

/// All tools.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes the response, which is written item by item"
)]
pub(crate) struct ToolList {
    /// The tools of each plugin's newest version, sorted by plugin name.
    tools: Vec<ToolBody>,
}

/// List tools
///
/// All tools of each plugin's newest version, with their schemas.
#[utoipa::path(
    get, path = "/v1/tools", tag = "Tools", operation_id = "list_tools",
    responses((status = 200, description = "The tools", body = ToolList))
)]
pub(crate) async fn list(State(app): State<App>) -> Response {
    let mut plugins = app.engine.plugins();
    // The newest version of a plugin comes first; calls by name use it.
    plugins.dedup_by(|older, newer| older.name == newer.name);
    let tools = plugins.into_iter().flat_map(|plugin| {
        (0..plugin.functions.len()).filter_map(move |at| {
            let function = &plugin.functions[at];
            (function.kind == FunctionKind::Tool).then(|| ToolBody {
                tool: format!("{}/{}", plugin.name, function.name),
                plugin: plugin.name.clone(),
                version: plugin.version.clone(),
                function: function.into(),
            })
        })
    });
    json_list::list("tools", tools)
}

/// Get a tool
#[utoipa::path(
    get, path = "/v1/tools/{plugin}/{tool}", tag = "Tools", operation_id = "get_tool",
    params(ToolParams),
    responses(
        (status = 200, description = "The tool", body = ToolBody),
        (status = 404, description = "There is no such tool"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams((plugin, tool)): PathParams<(String, String)>,
) -> Result<Json<ToolBody>, Problem> {
    let name = format!("{plugin}/{tool}");
    let Resolved { function, info } = app.engine.resolve(&name)?;
    if info.kind != FunctionKind::Tool {
        let detail = format!("`{name}` is a node function, not a tool: GET /v1/plugins/{plugin} shows it");
        return Err(Problem::new(ProblemKind::NO_SUCH_TOOL, detail));
    }
    Ok(Json(ToolBody {
        tool: name,
        plugin: function.plugin,
        version: function.version,
        function: FunctionBody::from(&info),
    }))
}

/// The result of a tool call.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToolResult {
    /// The tool's output.
    #[schema(value_type = Value)]
    output: JsonValue,
    /// The tool's log.
    logs: Vec<LogLine>,
}

/// Call a tool
///
/// Calls the tool outside of a run. The body is the tool's input. Nothing is stored.
#[utoipa::path(
    post, path = "/v1/tools/{plugin}/{tool}/call", tag = "Tools", operation_id = "call_tool",
    params(ToolParams),
    request_body(content = Value, description = "The tool's input, which must match its schema", content_type = "application/json",
        example = json!({"text": "One sentence. And another one."})),
    responses(
        (status = 200, description = "The tool succeeded", body = ToolResult),
        (status = 404, description = "There is no such tool"),
        (status = 422, description = "The tool refused the input"),
        (status = 502, description = "The tool failed"),
        (status = 503, description = "The tool failed and can be retried"),
        (status = 504, description = "The tool timed out"),
    )
)]
pub(crate) async fn call(
    State(app): State<App>,
    PathParams((plugin, tool)): PathParams<(String, String)>,
    body: JsonText,
) -> Result<Json<ToolResult>, Problem> {
    let input = body.value()?.clone();
    let result = app.engine.call_tool(&format!("{plugin}/{tool}"), input).await?;
    Ok(Json(ToolResult {
        output: result.output,
        logs: log_lines(&result.logs),
    }))
}
