//! `/v1/plugins`: registers, inspects, lists and shows plugins.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_json::Json as JsonValue;
use heddle_kernel::FunctionKind;
use heddle_runtime::ports::{FunctionInfo, PluginInfo};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    request::{
        body::Component,
        path::{PathParams, PluginParam},
        query::QueryParams,
    },
    response::{
        json_list,
        problem::{Problem, ProblemKind},
    },
    view::names::{BytesDoc, FunctionKindDoc},
};

/// A function of a plugin.
#[derive(Serialize, ToSchema)]
#[schema(as = Function)]
pub(crate) struct FunctionBody {
    /// The function's name in the plugin.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// `node` (takes the state and returns an outcome) or `tool` (takes and returns JSON).
    #[schema(value_type = FunctionKindDoc)]
    kind: FunctionKind,
    /// A description in one line.
    summary: String,
    /// The JSON Schema of the input.
    #[schema(value_type = Value)]
    input: JsonValue,
    /// The JSON Schema of the output.
    #[schema(value_type = Value)]
    output: JsonValue,
    /// The JSON Schema of the node's `config`, if the function has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    config: Option<JsonValue>,
    /// Whether the function has no side effects.
    read_only: bool,
    /// Whether repeated calls with the same input have no further side effects.
    idempotent: bool,
    /// The nodes that the function can route to.
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

/// A version of a plugin.
#[derive(Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(crate) struct PluginBody {
    /// The plugin's name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// The plugin's version (SemVer).
    #[schema(value_type = String, example = "0.1.0")]
    version: Arc<str>,
    /// The SHA-256 of the component, as 64 hexadecimal digits.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    digest: Arc<str>,
    /// The size of the component, in bytes.
    size: u64,
    /// The imports of the component, with their WIT names.
    imports: Vec<String>,
    /// The permissions that the imports need: `clock`, `environment`, `files`, `http`, `random`, `sockets`, `tools`. Most
    /// toolchains add imports that a component does not use.
    asks: Vec<String>,
    /// The nodes and tools that the plugin exports.
    functions: Vec<FunctionBody>,
    /// Exports that are not usable as functions, each with the reason. Only components built without Heddle's WIT have any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    /// The grants from the operator's policy, one line each; empty for none.
    grants: Vec<String>,
    /// The limits from the operator's policy that replace the server's limits, one line each.
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

/// All registered plugins.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes the response, which is written item by item"
)]
pub(crate) struct PluginList {
    /// The plugins, sorted by name and then from the newest to the oldest version.
    plugins: Vec<PluginBody>,
}

/// List plugins
///
/// All versions of all plugins, with their functions and schemas. Sorted by name, newest version first.
#[utoipa::path(
    get, path = "/v1/plugins", tag = "Plugins", operation_id = "list_plugins",
    responses((status = 200, description = "The plugins", body = PluginList))
)]
pub(crate) async fn list(State(app): State<App>) -> Response {
    let plugins = app.engine.plugins();
    json_list::list(
        "plugins",
        plugins.into_iter().map(|plugin| PluginBody::from(&*plugin)),
    )
}

/// The parameters of a registration.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RegisterParams {
    /// The plugin's name. Default: the name that the component declares.
    name: Option<String>,
    /// Register a new component under a name that has grants, and give it these grants.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    replace_granted: bool,
}

/// The parameters of an inspection.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct InspectParams {
    /// The plugin's name. Default: the name that the component declares.
    name: Option<String>,
}

/// Register a plugin
///
/// The body is a component. The server compiles it, reads its description, validates and stores it. Compiling has limits and
/// stops when the client disconnects.
///
/// Grants belong to names. A new component under a name with grants is refused with `name-granted`, unless `replace_granted`
/// is true or the policy lists its digest.
#[utoipa::path(
    post, path = "/v1/plugins", tag = "Plugins", operation_id = "register_plugin", params(RegisterParams),
    request_body(content((inline(BytesDoc) = "application/wasm"), (inline(BytesDoc) = "application/octet-stream")), description = "The component"),
    responses(
        (status = 201, description = "The plugin is registered", body = PluginBody, headers(("location" = String, description = "The path of the plugin"))),
        (status = 200, description = "The plugin was registered already", body = PluginBody, headers(("location" = String, description = "The path of the plugin"))),
        (status = 409, description = "The version exists with another digest, or the name has grants"),
        (status = 422, description = "The component cannot be a plugin, or exceeds a limit of the compiler"),
        (status = 503, description = "Too many components wait to be compiled, or the engine accepts no work"),
    )
)]
pub(crate) async fn register(
    State(app): State<App>,
    QueryParams(params): QueryParams<RegisterParams>,
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
/// The body is a component. The server compiles it, reads its description and validates it, but does not store it. The
/// response is the plugin that a registration would create, with the permissions that it requests and the grants of its
/// name.
#[utoipa::path(
    post, path = "/v1/plugins:inspect", tag = "Plugins", operation_id = "inspect_plugin", params(InspectParams),
    request_body(content((inline(BytesDoc) = "application/wasm"), (inline(BytesDoc) = "application/octet-stream")), description = "The component"),
    responses(
        (status = 200, description = "The plugin that a registration would create", body = PluginBody),
        (status = 409, description = "The version exists with another digest"),
        (status = 422, description = "The component cannot be a plugin, or exceeds a limit of the compiler"),
        (status = 503, description = "Too many components wait to be compiled, or the engine accepts no work"),
    )
)]
pub(crate) async fn inspect(
    State(app): State<App>,
    QueryParams(params): QueryParams<InspectParams>,
    Component(bytes): Component,
) -> Result<Json<PluginBody>, Problem> {
    let info = app.engine.inspect_plugin(bytes.into(), params.name).await?;
    Ok(Json(PluginBody::from(&info)))
}

/// All versions of a plugin.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes the response, which is written item by item"
)]
pub(crate) struct PluginVersions {
    /// The plugin's name.
    name: String,
    /// The versions, newest first. The name alone refers to the newest.
    versions: Vec<PluginBody>,
}

/// Get a plugin
///
/// All versions of the plugin, newest first.
#[utoipa::path(
    get, path = "/v1/plugins/{name}", tag = "Plugins", operation_id = "get_plugin",
    params(PluginParam),
    responses(
        (status = 200, description = "The plugin", body = PluginVersions),
        (status = 404, description = "There is no such plugin"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
) -> Result<Response, Problem> {
    let mut versions = app.engine.plugins();
    versions.retain(|plugin| *plugin.name == *name);
    if versions.is_empty() {
        let detail = format!("there is no plugin `{name}`: GET /v1/plugins lists all plugins");
        return Err(Problem::new(ProblemKind::NO_SUCH_PLUGIN, detail));
    }
    let versions = versions.into_iter().map(|plugin| PluginBody::from(&*plugin));
    Ok(json_list::named_list(&name, "versions", versions))
}

/// The grants of a plugin name.
#[derive(Serialize, ToSchema)]
pub(crate) struct NameGrants {
    /// The name of the plugin that the policy is for.
    plugin: String,
    /// The grants, one line each; empty for none.
    grants: Vec<String>,
}

/// Get the grants of a plugin name
///
/// The grants of a plugin with this name, whether or not one is registered. If the policy lists digests for the name, only
/// components with these digests have the grants.
#[utoipa::path(
    get, path = "/v1/plugins/{name}/grants", tag = "Plugins", operation_id = "get_name_grants",
    params(PluginParam),
    responses((status = 200, description = "The grants", body = NameGrants))
)]
pub(crate) async fn grants(State(app): State<App>, PathParams(name): PathParams<String>) -> Json<NameGrants> {
    let grants = app.engine.policy(&name).grants;
    Json(NameGrants { plugin: name, grants })
}
