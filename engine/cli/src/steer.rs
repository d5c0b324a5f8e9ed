//! The commands that steer a run: `pause`, `resume`, `retry`, `cancel`, `upgrade`, `fork` and `signal`. Each prints
//! what happened in words, or the server's answer with `--json`; `fork` prints the new run's id.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    Server,
    client::{Answer, body_of, escape, get, given, post, post_keyed, text},
    number::{LARGEST, whole},
    output,
    refusal::Flags,
};

#[derive(Args)]
pub(crate) struct Signal {
    /// The run's id
    run: String,
    /// The signal's name, as the graph's `wait` has it
    name: String,
    /// What comes with it: JSON, or @FILE, or @- for stdin
    #[arg(long, default_value = "null")]
    payload: String,
    /// The wait that it is for: an id that `heddle show` lists [default: the wait for the signal that began first]
    #[arg(long, value_name = "ID", allow_negative_numbers = true, value_parser = whole::<u64>(0..=LARGEST))]
    wait: Option<u64>,
    /// A key of your own: sent again with it, the signal counts once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Pause {
    /// The run's id
    run: String,
    /// Why, for whoever reads the run's events
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Resume {
    /// The run's id
    run: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Retry {
    /// The run's id
    run: String,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Cancel {
    /// The run's id
    run: String,
    /// Why, for whoever reads the run's events
    #[arg(long, default_value = "")]
    reason: String,
    /// How long calls under way may still take: 0s, 500ms, 10s [default: the server's, 5s]
    #[arg(long, value_name = "TIME")]
    grace: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    /// The run's id
    run: String,
    /// Another version of its graph: an id, or a name for the newest [default: the graph stays as it is]
    #[arg(long)]
    graph: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
pub(crate) struct Fork {
    /// The run's id
    run: String,
    /// The step right after which the new run goes on; 0 for the run's beginning
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u64>(0..=LARGEST))]
    step: u64,
    /// The keys of the state that are to be other than they were: JSON, or @FILE, or @- for stdin
    #[arg(long, value_name = "JSON", default_value = "{}")]
    state: String,
    /// A key of your own: sent again with it, the request answers the same run
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Signal {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let payload = given("--payload", &self.payload)?;
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
        let path = format!("/v1/runs/{}/signal", escape(&self.run));
        let sent = post_keyed(
            &self.server,
            &path,
            &body_of(&body),
            self.idempotency_key.as_deref(),
            &[("/name", "NAME"), ("/payload", "--payload"), ("/wait", "--wait")],
        )?;
        tell(self.json, &sent, || {
            format!("Sent signal {} to run {}", self.name, self.run)
        })
    }
}

impl Pause {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({"reason": self.reason});
        let sent = send(
            &self.server,
            &self.run,
            "pause",
            &body,
            &[("/reason", "--reason")],
        )?;
        tell(self.json, &sent, || format!("Paused run {}", self.run))
    }
}

impl Resume {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let sent = send(&self.server, &self.run, "resume", &json!({}), &[])?;
        tell(self.json, &sent, || format!("Resumed run {}", self.run))
    }
}

impl Retry {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let sent = send(&self.server, &self.run, "retry", &json!({}), &[])?;
        tell(self.json, &sent, || {
            format!("Retrying run {} from where it failed", self.run)
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
        let sent = send(&self.server, &self.run, "cancel", &body, flags)?;
        tell(self.json, &sent, || {
            // The cancellation is accepted, whatever this request gives.
            let run = get(&self.server, &format!("/v1/runs/{}", escape(&self.run)));
            match run.is_ok_and(|run| run["status"] == "cancelled") {
                true => format!("Cancelled run {}", self.run),
                false => format!("Cancelling run {}: calls in progress may still finish", self.run),
            }
        })
    }
}

impl Upgrade {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let body = json!({"graph": self.graph});
        let sent = send(
            &self.server,
            &self.run,
            "upgrade",
            &body,
            &[("/graph", "--graph")],
        )?;
        tell(self.json, &sent, || match &self.graph {
            Some(graph) => format!("Upgraded run {} to graph {graph}", self.run),
            None => format!("Upgraded run {} to the newest versions of its plugins", self.run),
        })
    }
}

impl Fork {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let state = given("--state", &self.state)?;
        #[derive(Serialize)]
        struct Body<'b> {
            step: u64,
            state: &'b RawValue,
        }
        let body = Body {
            step: self.step,
            state: &state,
        };
        let path = format!("/v1/runs/{}/fork", escape(&self.run));
        let fork = post_keyed(
            &self.server,
            &path,
            &body_of(&body),
            self.idempotency_key.as_deref(),
            &[("/step", "--step"), ("/state", "--state")],
        )?;
        match self.json {
            true => fork.print()?,
            false => output::print(text(&fork, "run_id"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn send(server: &Server, run: &str, what: &str, body: &Value, flags: Flags) -> anyhow::Result<Answer> {
    let path = format!("/v1/runs/{}/{what}", escape(run));
    post(server, &path, &body.to_string(), flags)
}

/// Prints the server's answer as JSON, or says what happened and which event of the run says so.
fn tell(json: bool, sent: &Answer, said: impl FnOnce() -> String) -> anyhow::Result<ExitCode> {
    if json {
        sent.print()?;
    } else {
        output::print(format_args!("{} (event {})", said(), sent["seq"]))?;
    }
    Ok(ExitCode::SUCCESS)
}
