// The state of the run: as it is now, or as it was right after a step, with what that step changed.

import { brief, print, show } from "./json.js";
import { moment, since } from "./rows.js";
import { get } from "./server.js";

const SIGNS = { add: "+", replace: "~", remove: "−" };

const $ = (id) => document.getElementById(id);

/** The step that is looked at, with the state after it; null where the state is shown as it is now. */
let past = null;
/** What is called to show the state as it is now. */
let showsNow = () => {};

/** The step that is looked at. */
export const lookedAt = () => past;

/** Shows a state as it is now, unless a step is looked at. */
export function showState(run) {
  if (past) return;
  const keys = [...run.state.keys()].sort();
  const count = `${keys.length} ${keys.length === 1 ? "key" : "keys"}`;
  $("state-note").textContent = run.status === null ? "" : `${run.ended ? "final" : "so far"}, ${count}`;
  list(keys, (key) => ({ value: run.state.get(key) }), run.ended ? null : run.changed);
  run.changed.clear();
}

/** Shows the state as it was right after a step, and what the step changed. */
export async function lookAt(run, step) {
  const path = `/v1/runs/${encodeURIComponent(run.id)}`;
  const order = [...run.over.keys()];
  const position = order.indexOf(step);
  const before = order[position - 1] ?? 0;
  const wanted = { run, step };
  past = wanted;
  showPast();
  $("past-step").textContent = step === 0 ? "At the beginning" : `After step ${step}`;
  $("past-note").textContent = run.over.get(step) ?? "";
  $("step-before").disabled = step === 0;
  $("step-after").disabled = position === order.length - 1;
  const [told, diff] = await Promise.all([
    get(`${path}/steps/${step}`), step === 0 ? { changes: [] } : get(`${path}/diff?from=${before}&to=${step}`),
  ]);
  if (past !== wanted) return;
  if (!told || !diff) {
    $("state-note").textContent = "the server does not know it";
    return;
  }
  wanted.state = new Map(Object.entries(told.state));
  wanted.changes = new Map(diff.changes.map((change) => [change.key, change]));
  const note = [run.over.get(step) ?? told.node, told.status === "failed" ? "failed" : "", since(Date.parse(told.finished_at) - run.started)];
  $("past-note").textContent = note.filter(Boolean).join(" · ");
  $("past-note").title = moment(Date.parse(told.finished_at));
  const many = wanted.changes.size;
  $("state-note").textContent = step === 0 ? `${wanted.state.size} keys` : many === 0 ? "nothing changed" : many === 1 ? "1 key changed" : `${many} keys changed`;
  const keys = [...new Set([...wanted.state.keys(), ...wanted.changes.keys()])].sort();
  list(keys, (key) => ({ value: wanted.state.get(key), change: wanted.changes.get(key) }), null);
  document.querySelector("#state .add, #state .replace, #state .remove")?.scrollIntoView({ block: "nearest" });
}

/** Shows the state as it is now again. */
export function comeBack() {
  if (!past) return;
  past = null;
  showPast();
  $("state").replaceChildren();
  showsNow();
}

function showPast() {
  $("past").hidden = past === null;
  // Where the state is on a pane of its own, that one is marked.
  document.querySelector('[data-show="state"]').classList.toggle("past", past !== null);
}

/** The state that is shown, as text. */
export function shownState(run) {
  const state = past?.state ?? run.state;
  return print(Object.fromEntries([...state].sort(([a], [b]) => (a < b ? -1 : 1))), "  ");
}

/** Has the buttons do what they say. */
export function begin(now, fork) {
  showsNow = now;
  $("now").addEventListener("click", comeBack);
  $("step-before").addEventListener("click", () => go(-1));
  $("step-after").addEventListener("click", () => go(1));
  $("fork").addEventListener("click", () => { if (past?.state) fork(past); });
}

function go(by) {
  const order = [0, ...past.run.over.keys()];
  const to = order[order.indexOf(past.step) + by];
  if (to !== undefined) lookAt(past.run, to);
}

/** Shows keys, each with its value and what became of it. What is there already is kept, and open where it was. */
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
      void element.offsetWidth; // lets the animation begin again
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
