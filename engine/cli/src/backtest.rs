//! `heddle backtest`: repeats recorded calls of runs with a new version of a plugin, and compares the outcomes.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use clap::Args;
use heddle_display as display;
use heddle_host::{Compiler, Host, HostSettings};
use heddle_runtime::{
    Backtest, Difference,
    ports::{Functions, NewPlugin, PluginInfo, RegisterError},
};
use serde_json::value::RawValue;

use crate::{
    answer::{list, text},
    client::{download, escape, get},
    colours::Colours,
    connection::Server,
    json_text::{Detail, pretty},
    number::whole,
    output,
};

/// How many differences are printed as text; `--json` prints all.
const SHOWN: usize = 50;
/// The size in bytes at which an outcome is cut in text output.
const SHOWN_BYTES: usize = 160;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The new version of the plugin: a .wasm file
    plugin: PathBuf,
    /// The runs whose recorded calls are repeated: ids, or files that `heddle export` wrote
    #[arg(long, num_args = 1.., value_name = "RUN")]
    runs: Vec<String>,
    /// The number of newest runs of the server to use
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "runs",
        allow_negative_numbers = true, value_parser = whole::<usize>(1..=1_000_000))]
    last: usize,
    /// With --last: only runs of this graph, given by id or name
    #[arg(long, conflicts_with = "runs")]
    graph: Option<String>,
    /// The name of the plugin [default: the name in the file]
    #[arg(long)]
    name: Option<String>,
    /// A folder with other plugins whose tools the plugin calls
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Arguments {
    /// Exits with 0 if all outcomes are the same, and with 1 if one differs.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let report = runtime.block_on(self.backtest())?;
        match self.json {
            true => {
                let report = serde_json::value::to_raw_value(&report)?;
                output::print(display::json(&pretty(&report, Detail::Full)))?;
            }
            false => print(&report)?,
        }
        Ok(match report.differences.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    async fn backtest(&self) -> anyhow::Result<Backtest> {
        let host = Host::new(HostSettings {
            compiler: Compiler::of_this_program(crate::COMPILER)?,
            ..HostSettings::default()
        })?;
        let plugin = self.register(&host).await?;
        let mut report = Backtest::default();
        for run in self.chosen()? {
            let export = self.export(&run)?;
            report
                .run(&host, &plugin, &export)
                .await
                .with_context(|| format!("run {run}"))?;
        }
        if report.attempts == 0 && report.granted == 0 {
            bail!(
                "none of the {} runs called a function of `{}`: choose other runs with --runs, or --graph and --last",
                report.runs,
                plugin.name
            );
        }
        Ok(report)
    }

    /// Registers the new version, and the other plugins that it may call.
    async fn register(&self, host: &Host) -> anyhow::Result<PluginInfo> {
        let new = |file: &Path, name: Option<String>| -> anyhow::Result<NewPlugin> {
            let bytes = fs::read(file).with_context(|| format!("cannot read {}", output::path(file)))?;
            Ok(NewPlugin {
                name,
                fallback_name: file.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
                ..NewPlugin::of(bytes.into())
            })
        };
        let plugin = host.register(new(&self.plugin, self.name.clone())?).await;
        let plugin = plugin.with_context(|| output::path(&self.plugin).to_string())?;
        let Some(folder) = &self.plugins else {
            return Ok(plugin);
        };
        let entries = fs::read_dir(folder).with_context(|| format!("--plugins {}", output::path(folder)))?;
        for entry in entries {
            let file = entry
                .with_context(|| format!("--plugins {}", output::path(folder)))?
                .path();
            if file.extension().is_none_or(|ending| ending != "wasm") {
                continue;
            }
            match host.register(new(&file, None)?).await {
                // The new version replaces the one in the folder.
                Ok(_) | Err(RegisterError::VersionTaken { .. }) => {}
                Err(error) => output::warning(format_args!("skipping {}: {error}", output::path(&file))),
            }
        }
        Ok(plugin)
    }

    /// The ids or files of the selected runs.
    fn chosen(&self) -> anyhow::Result<Vec<String>> {
        if !self.runs.is_empty() {
            return Ok(self.runs.clone());
        }
        let graph = self.graph.as_ref();
        let graph = graph.map_or_else(String::new, |graph| format!("&graph={}", escape(graph)));
        let (mut chosen, mut page) = (Vec::new(), String::new());
        while chosen.len() < self.last {
            let size = (self.last - chosen.len()).min(500);
            let url = format!("/v1/runs?page_size={size}{graph}{page}");
            let answer = get(&self.server, &url)?;
            chosen.extend(list(&answer, "runs").map(|run| text(run, "run_id").into_owned()));
            match answer["next_page_token"].as_str() {
                Some(token) => page = format!("&page_token={token}"),
                None => break,
            }
        }
        Ok(chosen)
    }

    /// The export of a run: the content of the file, or from the server.
    fn export(&self, run: &str) -> anyhow::Result<Vec<u8>> {
        if Path::new(run).is_file() {
            return fs::read(run).with_context(|| format!("cannot read {run}"));
        }
        let mut export = Vec::new();
        let path = format!("/v1/runs/{}/export", escape(run));
        download(&self.server, &path)?.read_to_end(&mut export)?;
        Ok(export)
    }
}

fn print(report: &Backtest) -> std::io::Result<()> {
    let colours = Colours::for_stdout();
    let mut out = output::stdout();
    for difference in report.differences.iter().take(SHOWN) {
        let Difference {
            run_id,
            step,
            attempt,
            node,
            function,
            version,
            recorded,
            now,
        } = difference;
        let attempt = match attempt {
            1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        let place = format!("run {run_id}, step {step}{attempt}, node {node} ({function}, was {version})");
        writeln!(out, "{}", display::line(&place))?;
        writeln!(out, "  {} {}", colours.paint("31", "-"), clipped(recorded))?;
        writeln!(out, "  {} {}", colours.paint("32", "+"), clipped(now))?;
    }
    let more = report.differences.len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(out, "… and {more} more: --json prints all of them")?;
    }
    let granted = match report.granted {
        0 => String::new(),
        granted => format!("; {granted} were skipped, because they may have side effects"),
    };
    writeln!(
        out,
        "{} of {} calls in {} runs have a different outcome{granted}",
        report.differences.len(),
        report.attempts,
        report.runs
    )
}

fn clipped(outcome: &RawValue) -> String {
    let mut text = display::json(outcome.get()).into_owned();
    if text.len() > SHOWN_BYTES {
        text.truncate(text.floor_char_boundary(SHOWN_BYTES));
        text.push('…');
    }
    text
}
