//! `/v1/schedules`: creates, shows and controls schedules, which start runs at given times.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use heddle_json::Object;
use heddle_kernel::{
    RunId, Timestamp,
    schedule::{CatchUp, Overlap},
};
use heddle_runtime::{ScheduleSpec, ScheduleView, WhenSpec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::App,
    request::{
        body::{EmptyBody, JsonText, OptionalJson, parse_state},
        path::{PathParams, ScheduleParam},
        priority::Priority,
    },
    response::{json_list, problem::Problem},
    view::{
        moment::Moment,
        names::{CatchUpDoc, OverlapDoc},
    },
};

/// A schedule to create or replace.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutSchedule, example = json!({
    "name": "morning-report", "graph": "starter", "state": {"input": "some data"},
    "when": {"cron": "0 9 * * 1-5", "time_zone": "Europe/Zurich"}, "overlap": "skip", "catch_up": "one"
}))]
pub(crate) struct PutBody<'b> {
    /// The schedule's name: up to 100 letters, digits, `_`, `-` and `.`.
    // Slightly wider than the engine's rule (`char::is_alphanumeric`): few regex engines know `\p{Alphabetic}`.
    #[schema(min_length = 1, max_length = 100, pattern = "^[\\p{L}\\p{M}\\p{N}_\\-.]+$")]
    name: String,
    /// The graph's id, or a name: each run then uses the newest graph with it.
    graph: String,
    /// The initial state of the runs: an object, default `{}`.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// The priority of the runs: -100 to 100, default 0.
    #[serde(default)]
    #[schema(value_type = Option<i32>, minimum = -100, maximum = 100)]
    priority: Option<Priority>,
    /// When runs are started.
    when: WhenBody,
    /// What to do if the last run is still active: `skip` drops the start, `queue` delays one start until the run is over,
    /// `allow` starts another run. Default `skip`.
    #[serde(default)]
    #[schema(value_type = Option<OverlapDoc>, example = "skip")]
    overlap: Option<Overlap>,
    /// What to do about times that were missed while no engine was running: `none` starts no run, `one` starts one run for
    /// all of them, `all` starts one run for each, at most 100. Default `one`.
    #[serde(default)]
    #[schema(value_type = Option<CatchUpDoc>, example = "one")]
    catch_up: Option<CatchUp>,
    /// Whether the schedule is paused. Default: a replaced schedule stays paused or active, and a new one is active.
    #[serde(default)]
    paused: Option<bool>,
}

/// The times of a schedule: one of `cron`, `every` and `at`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = When, example = json!({"cron": "0 9 * * 1-5", "time_zone": "Europe/Zurich"}))]
pub(crate) struct WhenBody {
    /// A cron expression: minute, hour, day of month, month, day of week.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, example = "0 9 * * 1-5")]
    cron: Option<String>,
    /// The time zone of `cron`, by IANA name; default `UTC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, example = "Europe/Zurich")]
    time_zone: Option<String>,
    /// An interval, at least `1s`: `15m`, `1h30m`, `7d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$", example = "15m")]
    every: Option<String>,
    /// The first time of `every`. Default: one interval after the schedule's creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// The only time of the schedule (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    at: Option<String>,
}

impl WhenBody {
    fn read(self) -> Result<WhenSpec, Problem> {
        let refuse_without = |required: &str, pointer: &str, given: Option<&String>| match given {
            Some(_) => Err(Problem::invalid_at(
                pointer,
                format!("this field is valid only with `{required}`"),
            )),
            None => Ok(()),
        };
        if self.cron.is_none() {
            refuse_without("cron", "/when/time_zone", self.time_zone.as_ref())?;
        }
        if self.every.is_none() {
            refuse_without("every", "/when/from", self.from.as_ref())?;
        }
        match (self.cron, self.every, self.at) {
            (Some(cron), None, None) => Ok(WhenSpec::Cron {
                cron,
                time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            }),
            (None, Some(every), None) => Ok(WhenSpec::Every {
                every,
                from: self.from.map(|from| moment("/when/from", &from)).transpose()?,
            }),
            (None, None, Some(at)) => Ok(WhenSpec::At(moment("/when/at", &at)?)),
            _ => Err(Problem::invalid_at(
                "/when",
                "expected one of `cron`, `every` and `at`, for example {\"every\": \"15m\"}",
            )),
        }
    }

    fn of(when: WhenSpec) -> Self {
        let moment = |at| Moment(at).to_string();
        match when {
            WhenSpec::Cron { cron, time_zone } => Self {
                cron: Some(cron),
                time_zone: Some(time_zone),
                ..Self::default()
            },
            WhenSpec::Every { every, from } => Self {
                every: Some(every),
                from: from.map(moment),
                ..Self::default()
            },
            WhenSpec::At(at) => Self {
                at: Some(moment(at)),
                ..Self::default()
            },
        }
    }
}

fn moment(pointer: &str, text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse(text).ok_or_else(|| {
        Problem::invalid_at(
            pointer,
            format!("expected a time such as \"2026-12-01T09:00:00Z\" (RFC 3339), got {text:?}"),
        )
    })
}

/// A schedule: its times, the run that it starts, and its progress.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct ScheduleBody {
    /// The schedule's name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// The id or name of the graph.
    graph: String,
    /// The initial state of the runs.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The priority of the runs.
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
    /// When runs are started.
    when: WhenBody,
    /// What to do if the last run is still active.
    #[schema(value_type = OverlapDoc)]
    overlap: Overlap,
    /// What to do about missed times.
    #[schema(value_type = CatchUpDoc)]
    catch_up: CatchUp,
    /// Whether the schedule is paused.
    paused: bool,
    /// The next time; null while the schedule is paused or if it has no further times.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    next_at: Option<Moment>,
    /// The next times, at most five.
    #[schema(value_type = Vec<String>)]
    next: Vec<Moment>,
    /// The number of starts that wait for the end of the last run or for a retry.
    waiting: usize,
    /// The latest time for which a run was started.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_at: Option<Moment>,
    /// The run that was started for `last_at`.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    last_run: Option<RunId>,
    /// Why the latest start failed; null if it did not.
    #[schema(required)]
    last_error: Option<LastError>,
    /// The number of times for which no run was started.
    skipped: u64,
    /// When the schedule was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When the schedule was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// Why a start failed.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleError)]
pub(crate) struct LastError {
    /// When the start was attempted.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// What went wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
}

/// All schedules.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it only describes the response, which is written item by item"
)]
pub(crate) struct ScheduleList {
    /// The schedules, sorted by name.
    schedules: Vec<ScheduleBody>,
}

/// A run that was started from a schedule.
#[derive(Serialize, ToSchema)]
pub(crate) struct ScheduledRun {
    /// The run's id.
    #[schema(value_type = String, format = "uuid")]
    run_id: RunId,
}

impl From<ScheduleView> for ScheduleBody {
    fn from(view: ScheduleView) -> Self {
        let ScheduleView { spec, .. } = view;
        Self {
            name: view.name,
            graph: spec.graph,
            state: spec.state,
            priority: spec.priority,
            when: WhenBody::of(spec.when),
            overlap: spec.overlap,
            catch_up: spec.catch_up,
            paused: spec.paused,
            next_at: view.next.first().copied().map(Moment),
            next: view.next.into_iter().map(Moment).collect(),
            waiting: view.waiting,
            last_at: view.last_at.map(Moment),
            last_run: view.last_run,
            last_error: view.last_error.map(|(at, message)| LastError {
                at: Moment(at),
                message,
            }),
            skipped: view.skipped,
            created_at: Moment(view.created_at),
            updated_at: Moment(view.updated_at),
        }
    }
}

/// Create or replace a schedule
///
/// Replaces the schedule with the same name, if there is one. If `when` is the same, the times continue where they were. A
/// paused schedule stays paused unless the body has `paused`.
#[utoipa::path(
    post, path = "/v1/schedules", tag = "Schedules", operation_id = "put_schedule",
    request_body = PutBody,
    responses(
        (status = 201, description = "The schedule is created", body = ScheduleBody, headers(("location" = String, description = "The path of the schedule"))),
        (status = 200, description = "The schedule is replaced", body = ScheduleBody, headers(("location" = String, description = "The path of the schedule"))),
        (status = 409, description = "The limit on schedules is reached"),
        (status = 422, description = "The schedule is invalid"),
    )
)]
pub(crate) async fn put(State(app): State<App>, body: JsonText) -> Result<impl IntoResponse, Problem> {
    let request: PutBody<'_> = body.parse()?;
    let state = request
        .state
        .map(|state| parse_state("/state", state))
        .transpose()?;
    let spec = ScheduleSpec {
        graph: request.graph,
        state: state.unwrap_or_default(),
        priority: request.priority.map_or(0, |Priority(priority)| priority),
        when: request.when.read()?,
        overlap: request.overlap.unwrap_or_default(),
        catch_up: request.catch_up.unwrap_or_default(),
        paused: false,
    };
    let (view, new) = app
        .engine
        .put_schedule(&request.name, spec, request.paused)
        .await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/v1/schedules/{}", view.name);
    Ok((
        status,
        [(header::LOCATION, location)],
        Json(ScheduleBody::from(view)),
    ))
}

/// List schedules
///
/// All schedules, sorted by name.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "Schedules", operation_id = "list_schedules",
    responses((status = 200, description = "The schedules", body = ScheduleList))
)]
pub(crate) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    let schedules = app.engine.schedules().await?;
    Ok(json_list::list(
        "schedules",
        schedules.into_iter().map(ScheduleBody::from),
    ))
}

/// Get a schedule
///
/// With its next times, its last run and its last error.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", tag = "Schedules", operation_id = "get_schedule",
    params(ScheduleParam),
    responses(
        (status = 200, description = "The schedule", body = ScheduleBody),
        (status = 404, description = "There is no such schedule"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
) -> Result<Json<ScheduleBody>, Problem> {
    Ok(Json(app.engine.schedule(&name).await?.into()))
}

/// Delete a schedule
///
/// Deletes the schedule. The runs that it started are not affected.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", tag = "Schedules", operation_id = "delete_schedule",
    params(ScheduleParam),
    responses(
        (status = 204, description = "The schedule is deleted"),
        (status = 404, description = "There is no such schedule"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
) -> Result<StatusCode, Problem> {
    app.engine.delete_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule
///
/// The schedule starts no runs until it is resumed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", tag = "Schedules", operation_id = "pause_schedule",
    params(ScheduleParam),
    request_body(content = Option<EmptyBody>, description = "Optional: `{}`"),
    responses(
        (status = 200, description = "The schedule is paused", body = ScheduleBody),
        (status = 404, description = "There is no such schedule"),
    )
)]
pub(crate) async fn pause(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
    body: OptionalJson,
) -> Result<Json<ScheduleBody>, Problem> {
    let EmptyBody {} = body.parse()?;
    Ok(Json(app.engine.pause_schedule(&name).await?.into()))
}

/// Resume a schedule
///
/// The schedule continues with its next time. Times during the pause do not count as missed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", tag = "Schedules", operation_id = "resume_schedule",
    params(ScheduleParam),
    request_body(content = Option<EmptyBody>, description = "Optional: `{}`"),
    responses(
        (status = 200, description = "The schedule is resumed", body = ScheduleBody),
        (status = 404, description = "There is no such schedule"),
    )
)]
pub(crate) async fn resume(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
    body: OptionalJson,
) -> Result<Json<ScheduleBody>, Problem> {
    let EmptyBody {} = body.parse()?;
    Ok(Json(app.engine.resume_schedule(&name).await?.into()))
}

/// Start a run of a schedule now
///
/// Starts a run even if the schedule is paused or its last run is active. The times of the schedule do not change.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/run", tag = "Schedules", operation_id = "run_schedule",
    params(ScheduleParam),
    request_body(content = Option<EmptyBody>, description = "Optional: `{}`"),
    responses(
        (status = 202, description = "The run is active or queued", body = ScheduledRun, headers(("location" = String, description = "The path of the run"))),
        (status = 404, description = "There is no such schedule, or its graph no longer exists"),
        (status = 409, description = "A function of the graph no longer exists"),
        (status = 429, description = "Too many runs are queued"),
    )
)]
pub(crate) async fn run(
    State(app): State<App>,
    PathParams(name): PathParams<String>,
    body: OptionalJson,
) -> Result<impl IntoResponse, Problem> {
    let EmptyBody {} = body.parse()?;
    let run_id = app.engine.run_schedule(&name).await?;
    let location = [(header::LOCATION, format!("/v1/runs/{run_id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(ScheduledRun { run_id })))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(when: &str, expect: Expect) {
        let body: WhenBody = serde_json::from_str(when).expect("a body");
        expect.assert_eq(&match body.read() {
            Ok(when) => serde_json::to_string(&WhenBody::of(when)).expect("it serializes"),
            Err(problem) => problem.detail().to_owned(),
        });
    }

    #[test]
    fn a_schedule_has_one_of_three_kinds_of_times() {
        check(
            r#"{"cron": "0 9 * * *"}"#,
            expect![[r#"{"cron":"0 9 * * *","time_zone":"UTC"}"#]],
        );
        check(
            r#"{"every": "15m", "from": "2026-12-01T09:00:00+01:00"}"#,
            expect![[r#"{"every":"15m","from":"2026-12-01T08:00:00.000Z"}"#]],
        );
        check(
            r#"{"at": "2026-12-01T09:00:00Z"}"#,
            expect![[r#"{"at":"2026-12-01T09:00:00.000Z"}"#]],
        );
        check(
            "{}",
            expect![[r#"/when: expected one of `cron`, `every` and `at`, for example {"every": "15m"}"#]],
        );
        check(
            r#"{"every": "1h", "at": "2026-12-01T09:00:00Z"}"#,
            expect![[r#"/when: expected one of `cron`, `every` and `at`, for example {"every": "15m"}"#]],
        );
        check(
            r#"{"every": "1h", "time_zone": "UTC"}"#,
            expect!["/when/time_zone: this field is valid only with `cron`"],
        );
        check(
            r#"{"at": "tomorrow"}"#,
            expect![[
                r#"/when/at: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "tomorrow""#
            ]],
        );
    }
}
