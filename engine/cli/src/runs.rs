//! `heddle runs`: lists runs.

use std::{io::Write, process::ExitCode};

use clap::Args;
use heddle_display as display;
use heddle_kernel::{Timestamp, graph};
use serde_json::Value;

use crate::{
    Usage,
    answer::{list, text},
    client::{escape, get_text, print_items},
    colours::Colours,
    connection::Server,
    number::whole,
    output,
};

/// The most runs that one request reads.
const PAGE_LEN: usize = 500;
/// The length in characters at which an error message is cut.
const MESSAGE_LEN: usize = 100;
/// The width of the column of graph names, in characters.
const NAME_WIDTH: usize = 20;

#[derive(Args)]
pub(crate) struct Runs {
    /// Only runs of the graph with this id, or of every version of the graph with this name
    #[arg(long)]
    graph: Option<String>,
    /// Only runs with one of these statuses: queued, running, waiting, paused, finished, failed, cancelled
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',')]
    status: Vec<String>,
    /// Only runs of this origin: api, schedule, fork, import, schedule:NAME or fork:RUN
    #[arg(long)]
    origin: Option<String>,
    /// Only runs that started at this time or later: 2026-11-29T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "TIME")]
    started_after: Option<String>,
    /// Only runs that started before this time
    #[arg(long, value_name = "TIME")]
    started_before: Option<String>,
    /// Only runs whose error message contains this text; ignores case
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// How many runs to list
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all",
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000_000))]
    limit: usize,
    /// List all matching runs
    #[arg(long)]
    all: bool,
    /// Print the runs as JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Runs {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let filters = self.filters(jiff::Timestamp::now())?;
        let mut left = if self.all { usize::MAX } else { self.limit };
        let mut token = String::new();
        let mut is_empty = true;
        let mut out = output::stdout();
        while left > 0 {
            let path = format!("/v1/runs?page_size={}{filters}{token}", left.min(PAGE_LEN));
            let page = get_text(&self.server, &path)?;
            if self.json {
                print_items(&mut out, &page, "runs")?;
            }
            let page: Value = serde_json::from_str(&page)?;
            for run in list(&page, "runs").filter(|_| !self.json) {
                writeln!(out, "{}", line(run))?;
            }
            let count = list(&page, "runs").count();
            left = left.saturating_sub(count);
            is_empty &= count == 0;
            let Some(next) = page["next_page_token"].as_str() else {
                if is_empty {
                    output::empty_list(self.json, "runs");
                }
                return Ok(ExitCode::SUCCESS);
            };
            token = format!("&page_token={}", escape(next));
        }
        if self.limit > 0 && !self.json {
            output::message("there are more runs: use --limit N or --all");
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The filters as query parameters, each after a `&`.
    fn filters(&self, now: jiff::Timestamp) -> anyhow::Result<String> {
        let time = |flag: &str, given: &Option<String>| match given {
            Some(given) => time(flag, given, now).map(Some),
            None => Ok(None),
        };
        let status = (!self.status.is_empty()).then(|| self.status.join(","));
        let filters = [
            ("graph", self.graph.clone()),
            ("status", status),
            ("origin", self.origin.clone()),
            ("started_after", time("--started-after", &self.started_after)?),
            ("started_before", time("--started-before", &self.started_before)?),
            ("error", self.error.clone()),
        ];
        let given = filters
            .into_iter()
            .filter_map(|(name, value)| Some(format!("&{name}={}", escape(&value?))));
        Ok(given.collect())
    }
}

/// Converts an argument to a time for the server: a time, or how long ago.
fn time(flag: &str, given: &str, now: jiff::Timestamp) -> anyhow::Result<String> {
    if let Some(at) = Timestamp::parse_up(given) {
        let at = jiff::Timestamp::from_millisecond(at.0);
        return Ok(at.map_or_else(|_| given.to_owned(), |at| at.to_string()));
    }
    let ms = graph::duration(given).ok().and_then(|ms| i64::try_from(ms).ok());
    let ago = ms.and_then(|ms| jiff::Timestamp::from_millisecond(now.as_millisecond() - ms).ok());
    match ago {
        Some(at) => Ok(at.to_string()),
        None => Err(Usage::error(format!(
            "{flag} {given}: give a time, as in 2026-11-29T12:00:00Z, or how long ago, as in 30m, 2h or 7d"
        ))),
    }
}

/// A run in one line.
fn line(run: &Value) -> String {
    let colours = Colours::for_stdout();
    let status = text(run, "status");
    let colour = match &*status {
        "finished" => "32",
        "failed" => "31",
        "running" => "34",
        "waiting" | "paused" | "queued" => "33",
        _ => "2",
    };
    let (name, id) = (text(run, "graph_name"), text(run, "graph_id"));
    let graph = match &*name {
        "" => id.get(..12).unwrap_or(&id),
        name => name,
    };
    let error = &run["error"];
    let why = match error["message"].as_str() {
        Some(message) => format!("{}: {}", text(error, "node"), excerpt(message)),
        None => text(run, "origin").into_owned(),
    };
    let began = text(run, "started_at");
    let line = format!(
        "{}  {}  {}  {graph:<NAME_WIDTH$}  {why}",
        text(run, "run_id"),
        colours.paint(colour, &format!("{status:<9}")),
        colours.paint("2", &began.get(..19).unwrap_or(&began).replace('T', " ")),
    );
    line.trim_end().to_owned()
}

/// The beginning of a message, in one line.
fn excerpt(message: &str) -> String {
    let message = display::line(message);
    match message.char_indices().nth(MESSAGE_LEN) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_how_long_ago() {
        let now = "2026-11-29T12:00:00Z".parse().expect("a time");
        let time = |given| time("--started-after", given, now).map_err(|error| error.to_string());
        assert_eq!(
            time("2026-11-28T10:00:00+01:00"),
            Ok("2026-11-28T09:00:00Z".to_owned())
        );
        assert_eq!(time("2h"), Ok("2026-11-29T10:00:00Z".to_owned()));
        assert_eq!(time("7d"), Ok("2026-11-22T12:00:00Z".to_owned()));
        for wrong in ["", "yesterday", "2026-11-28", "-2h"] {
            assert!(
                time(wrong).is_err_and(|message| message.contains("--started-after")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_run_is_printed_in_one_line() {
        let run = serde_json::json!({
            "run_id": "01a2129c-77f9-704b-81c5-fe1e28a1de49", "graph_id": "0123456789abcdef", "graph_name": "order",
            "status": "failed", "started_at": "2026-11-29T12:09:33.945Z", "origin": "schedule:nightly",
            "error": {"node": "charge", "message": "the card\nwas declined"}
        });
        assert_eq!(
            line(&run),
            "01a2129c-77f9-704b-81c5-fe1e28a1de49  failed     2026-11-29 12:09:33  order                 charge: the card\\nwas declined"
        );
        let run = serde_json::json!({
            "run_id": "01a2129c-77f9-704b-81c5-fe1e28a1de49", "graph_id": "0123456789abcdef", "graph_name": null,
            "status": "waiting", "started_at": "2026-11-29T12:09:33.945Z", "origin": "schedule:nightly", "error": null
        });
        assert_eq!(
            line(&run),
            "01a2129c-77f9-704b-81c5-fe1e28a1de49  waiting    2026-11-29 12:09:33  0123456789ab          schedule:nightly"
        );
    }
}
