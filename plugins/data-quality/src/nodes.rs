//! The steps of the graph, from the CSV in the state to the report.

use heddle_plugin::prelude::*;

use crate::cell::number;
use crate::profile::{self, Profile};
use crate::repair::{self, Kind};
use crate::rules::{self, Anomaly, Check, Rule};
use crate::stats::Stats;
use crate::table::Table;
use crate::tools::{Checked, Numbers, Repaired, ToCheck, ToRepair};

#[derive(Deserialize, JsonSchema)]
struct Data {
    /// A CSV with a header.
    csv: String,
}

#[derive(Serialize, JsonSchema)]
struct Profiled {
    /// The profile of the data before any repair.
    profile: Profile,
    /// The repairs so far; none at first.
    repairs: Vec<Made>,
}

/// Profiles every column: type, missing and distinct values, distribution, outliers; and duplicate rows.
#[node(read_only, idempotent)]
fn profile_data(state: Data) -> Result<Profiled> {
    let table = Table::read(&state.csv)?;
    let mut profile = profile::profile(&table);
    for (place, column) in profile.columns.iter_mut().enumerate() {
        if column.ty.is_numeric() {
            let values = table.rows.iter().filter_map(|row| number(&row[place])).collect();
            column.stats = Some(call_tool::<_, Stats>(
                "data-quality/describe",
                &Numbers { values },
            )?);
        }
    }
    log::info!(
        "{} rows, {} columns, {} duplicate rows",
        profile.rows,
        profile.columns.len(),
        profile.duplicate_rows
    );
    Ok(Profiled {
        profile,
        repairs: Vec::new(),
    })
}

#[derive(Deserialize, JsonSchema)]
struct FromProfile {
    profile: Profile,
}

#[derive(Serialize, JsonSchema)]
struct Derived {
    /// What the data has to keep.
    rules: Vec<Rule>,
}

/// Derives from the profile what the data has to keep: types, values, ranges, allowed values.
#[node(read_only, idempotent)]
fn derive_rules(state: FromProfile) -> Derived {
    let rules = rules::derive(&state.profile);
    log::info!("{} rules", rules.len());
    Derived { rules }
}

#[derive(Deserialize, JsonSchema)]
struct ToApply {
    csv: String,
    rules: Vec<Rule>,
    /// Set by the first time that the rules are applied.
    #[serde(default)]
    found: Option<Vec<Anomaly>>,
}

#[derive(Serialize, JsonSchema)]
struct Applied {
    /// What breaks the rules.
    anomalies: Vec<Anomaly>,
    /// How many cells and rows break a rule.
    anomaly_count: usize,
    /// How many rows there are.
    rows: usize,
    /// What broke the rules before any repair; only the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<Vec<Anomaly>>,
}

/// Applies the rules and counts what breaks each of them.
#[node(read_only, idempotent)]
fn apply_rules(state: ToApply) -> Result<Applied> {
    let ToApply { csv, rules, found } = state;
    let Checked { anomalies, rows } = call_tool("data-quality/check", &ToCheck { csv, rules })?;
    let anomaly_count = total(&anomalies);
    log::info!("{anomaly_count} anomalies in {rows} rows");
    let found = found.is_none().then(|| anomalies.clone());
    Ok(Applied {
        anomalies,
        anomaly_count,
        rows,
        found,
    })
}

fn total(anomalies: &[Anomaly]) -> usize {
    anomalies.iter().map(|anomaly| anomaly.count).sum()
}

/// A repair that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
struct Made {
    /// What was repaired.
    kind: Kind,
    /// How many rows were dropped or cells changed.
    changed: usize,
}

#[derive(Deserialize, JsonSchema)]
struct ToJudge {
    anomalies: Vec<Anomaly>,
    rules: Vec<Rule>,
    repairs: Vec<Made>,
    /// How many anomalies may be left.
    #[serde(default)]
    threshold: usize,
}

#[derive(Serialize, JsonSchema)]
struct Judged {
    /// What to repair next; `null` when it is over.
    repair_next: Option<Kind>,
}

/// Decides whether to repair more: not if few enough anomalies are left, or repairing has no effect.
#[node(read_only, idempotent, routes("repair_data", "report_quality"))]
fn judge_quality(state: ToJudge) -> Outcome<Judged> {
    let enough = total(&state.anomalies) <= state.threshold;
    let last = state.repairs.last().map(|repair| repair.kind);
    // A repair leaves nothing of its kind: if it is due again at once, it would be so for ever.
    let next = repair::next(&state.anomalies, &state.rules).filter(|next| !enough && last != Some(*next));
    let to = if next.is_some() {
        "repair_data"
    } else {
        "report_quality"
    };
    Outcome::of(Judged { repair_next: next }).goto(to)
}

#[derive(Deserialize, JsonSchema)]
struct ToMend {
    csv: String,
    rules: Vec<Rule>,
    repairs: Vec<Made>,
    repair_next: Kind,
}

#[derive(Serialize, JsonSchema)]
struct Mended {
    /// The CSV with one kind of anomaly repaired.
    csv: String,
    /// The repairs that were made so far.
    repairs: Vec<Made>,
}

/// Repairs one kind of anomaly: duplicates, then misfits, then gaps, then outliers.
#[node(read_only, idempotent)]
fn repair_data(state: ToMend) -> Result<Mended> {
    let ToMend {
        csv,
        rules,
        mut repairs,
        repair_next: kind,
    } = state;
    let Repaired { csv, changed } = call_tool("data-quality/repair", &ToRepair { csv, rules, kind })?;
    log::info!("{kind:?}: {changed} changes");
    repairs.push(Made { kind, changed });
    Ok(Mended { csv, repairs })
}

#[derive(Deserialize, JsonSchema)]
struct ToReport {
    profile: Profile,
    rules: Vec<Rule>,
    found: Vec<Anomaly>,
    anomalies: Vec<Anomaly>,
    repairs: Vec<Made>,
    rows: usize,
    #[serde(default)]
    threshold: usize,
}

#[derive(Serialize, JsonSchema)]
struct Report {
    /// What was found and what was done about it, as Markdown.
    report: String,
    /// How many anomalies there were before any repair.
    anomalies_before: usize,
    /// How many are left.
    anomalies_after: usize,
}

/// Writes what was found and what was done about it, as Markdown.
#[node(read_only, idempotent)]
fn report_quality(state: ToReport) -> Report {
    let ToReport {
        profile,
        rules,
        found,
        anomalies,
        repairs,
        rows,
        threshold,
    } = state;
    let (before, after) = (total(&found), total(&anomalies));
    let verdict = if after <= threshold { "met" } else { "not met" };
    let mut lines = vec![
        "# Data quality".to_string(),
        String::new(),
        format!(
            "{} rows came, {rows} are left. {before} anomalies were found by {} rules;",
            profile.rows,
            rules.len()
        ),
        format!("{after} are left, so the threshold of {threshold} is {verdict}."),
        String::new(),
        "## Found".to_string(),
        String::new(),
    ];
    for Anomaly { rule, count, rows } in &found {
        let place: Vec<_> = rows.iter().map(ToString::to_string).collect();
        let check = rules
            .iter()
            .find(|known| known.id == *rule)
            .map(|known| description(&known.check));
        lines.push(format!(
            "- {rule}: {count} ({}), as in row {}",
            check.unwrap_or_default(),
            place.join(", ")
        ));
    }
    lines.extend([String::new(), "## Repaired".to_string(), String::new()]);
    for Made { kind, changed } in &repairs {
        let done = match kind {
            Kind::Duplicates => "duplicate rows dropped",
            Kind::Misfits => "misfits matched to an allowed value or emptied",
            Kind::Gaps => "gaps filled with the median or the most frequent value",
            Kind::Outliers => "outliers set to the fence",
        };
        lines.push(format!("- {changed} {done}"));
    }
    lines.push(String::new());
    Report {
        report: lines.join("\n"),
        anomalies_before: before,
        anomalies_after: after,
    }
}

fn description(check: &Check) -> String {
    match check {
        Check::UniqueRows => "a row repeats an earlier one".into(),
        Check::NotNull { .. } => "no value".into(),
        Check::HasType { expected } => format!("not of type {expected:?}").to_lowercase(),
        Check::InRange { fences, .. } => {
            format!("beyond Tukey's fences {} and {}", fences.lower, fences.upper)
        }
        Check::OneOf { .. } => "not one of the usual values".into(),
    }
}
