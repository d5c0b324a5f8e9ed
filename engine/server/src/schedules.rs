//! `/v1/schedules`: runs that are started when their time comes.

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
use heddle_runtime::{ScheduleError, ScheduleSpec, ScheduleView, WhenSpec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    App,
    extract::{JsonOrNothing, JsonText, Parted, state_at},
    problem::{Kind, Problem, ProblemBody},
    runs,
    steering::Nothing,
    streamed,
    view::{CatchUpDoc, Moment, OverlapDoc},
};

/// A schedule to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutSchedule, example = json!({
    "name": "morning-report", "graph": "starter", "state": {"input": "some data"},
    "when": {"cron": "0 9 * * 1-5", "time_zone": "Europe/Zurich"}, "overlap": "skip", "catch_up": "one"
}))]
pub(crate) struct PutBody<'b> {
    /// The schedule's name: up to 100 letters, digits and `_-.`.
    // Slightly wider than the server's rule (`char::is_alphanumeric`): few regex engines know `\p{Alphabetic}`.
    #[schema(min_length = 1, max_length = 100, pattern = "^[\\p{L}\\p{M}\\p{N}_\\-.]+$")]
    name: String,
    /// The graph's id, or its name: then each run is of the newest graph with it.
    graph: String,
    /// The state that its runs begin with: an object; `{}` where it is left out.
    #[serde(borrow, default)]
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    state: Option<&'b RawValue>,
    /// The priority of its runs: -100 to 100; 0 where it is left out.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i32>,
    /// When it is due.
    when: WhenBody,
    /// What if its last run is not over: `skip` leaves the start out, `queue` has one wait until it is, `allow`
    /// starts all the same. `skip` where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<OverlapDoc>, example = "skip")]
    overlap: Option<Overlap>,
    /// What of times that were missed while no engine ran: `none` of them is made up for, `one` start is made for all,
    /// or one for each (`all`, at most 100). `one` where it is left out.
    #[serde(default)]
    #[schema(value_type = Option<CatchUpDoc>, example = "one")]
    catch_up: Option<CatchUp>,
    /// Whether it is paused. Where it is left out, a schedule that takes the place of another stays paused or active
    /// as that one was, and a new one is active.
    #[serde(default)]
    paused: Option<bool>,
}

/// When a schedule is due: `cron`, `every` or `at`.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = When, example = json!({"cron": "0 9 * * 1-5", "time_zone": "Europe/Zurich"}))]
pub(crate) struct WhenBody {
    /// A cron expression: minute, hour, day of the month, month, day of the week.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, example = "0 9 * * 1-5")]
    cron: Option<String>,
    /// With `cron`: the time zone whose clocks it means, by its IANA name; `UTC` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, example = "Europe/Zurich")]
    time_zone: Option<String>,
    /// An interval: `15m`, `1h30m`, `7d`; at least `1s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^\\s*([0-9]+(ms|s|m|h|d|w)\\s*)+$", example = "15m")]
    every: Option<String>,
    /// With `every`: the first time; else the schedule is first due one interval after it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// One time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    at: Option<String>,
}

impl WhenBody {
    fn read(self) -> Result<WhenSpec, Problem> {
        let alone = |pointer: &str, given: Option<&String>, with: &str| match given {
            Some(_) => Err(Problem::invalid_at(
                pointer,
                format!("this goes with `{with}` alone"),
            )),
            None => Ok(()),
        };
        if self.cron.is_none() {
            alone("/when/time_zone", self.time_zone.as_ref(), "cron")?;
        }
        if self.every.is_none() {
            alone("/when/from", self.from.as_ref(), "every")?;
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
                "expected one of `cron`, `every` and `at`, as in {\"every\": \"15m\"}",
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

/// A schedule.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub(crate) struct ScheduleBody {
    /// Its name.
    #[schema(value_type = String)]
    name: Arc<str>,
    /// The graph that it runs: an id or a name.
    graph: String,
    /// The state that its runs begin with.
    #[schema(value_type = BTreeMap<String, Value>)]
    state: Object,
    /// The priority of its runs.
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
    /// When it is due.
    when: WhenBody,
    /// What happens to a start while its last run is not over.
    #[schema(value_type = OverlapDoc)]
    overlap: Overlap,
    /// What happens to times that were missed.
    #[schema(value_type = CatchUpDoc)]
    catch_up: CatchUp,
    /// Whether it stands still.
    paused: bool,
    /// When it is due next; null while it is paused, and once nothing follows.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    next_at: Option<Moment>,
    /// The next times, at most five of them.
    #[schema(value_type = Vec<String>)]
    next: Vec<Moment>,
    /// How many starts wait: for the end of its last run, or to be tried again.
    waiting: usize,
    /// The latest time for which a run was started.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    last_at: Option<Moment>,
    /// That run.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    last_run: Option<RunId>,
    /// Why the latest start did not go well.
    #[schema(required)]
    last_error: Option<LastError>,
    /// How many times were left out, for whatever reason.
    skipped: u64,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    /// When it was changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

/// Why a start did not go well.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleError)]
pub(crate) struct LastError {
    /// When it was tried.
    #[schema(value_type = String, format = DateTime)]
    at: Moment,
    /// What was wrong.
    #[schema(value_type = String)]
    message: Arc<str>,
}

/// Schedules, by name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what is written item by item")]
pub(crate) struct ScheduleList {
    /// All of them.
    schedules: Vec<ScheduleBody>,
}

/// A run that a schedule started.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduledRun)]
pub(crate) struct RunOf {
    /// Its id.
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

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        match error {
            ScheduleError::NoSuchSchedule(_) => Self::new(Kind::NO_SUCH_SCHEDULE, error.to_string()),
            ScheduleError::Invalid { pointer, message } => Self::invalid_at(pointer, message),
            ScheduleError::TooMany | ScheduleError::TooLarge { .. } => {
                Self::new(Kind::TOO_MANY_SCHEDULES, error.to_string())
            }
            ScheduleError::Start(error) => error.into(),
            ScheduleError::Store(error) => error.into(),
        }
    }
}

/// Create a schedule
///
/// Or put this one in the place of the one with its name, which goes on where it was if it is due at the same times.
/// One that is paused stays paused unless the body says otherwise.
#[utoipa::path(
    post, path = "/v1/schedules", tag = "schedules", operation_id = "put_schedule",
    request_body = PutBody,
    responses(
        (status = 201, description = "The schedule is new", body = ScheduleBody, headers(("location" = String, description = "Where it is"))),
        (status = 200, description = "It is in the place of another one", body = ScheduleBody, headers(("location" = String, description = "Where it is"))),
        (status = 409, description = "There are too many schedules", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Something is wrong with it: `errors` says where", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put(State(app): State<App>, body: JsonText) -> Result<impl IntoResponse, Problem> {
    let request: PutBody<'_> = body.parse()?;
    let state = request.state.map(|state| state_at("/state", state)).transpose()?;
    let spec = ScheduleSpec {
        graph: request.graph,
        state: state.unwrap_or_default(),
        priority: runs::priority(request.priority)?,
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
/// All of them, by name.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", operation_id = "list_schedules",
    responses((status = 200, description = "The schedules", body = ScheduleList))
)]
pub(crate) async fn list(State(app): State<App>) -> Result<Response, Problem> {
    let schedules = app.engine.schedules().await?;
    Ok(streamed::list(
        "schedules",
        schedules.into_iter().map(ScheduleBody::from),
    ))
}

/// Get a schedule
///
/// With its next times, its last run, and why the latest start did not go well, if so.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "get_schedule",
    params(("name" = String, Path, min_length = 1, example = "morning-report", description = "Its name")),
    responses(
        (status = 200, description = "The schedule", body = ScheduleBody),
        (status = 404, description = "There is no such schedule", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get(
    State(app): State<App>,
    Parted(name): Parted<String>,
) -> Result<Json<ScheduleBody>, Problem> {
    Ok(Json(app.engine.schedule(&name).await?.into()))
}

/// Delete a schedule
///
/// Runs that it started go on.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", tag = "schedules", operation_id = "delete_schedule",
    params(("name" = String, Path, min_length = 1, example = "morning-report", description = "Its name")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such schedule", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Parted(name): Parted<String>,
) -> Result<StatusCode, Problem> {
    app.engine.delete_schedule(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a schedule
///
/// Nothing is started until it is resumed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", tag = "schedules", operation_id = "pause_schedule",
    params(("name" = String, Path, min_length = 1, example = "morning-report", description = "Its name")),
    request_body(content = Option<Nothing>, description = "`{}`, or left out"),
    responses(
        (status = 200, description = "The schedule stands still", body = ScheduleBody),
        (status = 404, description = "There is no such schedule", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn pause(
    State(app): State<App>,
    Parted(name): Parted<String>,
    body: JsonOrNothing,
) -> Result<Json<ScheduleBody>, Problem> {
    let Nothing {} = body.parse()?;
    Ok(Json(app.engine.pause_schedule(&name).await?.into()))
}

/// Resume a schedule
///
/// It goes on with the next time that comes: those that came while it was paused were not missed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", tag = "schedules", operation_id = "resume_schedule",
    params(("name" = String, Path, min_length = 1, example = "morning-report", description = "Its name")),
    request_body(content = Option<Nothing>, description = "`{}`, or left out"),
    responses(
        (status = 200, description = "The schedule goes on", body = ScheduleBody),
        (status = 404, description = "There is no such schedule", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn resume(
    State(app): State<App>,
    Parted(name): Parted<String>,
    body: JsonOrNothing,
) -> Result<Json<ScheduleBody>, Problem> {
    let Nothing {} = body.parse()?;
    Ok(Json(app.engine.resume_schedule(&name).await?.into()))
}

/// Start a schedule's run now
///
/// Also where it is paused, or its last run is not over. Its times stay as they are.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/run", tag = "schedules", operation_id = "run_schedule",
    params(("name" = String, Path, min_length = 1, example = "morning-report", description = "Its name")),
    request_body(content = Option<Nothing>, description = "`{}`, or left out"),
    responses(
        (status = 202, description = "The run goes on in the background", body = RunOf, headers(("location" = String, description = "Where it is"))),
        (status = 404, description = "There is no such schedule, or its graph is gone", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A function that the graph needs is gone", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "Too many runs are queued", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn run(
    State(app): State<App>,
    Parted(name): Parted<String>,
    body: JsonOrNothing,
) -> Result<impl IntoResponse, Problem> {
    let Nothing {} = body.parse()?;
    let run_id = app.engine.run_schedule(&name).await?;
    let location = [(header::LOCATION, format!("/v1/runs/{run_id}"))];
    Ok((StatusCode::ACCEPTED, location, Json(RunOf { run_id })))
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
    fn a_schedule_is_due_in_one_of_three_ways() {
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
            expect![[r#"/when: expected one of `cron`, `every` and `at`, as in {"every": "15m"}"#]],
        );
        check(
            r#"{"every": "1h", "at": "2026-12-01T09:00:00Z"}"#,
            expect![[r#"/when: expected one of `cron`, `every` and `at`, as in {"every": "15m"}"#]],
        );
        check(
            r#"{"every": "1h", "time_zone": "UTC"}"#,
            expect!["/when/time_zone: this goes with `cron` alone"],
        );
        check(
            r#"{"at": "tomorrow"}"#,
            expect![[
                r#"/when/at: expected a time such as "2026-12-01T09:00:00Z" (RFC 3339), got "tomorrow""#
            ]],
        );
    }
}
