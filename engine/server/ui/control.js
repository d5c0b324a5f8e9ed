// What can be done with the run: it is paused, resumed, retried, cancelled, forked and exported.

import { print } from "./json.js";
import { send } from "./server.js";

const BUTTONS = {
  pause: ["running", "waiting"], resume: ["paused"], retry: ["failed"], cancel: ["queued", "running", "waiting", "paused"],
};

const $ = (id) => document.getElementById(id);

/** The run that is watched, and the step that is to be forked from. */
let run = null;
let from = null;

/** Shows what can be done with a run. */
export function showSteering(watched) {
  if (run?.id !== watched.id) tell("steer-problem", null);
  run = watched;
  for (const [id, statuses] of Object.entries(BUTTONS)) $(id).hidden = !statuses.includes(run.status);
  $("export").hidden = run.status === null;
  $("export").href = `/v1/runs/${encodeURIComponent(run.id)}/export`;
}

/** Opens the form in which a run is forked from the step that is looked at. */
export function askToFork(past) {
  from = past;
  $("fork-place").textContent = past.step === 0 ? "at its beginning" : `right after step ${past.step}, ${past.run.over.get(past.step) ?? ""}`;
  $("edits").value = "{}";
  $("fork-keys").replaceChildren(...[...past.state.keys()].sort().map((key) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.textContent = key;
    chip.title = `Put ${key} in, with its value there`;
    chip.addEventListener("click", () => putIn(key));
    return chip;
  }));
  tell("fork-problem", null);
  $("forking").showModal();
  $("edits").focus();
}

/** Puts a key with its value into the edits: as text, so that numbers stay exact. */
function putIn(key) {
  const text = $("edits").value.trim();
  const there = read(text);
  if (there === null) { tell("fork-problem", "The edits are no JSON object."); return; }
  tell("fork-problem", null);
  if (key in there) { select(key); return; }
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

function read(text) {
  try {
    const value = JSON.parse(text || "{}");
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function tell(id, problem) {
  $(id).textContent = problem ?? "";
  $(id).hidden = !problem;
}

/** Has the buttons do what they say. `gone` is called when the run goes on, `go` to watch another one. */
export function begin(goesOn, go) {
  const path = (what) => `/v1/runs/${encodeURIComponent(run.id)}/${what}`;
  const now = async (button, what) => {
    button.disabled = true;
    const { problem } = await send(path(what));
    button.disabled = false;
    tell("steer-problem", problem);
    if (!problem) goesOn();
  };
  $("pause").addEventListener("click", () => now($("pause"), "pause"));
  $("resume").addEventListener("click", () => now($("resume"), "resume"));
  $("cancel").addEventListener("click", () => {
    tell("cancel-problem", null);
    $("reason").value = "";
    $("cancelling").showModal();
  });
  $("retry").addEventListener("click", () => {
    tell("retry-problem", null);
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
      tell(`${name}-problem`, problem);
      if (!problem) $(dialog).close();
    });
    $(dialog).querySelector("[data-close]").addEventListener("click", () => $(dialog).close());
  };
  form("cancelling", "cancel", async () => {
    const body = JSON.stringify({ reason: $("reason").value, grace: $("grace").value });
    const { problem } = await send(path("cancel"), body);
    if (!problem) goesOn();
    return problem;
  });
  form("retrying", "retry", async () => {
    if ($("newest").checked) {
      const { problem } = await send(path("upgrade"));
      if (problem) return problem;
    }
    const { problem } = await send(path("retry"));
    if (!problem) goesOn();
    return problem;
  });
  form("forking", "fork", async () => {
    const edits = $("edits").value.trim() || "{}";
    if (read(edits) === null) return "The edits are no JSON object.";
    // The text goes as it is written: exact numbers stay exact.
    const { answer, problem } = await send(`/v1/runs/${encodeURIComponent(from.run.id)}/fork`, `{"step": ${from.step}, "state": ${edits}}`);
    if (!problem) go(answer.run_id);
    return problem;
  });
}
