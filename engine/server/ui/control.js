// The control of the run: pause, resume, retry, cancel, fork and export.

import { print } from "./json.js";
import { send } from "./server.js";

const BUTTONS = {
  pause: ["running", "waiting"], resume: ["paused"], retry: ["failed"], cancel: ["queued", "running", "waiting", "paused"],
};

const $ = (id) => document.getElementById(id);

/** The open run, and the step from which to fork. */
let run = null;
let from = null;

/** Shows the buttons that the status of a run allows. */
export function showControl(watched) {
  if (run?.id !== watched.id) showProblem("control-problem", null);
  run = watched;
  for (const [id, statuses] of Object.entries(BUTTONS)) $(id).hidden = !statuses.includes(run.status);
  $("export").hidden = run.status === null;
  $("export").href = `/v1/runs/${encodeURIComponent(run.id)}/export`;
}

/** Opens the form to fork the run from the selected step. */
export function askToFork(past) {
  from = past;
  $("fork-place").textContent = past.step === 0 ? "at the start of this run" : `after step ${past.step}, ${past.run.over.get(past.step) ?? ""}`;
  $("edits").value = "{}";
  $("fork-keys").replaceChildren(...[...past.state.keys()].sort().map((key) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.textContent = key;
    chip.title = `Insert ${key} with its value after the step`;
    chip.addEventListener("click", () => insertKey(key));
    return chip;
  }));
  showProblem("fork-problem", null);
  $("forking").showModal();
  $("edits").focus();
}

/** Inserts a key with its value into the overrides, as text, so that numbers stay exact. */
function insertKey(key) {
  const text = $("edits").value.trim();
  const overrides = parseObject(text);
  if (overrides === null) { showProblem("fork-problem", "The overrides are not a JSON object."); return; }
  showProblem("fork-problem", null);
  if (key in overrides) { select(key); return; }
  const inside = text.slice(text.indexOf("{") + 1, text.lastIndexOf("}")).trim();
  const value = print(from.state.get(key), "  ").replaceAll("\n", "\n  ");
  const all = [...(inside ? [inside] : []), `${JSON.stringify(key)}: ${value}`];
  $("edits").value = `{\n  ${all.join(",\n  ")}\n}`;
  select(key);
}

function select(key) {
  const name = `${JSON.stringify(key)}: `;
  const at = $("edits").value.lastIndexOf(name);
  $("edits").focus();
  if (at >= 0) $("edits").setSelectionRange(at + name.length, $("edits").value.length - 2);
}

function parseObject(text) {
  try {
    const value = JSON.parse(text || "{}");
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function showProblem(id, problem) {
  $(id).textContent = problem ?? "";
  $(id).hidden = !problem;
}

/** Connects the buttons. `accepted` is called after a request was accepted, `go` to open another run. */
export function begin(accepted, go) {
  const path = (what) => `/v1/runs/${encodeURIComponent(run.id)}/${what}`;
  const now = async (button, what) => {
    button.disabled = true;
    const { problem } = await send(path(what));
    button.disabled = false;
    showProblem("control-problem", problem);
    if (!problem) accepted();
  };
  $("pause").addEventListener("click", () => now($("pause"), "pause"));
  $("resume").addEventListener("click", () => now($("resume"), "resume"));
  $("cancel").addEventListener("click", () => {
    showProblem("cancel-problem", null);
    $("reason").value = "";
    $("cancelling").showModal();
  });
  $("retry").addEventListener("click", () => {
    showProblem("retry-problem", null);
    $("newest").checked = false;
    $("retrying").showModal();
  });
  const form = (dialog, name, act) => {
    $(`${name}-form`).addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = event.submitter;
      if (button) button.disabled = true;
      const problem = await act();
      if (button) button.disabled = false;
      showProblem(`${name}-problem`, problem);
      if (!problem) $(dialog).close();
    });
    $(dialog).querySelector("[data-close]").addEventListener("click", () => $(dialog).close());
  };
  form("cancelling", "cancel", async () => {
    const body = JSON.stringify({ reason: $("reason").value, grace: $("grace").value });
    const { problem } = await send(path("cancel"), body);
    if (!problem) accepted();
    return problem;
  });
  form("retrying", "retry", async () => {
    if ($("newest").checked) {
      const { problem } = await send(path("upgrade"));
      if (problem) return problem;
    }
    const { problem } = await send(path("retry"));
    if (!problem) accepted();
    return problem;
  });
  form("forking", "fork", async () => {
    const edits = $("edits").value.trim() || "{}";
    if (parseObject(edits) === null) return "The overrides are not a JSON object.";
    // The text is sent unchanged, so that numbers stay exact.
    const { answer, problem } = await send(`/v1/runs/${encodeURIComponent(from.run.id)}/fork`, `{"step": ${from.step}, "state": ${edits}}`);
    if (!problem) go(answer.run_id);
    return problem;
  });
}
