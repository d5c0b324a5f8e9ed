//! The one-line messages of events.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use heddle_display as display;
use heddle_kernel::{Event, Next, event::FailureAction};
use serde::de::IgnoredAny;

use crate::view::moment::Moment;

/// The longest part of a reason in a message, in bytes.
const MAX_REASON_LEN: usize = 300;

/// Returns the message of an event.
pub(super) fn of(event: &Event) -> Arc<str> {
    match event {
        Event::RunStarted { graph, .. } => format!("run started on graph {graph}").into(),
        Event::RunForked { from, step: 0, .. } => {
            format!("run forked from the beginning of run {from}").into()
        }
        Event::RunForked { from, step, .. } => format!("run forked from run {from} after step {step}").into(),
        Event::RunPaused { reason } => format!("run paused{}", because(reason)).into(),
        Event::RunResumed => "run resumed".into(),
        Event::RunRetried => "run retried from where it failed".into(),
        Event::RunUpgraded { graph, .. } => format!("run upgraded to graph {graph}").into(),
        Event::CancelRequested { reason, until } => format!(
            "cancel requested, active calls can finish until {}{}",
            Moment(*until),
            because(reason)
        )
        .into(),
        Event::StepStarted { .. } => started(event).into(),
        Event::GraphStarted { step, graph, .. } => format!("graph {graph} started at step {step}").into(),
        Event::MapStarted { step, items } => match count(items.get()) {
            1 => format!("map over 1 item started at step {step}").into(),
            n => format!("map over {n} items started at step {step}").into(),
        },
        Event::Log { message, .. } => message.clone(),
        Event::StepFinished {
            node, next, signal, ..
        } => {
            let by = if signal.is_some() { " by signal" } else { "" };
            format!("{node} finished{by}, next {}", targets(next)).into()
        }
        Event::ItemFinished {
            node, item, result, ..
        } => match result {
            Some(_) => format!("{node} finished item {}", item.index).into(),
            None => format!("{node} skipped failed item {}", item.index).into(),
        },
        Event::StepFailed {
            node, failure, then, ..
        } => {
            let action = match then {
                FailureAction::Raise => String::new(),
                FailureAction::Retry(at) => format!("; next attempt at {}", Moment(*at)),
                FailureAction::Goto(node) => format!("; next {node}"),
                FailureAction::Item => "; the map continues without the item".to_owned(),
            };
            format!(
                "{node} failed ({}): {}{action}",
                failure.kind.as_str(),
                failure.message
            )
            .into()
        }
        Event::SignalReceived { name, wait, .. } => match wait {
            Some(wait) => format!("signal {name} received for wait {wait}").into(),
            None => format!("signal {name} received").into(),
        },
        Event::UndoStarted { error, reason } => match (error, reason) {
            (Some(error), _) => format!(
                "compensations started because {} failed ({}): {}",
                error.node,
                error.kind.as_str(),
                error.message
            )
            .into(),
            (None, reason) => {
                let why = reason.as_deref().map(because).unwrap_or_default();
                format!("compensations started because the run was cancelled{why}").into()
            }
        },
        Event::RunFinished => "run finished".into(),
        Event::RunFailed { error } => format!(
            "run failed at {} ({}): {}",
            error.node,
            error.kind.as_str(),
            error.message
        )
        .into(),
        Event::RunCancelled { reason, problems } => {
            let failed = match problems.len() {
                0 => String::new(),
                1 => "; 1 compensation failed".to_owned(),
                n => format!("; {n} compensations failed"),
            };
            format!("run cancelled{}{failed}", because(reason)).into()
        }
    }
}

fn started(event: &Event) -> String {
    let Event::StepStarted {
        node,
        attempt,
        joined,
        item,
        until,
        undoes,
        ..
    } = event
    else {
        return String::new();
    };
    let mut line = format!("{node} started");
    if *attempt > 1 {
        line += &format!(", attempt {attempt}");
    }
    if let Some(item) = item {
        line += &format!(", item {}", item.index);
    }
    if let Some(compensated) = undoes {
        line += &format!(", compensates step {compensated}");
    }
    if !joined.is_empty() {
        line += &format!(", joins {} branches", joined.len() + 1);
    }
    if let Some(until) = until {
        line += &format!(", waits until {} at the latest", Moment(*until));
    }
    line
}

fn targets(next: &Next) -> Cow<'_, str> {
    match next {
        Next::Node(node) => Cow::Borrowed(node),
        Next::End => Cow::Borrowed(heddle_kernel::graph::END),
        Next::Fork(arms) => {
            let names: Vec<&str> = arms.iter().map(|arm| &*arm.to).collect();
            Cow::Owned(names.join(" and "))
        }
    }
}

fn because(reason: &str) -> String {
    let line = display::line(reason.trim());
    match line.floor_char_boundary(MAX_REASON_LEN) {
        0 => String::new(),
        end if end < line.len() => format!(": {}…", &line[..end]),
        _ => format!(": {line}"),
    }
}

/// Returns the number of items in a list or an object.
fn count(items: &str) -> usize {
    match serde_json::from_str::<Vec<IgnoredAny>>(items) {
        Ok(list) => list.len(),
        Err(_) => {
            serde_json::from_str::<BTreeMap<Cow<'_, str>, IgnoredAny>>(items).map_or(0, |map| map.len())
        }
    }
}
