//! The tools: numbers described, a table checked, a table repaired.

use heddle_plugin::prelude::*;

use crate::repair::{self, Kind};
use crate::rules::{self, Anomaly, Rule};
use crate::stats::{self, Stats};
use crate::table::Table;

/// The input of `describe`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Numbers {
    /// The values, at least one.
    pub values: Vec<f64>,
}

/// Describes numbers: mean, quartiles, Tukey's fences, outliers.
#[tool(read_only, idempotent)]
fn describe(numbers: Numbers) -> Result<Stats> {
    stats::describe(numbers.values)
        .ok_or_else(|| Error::invalid_input("`values` is empty: give at least one number"))
}

/// The input of `check`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ToCheck {
    /// A CSV with a header.
    pub csv: String,
    /// The rules that the table is checked against.
    pub rules: Vec<Rule>,
}

/// The result of `check`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// The broken rules, in the order of the rules.
    pub anomalies: Vec<Anomaly>,
    /// The number of checked rows.
    pub rows: usize,
}

/// Counts what breaks each rule in a CSV.
#[tool(read_only, idempotent)]
fn check(input: ToCheck) -> Result<Checked> {
    let table = Table::read(&input.csv)?;
    Ok(Checked {
        anomalies: rules::check(&table, &input.rules),
        rows: table.rows.len(),
    })
}

/// The input of `repair`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct ToRepair {
    /// A CSV with a header.
    pub csv: String,
    /// The rules that the table is checked against.
    pub rules: Vec<Rule>,
    /// The kind of anomaly that is repaired.
    pub kind: Kind,
}

/// The result of `repair`.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Repaired {
    /// The table as CSV, with its header.
    pub csv: String,
    /// How many rows were dropped or cells changed.
    pub changed: usize,
}

/// Repairs one kind of anomaly in a CSV.
#[tool(name = "repair", read_only, idempotent)]
fn repaired(input: ToRepair) -> Result<Repaired> {
    let mut table = Table::read(&input.csv)?;
    let changed = repair::repair(&mut table, input.kind, &input.rules);
    Ok(Repaired {
        csv: table.write()?,
        changed,
    })
}
