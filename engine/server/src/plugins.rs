//! `/v1/plugins` and `/v1/tools`: what is registered, and tools called by hand.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_json::Json as JsonValue;
use heddle_kernel::FunctionKind;
use heddle_runtime::ports::{FunctionInfo, PluginInfo, Resolved};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    App,
    extract::{Component, JsonText, Params, Parted},
    problem::{Kind, Problem, ProblemBody},
    streamed,
    view::{BytesDoc, FunctionKindDoc, LogLine, log_lines},
};

/// A function, as a plugin describes it.
#[derive(Serialize, ToSchema)]
#[schema(as = Function)]
pub(crate) struct FunctionBody {
    /// Its name in the plugin.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `node` (state in, outcome out) or `tool` (JSON in, JSON out).
    #[schema(value_type = FunctionKindDoc)]
    kind: FunctionKind,
    /// What it does, in one line.
    summary: String,
    /// JSON Schema of what it takes.
    #[schema(value_type = Value)]
    input: JsonValue,
    /// JSON Schema of what it gives.
    #[schema(value_type = Value)]
    output: JsonValue,
    /// JSON Schema of the node's `config`, where it takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    config: Option<JsonValue>,
    /// It changes nothing outside of itself.
    read_only: bool,
    /// Calling it again with the same input has no further effect.
    idempotent: bool,
    /// The nodes that it may route to.
    routes: Vec<String>,
}

impl From<&FunctionInfo> for FunctionBody {
    fn from(info: &FunctionInfo) -> Self {
        Self {
            name: info.name.clone(),
            kind: info.kind,
            summary: info.summary.clone(),
            input: info.input.clone(),
            output: info.output.clone(),
            config: info.config.clone(),
            read_only: info.read_only,
            idempotent: info.idempotent,
            routes: info.routes.clone(),
        }
    }
}

/// One version of a plugin.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(crate) struct PluginBody {
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// Its version.
    #[schema(value_type = String, example = "0.1.0")]
    version: Arc<str>,
    /// The SHA-256 of its component.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    digest: Arc<str>,
    /// The size of its component, in bytes.
    size: u64,
    /// What it imports, as the component names it.
    imports: Vec<String>,
    /// What these imports mean: `clock`, `environment`, `files`, `http`, `random`, `sockets`, `tools`. A
    /// component may import more than it uses, since most toolchains do for it.
    asks: Vec<String>,
    /// Its functions.
    functions: Vec<FunctionBody>,
    /// What it exports that could not be made a function, each with the reason. Only a component that was
    /// built without Heddle's WIT may have such exports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// What the operator's policy grants it, a line for each grant; empty for nothing.
    grants: Vec<String>,
    /// What the operator's policy limits for it in place of the server's own limits, a line for each.
    limits: Vec<String>,
}

impl From<&PluginInfo> for PluginBody {
    fn from(info: &PluginInfo) -> Self {
        Self {
            name: info.name.clone(),
            version: info.version.clone(),
            digest: info.digest.0.clone(),
            size: info.size,
            imports: info.imports.clone(),
            asks: info.requested_permissions.clone(),
            functions: info.functions.iter().map(FunctionBody::from).collect(),
            left_out: info.left_out.clone(),
            grants: info.grants.clone(),
            limits: info.limits.clone(),
        }
    }
}

/// Every registered plugin.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written item by item")]
pub(crate) struct PluginList {
    /// By name, and then newest version first.
    plugins: Vec<PluginBody>,
}

/// List plugins
///
/// With their functions and schemas, by name, and of a name the newest version first.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "plugins", operation_id = "list_plugins",
    responses((status = 200, description = "The plugins", body = PluginList))
)]
pub(crate) async fn list(State(app): State<App>) -> Response {
    let plugins = app.engine.plugins();
    streamed::list(
        "plugins",
        plugins.into_iter().map(|plugin| PluginBody::from(&*plugin)),
    )
}

/// What to name a plugin, and whether it may have what that name is granted.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RegisterParams {
    /// A name that stands before the component's own.
    name: Option<String>,
    /// Whether a component that is new under a name with grants is registered nevertheless, and has them.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    replace_granted: bool,
}

/// What to name a plugin.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InspectParams {
    /// A name that stands before the component's own.
    name: Option<String>,
}

/// Register a plugin
///
/// The body is the component. It is compiled, asked to describe itself and checked before it
/// can be used; it is kept, so it is there after a restart. Compiling has limits, and ends when the client
/// disconnects.
///
/// Grants belong to names. A component that is new under a name with grants is refused with `name-granted`, unless
/// `replace_granted` says that it shall have them, or the policy lists its digest.
#[utoipa::path(
    post, path = "/v1/plugins", tag = "plugins", operation_id = "register_plugin", params(RegisterParams),
    request_body(content((inline(BytesDoc) = "application/wasm"), (inline(BytesDoc) = "application/octet-stream")), description = "The component"),
    responses(
        (status = 201, description = "The plugin is registered", body = PluginBody, headers(("location" = String, description = "Where it is"))),
        (status = 200, description = "The plugin was registered before", body = PluginBody, headers(("location" = String, description = "Where it is"))),
        (status = 409, description = "Its name and version have another content, or its name has grants", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The component cannot be a plugin, or cannot be compiled within its limits", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many components wait to be compiled, or the engine takes no work", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn register(
    State(app): State<App>,
    Params(params): Params<RegisterParams>,
    Component(bytes): Component,
) -> Result<impl IntoResponse, Problem> {
    let before = app.engine.plugins();
    let RegisterParams {
        name,
        replace_granted,
    } = params;
    let info = app
        .engine
        .register_plugin(bytes.into(), name, replace_granted)
        .await?;
    let known = before
        .iter()
        .any(|known| known.name == info.name && known.digest == info.digest);
    let status = if known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let location = format!("/v1/plugins/{}", info.name);
    Ok((
        status,
        [(header::LOCATION, location)],
        Json(PluginBody::from(&info)),
    ))
}

/// Inspect a plugin
///
/// The body is the component. All of a registration is done but keeping it: it is compiled, asked to
/// describe itself and checked, and the answer is what it would be registered as, with what it asks for
/// and what its name is granted.
#[utoipa::path(
    post, path = "/v1/plugins:inspect", tag = "plugins", operation_id = "inspect_plugin", params(InspectParams),
    request_body(content((inline(BytesDoc) = "application/wasm"), (inline(BytesDoc) = "application/octet-stream")), description = "The component"),
    responses(
        (status = 200, description = "What it would be", body = PluginBody),
        (status = 409, description = "Its name and version have another content", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The component cannot be a plugin, or cannot be compiled within its limits", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Too many components wait to be compiled, or the engine takes no work", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn inspect(
    State(app): State<App>,
    Params(params): Params<InspectParams>,
    Component(bytes): Component,
) -> Result<Json<PluginBody>, Problem> {
    let info = app.engine.inspect_plugin(bytes.into(), params.name).await?;
    Ok(Json(PluginBody::from(&info)))
}

/// Every version of a plugin.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written item by item")]
pub(crate) struct PluginVersions {
    /// Its name.
    name: String,
    /// The newest first: that is the one which a name finds.
    versions: Vec<PluginBody>,
}

/// Get a plugin
///
/// Every version of it, the newest first.
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "plugins", operation_id = "get_plugin",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name")),
    responses(
        (status = 200, description = "The plugin", body = PluginVersions),
        (status = 404, description = "There is no such plugin", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(State(app): State<App>, Parted(name): Parted<String>) -> Result<Response, Problem> {
    let mut versions = app.engine.plugins();
    versions.retain(|plugin| *plugin.name == *name);
    if versions.is_empty() {
        let detail = format!("there is no plugin `{name}`: GET /v1/plugins lists those that there are");
        return Err(Problem::new(Kind::NO_SUCH_PLUGIN, detail));
    }
    let versions = versions.into_iter().map(|plugin| PluginBody::from(&*plugin));
    Ok(streamed::list_of(&name, "versions", versions))
}

/// What a name is granted.
#[derive(Serialize, ToSchema)]
pub(crate) struct NameGrants {
    /// The name.
    plugin: String,
    /// What it is granted, a line for each grant; empty for nothing.
    grants: Vec<String>,
}

/// Get a name's grants
///
/// What a plugin would have that is registered under this name: no plugin need have it yet. Where the policy lists
/// the components of the name, only these have it.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/grants", tag = "plugins", operation_id = "get_name_grants",
    params(("name" = String, Path, min_length = 1, example = "starter", description = "The plugin's name")),
    responses((status = 200, description = "What the name is granted", body = NameGrants))
)]
pub(crate) async fn grants(State(app): State<App>, Parted(name): Parted<String>) -> Json<NameGrants> {
    let grants = app.engine.policy(&name).grants;
    Json(NameGrants { plugin: name, grants })
}

/// A tool: a function that takes JSON and gives JSON.
#[derive(Serialize, ToSchema)]
#[schema(as = Tool)]
pub(crate) struct ToolBody {
    /// What a graph or a caller names it: `plugin/tool`.
    #[schema(example = "starter/count-words")]
    tool: String,
    /// The plugin that it is from.
    #[schema(value_type = String)]
    plugin: Arc<str>,
    /// The version of the plugin.
    #[schema(value_type = String)]
    version: Arc<str>,
    /// What it does and takes.
    function: FunctionBody,
}

/// Every tool.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written item by item")]
pub(crate) struct ToolList {
    /// Of each plugin's newest version, by the plugin's name.
    tools: Vec<ToolBody>,
}

/// List tools
///
/// Every tool of each plugin's newest version, with its schemas.
#[utoipa::path(
    get, path = "/v1/tools", tag = "tools", operation_id = "list_tools",
    responses((status = 200, description = "The tools", body = ToolList))
)]
pub(crate) async fn tools(State(app): State<App>) -> Response {
    let mut plugins = app.engine.plugins();
    // The newest version of a name comes first, and that is the one which a call finds.
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
    streamed::list("tools", tools)
}

/// Get a tool
#[utoipa::path(
    get, path = "/v1/tools/{plugin}/{tool}", tag = "tools", operation_id = "get_tool",
    params(("plugin" = String, Path, min_length = 1, example = "starter", description = "The plugin"), ("tool" = String, Path, min_length = 1, example = "reading_ease", description = "The tool")),
    responses(
        (status = 200, description = "The tool", body = ToolBody),
        (status = 404, description = "There is no such tool", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn tool(
    State(app): State<App>,
    Parted((plugin, tool)): Parted<(String, String)>,
) -> Result<Json<ToolBody>, Problem> {
    let name = format!("{plugin}/{tool}");
    let Resolved { function, info } = app.engine.resolve(&name)?;
    if info.kind != FunctionKind::Tool {
        let detail = format!("`{name}` is a node function, not a tool: GET /v1/plugins/{plugin} shows it");
        return Err(Problem::new(Kind::NO_SUCH_TOOL, detail));
    }
    Ok(Json(ToolBody {
        tool: name,
        plugin: function.plugin,
        version: function.version,
        function: FunctionBody::from(&info),
    }))
}

/// What a tool answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToolResult {
    /// Its result.
    #[schema(value_type = Value)]
    output: JsonValue,
    /// What it wrote to its log.
    logs: Vec<LogLine>,
}

/// Call a tool
///
/// Outside of any run: the body is the tool's input, the answer its output. Nothing is kept of it.
#[utoipa::path(
    post, path = "/v1/tools/{plugin}/{tool}/call", tag = "tools", operation_id = "call_tool",
    params(("plugin" = String, Path, min_length = 1, example = "starter", description = "The plugin"), ("tool" = String, Path, min_length = 1, example = "reading_ease", description = "The tool")),
    request_body(content = Value, description = "The tool's input, as its schema says", content_type = "application/json",
        example = json!({"text": "One sentence. And another one."})),
    responses(
        (status = 200, description = "The tool answered", body = ToolResult),
        (status = 404, description = "There is no such tool", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The tool does not take this input", body = ProblemBody, content_type = "application/problem+json"),
        (status = 502, description = "The tool failed", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The tool failed and may go well later", body = ProblemBody, content_type = "application/problem+json"),
        (status = 504, description = "The tool took too long", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn call(
    State(app): State<App>,
    Parted((plugin, tool)): Parted<(String, String)>,
    body: JsonText,
) -> Result<Json<ToolResult>, Problem> {
    let input = body.value()?.clone();
    let answer = app.engine.call_tool(&format!("{plugin}/{tool}"), input).await?;
    Ok(Json(ToolResult {
        output: answer.output,
        logs: log_lines(&answer.logs),
    }))
}
