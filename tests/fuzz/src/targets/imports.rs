//! Exports of runs, imported into an empty engine.
//!
//! An accepted export is stored unchanged: exporting the run again gives text that another engine imports, and whose
//! export has the same bytes. A refused export leaves neither a run nor a graph.

use std::sync::Arc;

use anyhow::Result;
use futures_util::TryStreamExt;
use heddle_host::{Host, HostSettings};
use heddle_kernel::RunId;
use heddle_runtime::{Engine, ports::RunFilter};
use tokio::runtime::Runtime;

use super::{Target, Verdict, served};
use crate::{
    mutate::{json, text},
    pool::Pool,
    random::Random,
};

/// The maximum size of an input in bytes.
const MAX_INPUT: usize = 256 << 10;

pub(crate) struct Imports {
    runtime: Runtime,
    host: Host,
}

impl Imports {
    pub(crate) fn new() -> Result<Self> {
        // No plugin is registered, so an imported run stays paused.
        let host = Host::new(HostSettings {
            calls_at_once: 1,
            ..HostSettings::default()
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { runtime, host })
    }
}

impl Target for Imports {
    fn mutate(&self, random: &mut Random, pool: &Pool) -> Vec<u8> {
        let (own, donor) = (pool.any(random).to_vec(), pool.any(random));
        let (own, donor) = (String::from_utf8_lossy(&own), String::from_utf8_lossy(donor));
        if random.one_in(20) {
            return text::mutate(random, &own, &donor, MAX_INPUT).into_bytes();
        }
        let mut lines: Vec<String> = own.lines().map(str::to_owned).collect();
        let donors: Vec<&str> = donor.lines().collect();
        for _ in 0..random.few() {
            change(random, &mut lines, &donors);
        }
        lines.join("\n").into_bytes()
    }

    fn run(&mut self, input: &[u8]) -> Verdict {
        self.runtime.block_on(import(&self.host, input))
    }
}

/// Mutates one line, or the order of the lines.
fn change(random: &mut Random, lines: &mut Vec<String>, donors: &[&str]) {
    let donor = match donors {
        [] => "",
        donors => random.of(donors),
    };
    if lines.is_empty() {
        lines.push(donor.to_owned());
        return;
    }
    let at = random.below(0..lines.len());
    match random.below(0..12) {
        0 => drop(lines.remove(at)),
        1 => {
            let other = random.below(0..lines.len());
            lines.swap(at, other);
        }
        2 => lines.insert(at, lines[at].clone()),
        3 => lines.insert(at, donor.to_owned()),
        4 => lines.truncate(at + 1),
        _ => lines[at] = json::mutate(random, &lines[at], donor, MAX_INPUT),
    }
}

async fn import(host: &Host, input: &[u8]) -> Verdict {
    let engine = served::engine(host, Arc::new(served::StoppedClock));
    let id = match engine.import(input.to_vec()).await {
        Ok(id) => id,
        Err(error) => {
            assert_eq!(stored_counts(&engine).await, (0, 0), "{error} leaves something");
            return Verdict::refused(error.to_string());
        }
    };
    let export = exported(&engine, id).await;
    let other = served::engine(host, Arc::new(served::StoppedClock));
    let again = other.import(export.clone()).await;
    assert_eq!(again.expect("what was imported and exported is an export"), id);
    let second = exported(&other, id).await;
    assert_eq!(String::from_utf8_lossy(&export), String::from_utf8_lossy(&second));
    let view = engine
        .run(id)
        .await
        .expect("it can be read")
        .expect("it is there");
    let text = format!("{view:?}");
    let other_view = other.run(id).await.expect("it can be read").expect("it is there");
    assert_eq!(text, format!("{other_view:?}"));
    Verdict::accepted(text)
}

/// The numbers of runs and graphs.
async fn stored_counts(engine: &Engine) -> (usize, usize) {
    let runs = engine
        .runs(RunFilter::default(), None, 10)
        .await
        .expect("memory answers");
    let graphs = engine.graphs(None, 10).await.expect("memory answers");
    (runs.len(), graphs.len())
}

async fn exported(engine: &Engine, id: RunId) -> Vec<u8> {
    let export = engine
        .export(id)
        .await
        .expect("it was kept")
        .expect("it is there");
    export.pieces().try_concat().await.expect("memory answers")
}
