// The state of the run: the current one, or the one after a step, with the changes of that step.

import { brief, print, show } from "./json.js";
import { moment, since } from "./rows.js";
import { get } from "./server.js";

const SIGNS = { add: "+", replace: "~", remove: "−" };

const $ = (id) => document.getElementById(id);

/** The selected step with the state after it; null while the current state is shown. */
let past = null;
/** Called to show the current state. */
let onCurrent = () => {};

/** Returns the selected step. */
export const selectedStep = () => past;

/** Shows the current state, unless a step is selected. */
export function showState(run) {
  if (past) return;
  const keys = [...run.state.keys()].sort();
  const count = `${keys.length} ${keys.length === 1 ? "key" : "keys"}`;
  $("state-note").textContent = run.status === null ? "" : `${run.ended ? "final" : "so far"}, ${count}`;
  list(keys, (key) => ({ value: run.state.get(key) }), run.ended ? null : run.changed);
  run.changed.clear();
}

/** Selects a step: shows the state after it and its changes. */
export async function showStep(run, step) {
  const path = `/v1/runs/${encodeURIComponent(run.id)}`;
  const order = [...run.over.keys()];
  const position = order.indexOf(step);
  const before = order[position - 1] ?? 0;
  const wanted = { run, step };
  past = wanted;
  showPast();
  $("past-step").textContent = step === 0 ? "Initial state" : `After step ${step}`;
  $("past-note").textContent = run.over.get(step) ?? "";
  $("step-before").disabled = step === 0;
  $("step-after").disabled = position === order.length - 1;
  const [body, diff] = await Promise.all([
    get(`${path}/steps/${step}`), step === 0 ? { changes: [] } : get(`${path}/diff?from=${before}&to=${step}`),
  ]);
  if (past !== wanted) return;
  if (!body || !diff) {
    $("state-note").textContent = "not available";
    return;
  }
  wanted.state = new Map(Object.entries(body.state));
  wanted.changes = new Map(diff.changes.map((change) => [change.key, change]));
  const note = [run.over.get(step) ?? body.node, body.status === "failed" ? "failed" : "", since(Date.parse(body.finished_at) - run.started)];
  $("past-note").textContent = note.filter(Boolean).join(" · ");
  $("past-note").title = moment(Date.parse(body.finished_at));
  const many = wanted.changes.size;
  $("state-note").textContent = step === 0 ? `${wanted.state.size} keys` : many === 0 ? "nothing changed" : many === 1 ? "1 key changed" : `${many} keys changed`;
  const keys = [...new Set([...wanted.state.keys(), ...wanted.changes.keys()])].sort();
  list(keys, (key) => ({ value: wanted.state.get(key), change: wanted.changes.get(key) }), null);
  document.querySelector("#state .add, #state .replace, #state .remove")?.scrollIntoView({ block: "nearest" });
}

/** Deselects the step and shows the current state. */
export function showCurrent() {
  if (!past) return;
  past = null;
  showPast();
  $("state").replaceChildren();
  onCurrent();
}

function showPast() {
  $("past").hidden = past === null;
  // On narrow screens, the button of the state's pane is marked.
  document.querySelector('[data-show="state"]').classList.toggle("past", past !== null);
}

/** Returns the shown state as text. */
export function shownState(run) {
  const state = past?.state ?? run.state;
  return print(Object.fromEntries([...state].sort(([a], [b]) => (a < b ? -1 : 1))), "  ");
}

/** Connects the buttons. `current` is called to show the current state, `fork` to fork from the selected step. */
export function begin(current, fork) {
  onCurrent = current;
  $("now").addEventListener("click", showCurrent);
  $("step-before").addEventListener("click", () => go(-1));
  $("step-after").addEventListener("click", () => go(1));
  $("fork").addEventListener("click", () => { if (past?.state) fork(past); });
}

function go(by) {
  const order = [0, ...past.run.over.keys()];
  const to = order[order.indexOf(past.step) + by];
  if (to !== undefined) showStep(past.run, to);
}

/** Shows keys with their values and changes. Existing elements are reused, so that open ones stay open. */
function list(keys, of, moved) {
  const place = $("state");
  const there = new Map([...place.children].map((element) => [element.key, element]));
  const wanted = new Set(keys);
  for (const [key, element] of there) if (!wanted.has(key)) element.remove();
  keys.forEach((key, position) => {
    const element = there.get(key) ?? make(key);
    if (place.children[position] !== element) place.insertBefore(element, place.children[position] ?? null);
    const { value, change } = of(key);
    if (element.shown && element.value === value && element.change === change) return;
    Object.assign(element, { value, change, shown: true });
    element.className = change?.op ?? "";
    element.firstChild.dataset.sign = SIGNS[change?.op] ?? "";
    element.querySelector("span").textContent = change?.op === "replace" && change.before !== undefined
      ? `${brief(change.before, 40)} → ${brief(change.after, 40)}` : change?.op === "remove" ? brief(change.before) : brief(value);
    if (element.open) open(element);
    if (moved?.has(key)) {
      element.classList.remove("changed");
      void element.offsetWidth; // restarts the animation
      element.classList.add("changed");
    }
  });
}

function make(key) {
  const element = document.createElement("details");
  element.key = key;
  const summary = element.appendChild(document.createElement("summary"));
  summary.append(document.createElement("b"), document.createElement("span"));
  summary.firstChild.textContent = key;
  summary.firstChild.title = key;
  element.addEventListener("toggle", () => open(element));
  return element;
}

function open(element) {
  for (const part of element.querySelectorAll(".json, .label")) part.remove();
  if (!element.open) return;
  const { value, change } = element;
  const part = (label, what) => {
    const title = element.appendChild(document.createElement("p"));
    title.className = "label";
    title.textContent = label;
    element.append(show(what));
  };
  if (change?.op === "replace") { part("before", change.before); part("after", change.after); }
  else if (change?.op === "remove") part("before", change.before);
  else element.append(show(value));
}
