//! `heddle schedule`: creates, lists, changes and deletes schedules.

use std::{io::Write, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use heddle_display as display;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    answer::{list, text},
    client::{Answer, delete, escape, get_text, json_argument, post, print_items, to_json},
    connection::Server,
    json_text::{Detail, pretty},
    number::whole,
    output,
    problem::Flags,
};

/// The place in the body of each argument of `schedule create`.
const FLAGS: Flags = &[
    ("/name", "NAME"),
    ("/graph", "GRAPH"),
    ("/when/cron", "--cron"),
    ("/when/time_zone", "--time-zone"),
    ("/when/every", "--every"),
    ("/when/from", "--from"),
    ("/when/at", "--at"),
    ("/when", "--cron, --every or --at"),
    ("/state", "--state"),
    ("/priority", "--priority"),
    ("/overlap", "--overlap"),
    ("/catch_up", "--catch-up"),
];

#[derive(Subcommand)]
pub(crate) enum Schedule {
    /// Create a schedule, or replace the one with the same name
    Create(Create),
    /// List the schedules with their next times
    List {
        /// Print the schedules as JSON lines
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show a schedule: its next times, its last run and its last error
    Show(Named),
    /// Pause a schedule
    Pause(Named),
    /// Resume a paused schedule from its next time
    Resume(Named),
    /// Delete a schedule; runs that it started continue
    Delete(Named),
    /// Start a run of a schedule now, and print its id
    Run(Named),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The name of the schedule
    name: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("when").required(true).args(["cron", "every", "at"])))]
pub(crate) struct Create {
    /// The name of the schedule: letters, digits and `_-.`
    name: String,
    /// The graph: an id, or a name for the newest graph with that name at each start
    graph: String,
    /// A cron expression: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The time zone of the cron expression, as in Europe/Zurich [default: UTC]
    #[arg(long, value_name = "NAME", requires = "cron")]
    time_zone: Option<String>,
    /// An interval: 15m, 1h30m, 7d
    #[arg(long, value_name = "TIME")]
    every: Option<String>,
    /// The first time of the interval, as in 2026-12-01T09:00:00Z [default: one interval from now]
    #[arg(long, value_name = "MOMENT", requires = "every")]
    from: Option<String>,
    /// One time, as in 2026-12-01T09:00:00Z
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// The initial state of its runs: JSON, @FILE, or @- for stdin
    #[arg(long, default_value = "{}")]
    state: String,
    /// The priority of its runs in the queue, from -100 to 100; the run with the highest priority starts first
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true,
        value_parser = whole::<i32>(-100..=100))]
    priority: i32,
    /// What happens at a scheduled time while the last run is active
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    overlap: Overlap,
    /// What happens with times that were missed while no server was running
    #[arg(long, value_enum, default_value_t = CatchUp::One)]
    catch_up: CatchUp,
    /// Create the schedule paused [default: a new schedule is active; a replaced one stays paused or active]
    #[arg(long)]
    paused: bool,
    /// Print the schedule as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Clone, Copy, ValueEnum)]
enum Overlap {
    /// The time is skipped
    Skip,
    /// One start waits until the last run ends
    Queue,
    /// Another run is started
    Allow,
}

#[derive(Clone, Copy, ValueEnum)]
enum CatchUp {
    /// They are skipped
    None,
    /// One run is started for all of them
    One,
    /// One run is started for each, at most 100
    All,
}

impl Schedule {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Create(create) => {
                let schedule = create.send()?;
                print_result(create.json, &schedule, || next(&schedule))?;
            }
            Self::List { json, server } => list_all(server, *json)?,
            Self::Show(named) => {
                let schedule = get_text(&named.server, &named.path(""))?;
                match named.json {
                    true => output::print(display::json(&schedule))?,
                    false => {
                        let schedule: &RawValue = serde_json::from_str(&schedule)?;
                        output::print(display::json(&pretty(schedule, Detail::Full)))?;
                    }
                }
            }
            Self::Pause(named) => {
                let schedule = named.post("/pause")?;
                print_result(named.json, &schedule, || next(&schedule))?;
            }
            Self::Resume(named) => {
                let schedule = named.post("/resume")?;
                print_result(named.json, &schedule, || next(&schedule))?;
            }
            Self::Delete(named) => {
                delete(&named.server, &named.path(""))?;
                match named.json {
                    true => output::print_json(&json!({"deleted": named.name}))?,
                    false => output::print(format_args!("Deleted schedule {}", named.name))?,
                }
            }
            Self::Run(named) => {
                let started = named.post("/run")?;
                print_result(named.json, &started, || text(&started, "run_id").into_owned())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the server's answer as JSON, or a sentence.
fn print_result(json: bool, answer: &Answer, sentence: impl FnOnce() -> String) -> anyhow::Result<()> {
    match json {
        true => answer.print()?,
        false => output::print(sentence())?,
    }
    Ok(())
}

fn list_all(server: &Server, json: bool) -> anyhow::Result<()> {
    let answer = get_text(server, "/v1/schedules")?;
    let mut out = output::stdout();
    if json {
        return print_items(&mut out, &answer, "schedules");
    }
    let answer: Value = serde_json::from_str(&answer)?;
    if list(&answer, "schedules").next().is_none() {
        output::empty_list(json, "schedules");
    }
    let names = list(&answer, "schedules").map(|schedule| text(schedule, "name").chars().count());
    let width = names.max().unwrap_or_default();
    for schedule in list(&answer, "schedules") {
        writeln!(out, "{:<width$}  {}", text(schedule, "name"), next(schedule))?;
    }
    Ok(())
}

impl Named {
    fn path(&self, rest: &str) -> String {
        format!("/v1/schedules/{}{rest}", escape(&self.name))
    }

    fn post(&self, rest: &str) -> anyhow::Result<Answer> {
        post(&self.server, &self.path(rest), "{}", &[])
    }
}

/// The body of a request that creates a schedule.
#[derive(Serialize)]
struct Body<'b> {
    name: &'b str,
    graph: &'b str,
    state: &'b RawValue,
    priority: i32,
    when: serde_json::Map<String, Value>,
    overlap: &'static str,
    catch_up: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused: Option<bool>,
}

impl Create {
    fn send(&self) -> anyhow::Result<Answer> {
        let mut when = serde_json::Map::new();
        let parts = [
            ("cron", &self.cron),
            ("time_zone", &self.time_zone),
            ("every", &self.every),
            ("from", &self.from),
            ("at", &self.at),
        ];
        for (key, value) in parts {
            if let Some(value) = value {
                when.insert(key.to_owned(), json!(value));
            }
        }
        let body = Body {
            name: &self.name,
            graph: &self.graph,
            state: &json_argument("--state", &self.state)?,
            priority: self.priority,
            when,
            overlap: match self.overlap {
                Overlap::Skip => "skip",
                Overlap::Queue => "queue",
                Overlap::Allow => "allow",
            },
            catch_up: match self.catch_up {
                CatchUp::None => "none",
                CatchUp::One => "one",
                CatchUp::All => "all",
            },
            paused: self.paused.then_some(true),
        };
        post(&self.server, "/v1/schedules", &to_json(&body), FLAGS)
    }
}

/// The next time of a schedule, or why there is none, and its last error.
fn next(schedule: &Value) -> String {
    let mut line = match &*text(schedule, "next_at") {
        "" if schedule["paused"] == true => "paused".to_owned(),
        "" => "no more times".to_owned(),
        at => format!("next at {at}"),
    };
    let error = text(&schedule["last_error"], "message");
    if !error.is_empty() {
        line.push_str(&format!("; the last start failed: {error}"));
    }
    line
}
