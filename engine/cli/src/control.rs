//! The commands that control a run: `pause`, `resume`, `retry`, `cancel`, `upgrade`, `fork` and `signal`.
//!
//! Each prints what happened, or the server's answer with `--json`; `fork` prints the id of the new run.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    answer::text,
    client::{Answer, escape, get, json_argument, post, post_with_key, to_json},
    connection::Server,
    number::{MAX_NUMBER, whole},
    output,
    problem::Flags,
};

// The arguments that all of these commands have. No doc comment, because clap would use it as the description.
#[derive(Args)]
struct Target {
    /// The id of the run
    run: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Signal {
    #[command(flatten)]
    target: Target,
    /// The name of the signal, as in the graph's `wait`
    name: String,
    /// The payload: JSON, @FILE, or @- for stdin
    #[arg(long, default_value = "null")]
    payload: String,
    /// The id of the wait, as `heddle show` lists it [default: the oldest wait for this signal]
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    wait: Option<u64>,
    /// An idempotency key of your choice: a signal that is sent again with the same key counts once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,
    /// The reason, which is recorded in the run's events
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    target: Target,
}

#[derive(Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    target: Target,
    /// The reason, which is recorded in the run's events
    #[arg(long, default_value = "")]
    reason: String,
    /// How long active calls may continue: 0s, 500ms, 10s [default: the server's, 5s]
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    target: Target,
    /// Another version of the run's graph: an id, or a name for the newest graph with it [default: the current graph]
    #[arg(long)]
    graph: Option<String>,
}

#[derive(Args)]
pub(crate) struct Fork {
    #[command(flatten)]
    target: Target,
    /// The step after which the new run continues; 0 for the beginning of the run
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(0..=MAX_NUMBER))]
    step: u64,
    /// State overrides: a JSON object, @FILE, or @- for stdin
    #[arg(long, value_name = "JSON", default_value = "{}")]
    state: String,
    /// An idempotency key of your choice: a repeated request with the same key returns the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl Signal {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let payload = json_argument("--payload", &self.payload)?;
        #[derive(Serialize)]
        struct Body<'b> {
            name: &'b str,
            payload: &'b RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            wait: Option<u64>,
        }
        let body = Body {
            name: &self.name,
            payload: &payload,
            wait: self.wait,
        };
        let path = format!("/v1/runs/{}/signal", escape(&self.target.run));
        let sent = post_with_key(
            &self.target.server,
            &path,
            &to_json(&body),
            self.idempotency_key.as_deref(),
            &[("/name", "NAME"), ("/payload", "--payload"), ("/wait", "--wait")],
        )?;
        self.target.print(&sent, || {
            format!("Sent signal {} to run {}", self.name, self.target.run)
        })
    }
}

impl Pause {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({"reason": self.reason});
        let sent = self.target.send("pause", &body, &[("/reason", "--reason")])?;
        self.target
            .print(&sent, || format!("Paused run {}", self.target.run))
    }
}

impl Resume {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let sent = self.target.send("resume", &json!({}), &[])?;
        self.target
            .print(&sent, || format!("Resumed run {}", self.target.run))
    }
}

impl Retry {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let sent = self.target.send("retry", &json!({}), &[])?;
        self.target.print(&sent, || {
            format!("Retrying run {} from where it failed", self.target.run)
        })
    }
}

impl Cancel {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut body = json!({"reason": self.reason});
        if let Some(grace) = &self.grace {
            body["grace"] = json!(grace);
        }
        let flags: Flags = &[("/reason", "--reason"), ("/grace", "--grace")];
        let sent = self.target.send("cancel", &body, flags)?;
        self.target.print(&sent, || {
            let id = &self.target.run;
            // The cancellation is accepted even if this request fails.
            let run = get(&self.target.server, &format!("/v1/runs/{}", escape(id)));
            match run.is_ok_and(|run| run["status"] == "cancelled") {
                true => format!("Cancelled run {id}"),
                false => format!("Cancelling run {id}: active calls may still finish"),
            }
        })
    }
}

impl Upgrade {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({"graph": self.graph});
        let sent = self.target.send("upgrade", &body, &[("/graph", "--graph")])?;
        let id = &self.target.run;
        self.target.print(&sent, || match &self.graph {
            Some(graph) => format!("Upgraded run {id} to graph {graph}"),
            None => format!("Upgraded run {id} to the newest versions of its plugins"),
        })
    }
}

impl Fork {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let state = json_argument("--state", &self.state)?;
        #[derive(Serialize)]
        struct Body<'b> {
            step: u64,
            state: &'b RawValue,
        }
        let body = Body {
            step: self.step,
            state: &state,
        };
        let path = format!("/v1/runs/{}/fork", escape(&self.target.run));
        let fork = post_with_key(
            &self.target.server,
            &path,
            &to_json(&body),
            self.idempotency_key.as_deref(),
            &[("/step", "--step"), ("/state", "--state")],
        )?;
        match self.target.json {
            true => fork.print()?,
            false => output::print(text(&fork, "run_id"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Target {
    /// Posts a command to the run.
    fn send(&self, command: &str, body: &Value, flags: Flags) -> anyhow::Result<Answer> {
        let path = format!("/v1/runs/{}/{command}", escape(&self.run));
        post(&self.server, &path, &body.to_string(), flags)
    }

    /// Prints the server's answer as JSON, or a sentence with the number of the event that records the command.
    fn print(&self, sent: &Answer, sentence: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
        match self.json {
            true => sent.print()?,
            false => output::print(format_args!("{} (event {})", sentence(), sent["seq"]))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
