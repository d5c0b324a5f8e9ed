//! Example graphs of a page, with the initial and final states of their runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::shown::Ids;
use crate::Server;

/// The graphs, states and signals of a page's examples, and their expected results.
#[derive(Default)]
pub(super) struct Examples {
    /// For each example the id and the definition of its graph.
    graphs: BTreeMap<String, (String, Value)>,
    state: Option<Value>,
    signals: Vec<Value>,
    group: Option<Value>,
    /// The findings of the server in the last wrong graph.
    found: Option<Value>,
    ran: BTreeSet<String>,
}

impl Examples {
    /// Processes a block.
    pub(super) fn take(
        &mut self,
        server: &Server,
        what: &str,
        example: &str,
        value: Value,
    ) -> Result<(), String> {
        match what {
            "graph" => self.create(server, example, value),
            "state" => {
                self.state = Some(value);
                Ok(())
            }
            "signal" => {
                self.signals.push(value);
                Ok(())
            }
            "group" => {
                self.group = Some(value);
                Ok(())
            }
            "ends" => self.run(server, example, &value),
            "wrong" => {
                let refused = server.post("/v1/graphs", &value).problem(422);
                self.found = Some(refused["errors"].clone());
                Ok(())
            }
            "found" => self.compare_found(&value),
            other => Err(format!("an example has no `{other}`")),
        }
    }

    /// The definition of the graph of the example with this name.
    pub(super) fn definition(&self, example: &str) -> Result<Value, String> {
        let found = self.graphs.get(example);
        let (_, definition) =
            found.ok_or_else(|| format!("there is no graph of the example `{example}` before"))?;
        Ok(definition.clone())
    }

    fn create(&mut self, server: &Server, example: &str, definition: Value) -> Result<(), String> {
        let answer = server.post("/v1/graphs", &definition);
        if !(200..300).contains(&answer.status) {
            return Err(answer.text);
        }
        let created = answer.json();
        let id = created["graph_id"]
            .as_str()
            .ok_or("a graph has an id")?
            .to_owned();
        let before = self.graphs.insert(example.to_owned(), (id, definition));
        match before {
            Some(_) => Err(format!("there are two graphs of the example `{example}`")),
            None => Ok(()),
        }
    }

    /// Starts a run, sends its signals, and compares its end.
    fn run(&mut self, server: &Server, example: &str, expected: &Value) -> Result<(), String> {
        let state = self.state.take().unwrap_or_else(|| json!({}));
        let (graph, _) = self
            .graphs
            .get(example)
            .ok_or_else(|| format!("there is no graph of the example `{example}` before"))?;
        let started = server.post("/v1/runs", &json!({"graph": graph, "state": state}));
        if !(200..300).contains(&started.status) {
            return Err(started.text);
        }
        let started = started.json();
        let run = started["run_id"].as_str().ok_or("a run has an id")?;
        for signal in std::mem::take(&mut self.signals) {
            let sent = server.post(&format!("/v1/runs/{run}/signal"), &signal);
            if !(200..300).contains(&sent.status) {
                return Err(sent.text);
            }
        }
        server.wait(run);
        let ended = server.get(&format!("/v1/runs/{run}")).ok();
        for (key, value) in expected.as_object().ok_or("how a run ends is an object")? {
            let same = match value.as_object().filter(|_| key == "error") {
                // A page shows only a part of an error.
                Some(parts) => parts.iter().all(|(part, value)| &ended[key][part] == value),
                None => Ids::default().compare_json(value, &ended[key]).is_ok(),
            };
            if !same {
                let error = &ended["error"];
                return Err(format!("it ends with another {key}: {}, {error}", ended[key]));
            }
        }
        if let Some(group) = self.group.take()
            && ended["group"] != group["name"]
        {
            return Err(format!("it is in the group {}", ended["group"]));
        }
        self.ran.insert(example.to_owned());
        Ok(())
    }

    fn compare_found(&mut self, expected: &Value) -> Result<(), String> {
        let found = self.found.take().ok_or("there is no `wrong` graph before")?;
        let is_error = |found: &&Value| found["severity"] == "error";
        let found: Vec<&Value> = found.as_array().into_iter().flatten().filter(is_error).collect();
        let expected: Vec<&Value> = expected.as_array().into_iter().flatten().collect();
        let same = |(found, expected): (&&Value, &&Value)| {
            let mut parts = expected.as_object().into_iter().flatten();
            parts.all(|(key, value)| &found[key] == value)
        };
        if found.len() == expected.len() && found.iter().zip(&expected).all(same) {
            return Ok(());
        }
        Err(format!("the server finds {found:#?}"))
    }

    /// Checks that every graph was run, directly or by another graph.
    pub(super) fn all_ran(&self) -> Result<(), String> {
        for (example, (_, definition)) in &self.graphs {
            let name = &definition["name"];
            let of = |node: &Value| [node["graph"].clone(), node["map"]["graph"].clone()];
            let inner = self.graphs.values().any(|(_, outer)| {
                let mut nodes = outer["nodes"].as_object().into_iter().flatten();
                name.is_string() && nodes.any(|(_, node)| of(node).contains(name))
            });
            if !self.ran.contains(example) && !inner {
                return Err(format!(
                    "the graph of the example `{example}` is not run: `ends={example}` says how it ends"
                ));
            }
        }
        Ok(())
    }
}
