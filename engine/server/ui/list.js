// The left column: recent runs and schedules.

import { moment } from "./rows.js";
import { get, send } from "./server.js";

const INTERVAL = 4000; // ms between refreshes

const $ = (id) => document.getElementById(id);

/** Names and definitions of graphs, by id. */
export const graphs = new Map();

let callbacks = { current: () => null, go: () => {}, seen: () => {} };
let listing = false;

/** Starts the refreshes. `seen` is called with each listed run. */
export function begin(handlers) {
  callbacks = handlers;
  setInterval(() => { if (!document.hidden) listAll(); }, INTERVAL);
  listAll();
}

export function listAll() {
  listRuns();
  listSchedules();
}

export async function listRuns() {
  if (listing) return;
  listing = true;
  const found = await get("/v1/runs?page_size=50");
  for (const one of found?.runs ?? []) {
    if (!graphs.has(one.graph_id)) graphs.set(one.graph_id, { name: one.graph_name, nodes: null });
  }
  listing = false;
  const note = $("run-list-note");
  note.hidden = found?.runs.length > 0;
  note.textContent = found ? "No runs yet." : "The server does not respond.";
  if (!found) return;
  const list = $("run-list");
  while (list.children.length > found.runs.length) list.lastChild.remove();
  found.runs.forEach((one, position) => {
    showRun((list.children[position] ?? makeRun(list)).firstChild, one);
    callbacks.seen(one);
  });
  markCurrent();
}

function makeRun(list) {
  const link = document.createElement("a");
  for (const kind of ["dot", "name", "when", "short"]) link.appendChild(document.createElement("span")).className = kind;
  link.addEventListener("click", follow);
  const item = list.appendChild(document.createElement("li"));
  item.append(link);
  return item;
}

/** Opens the run of a link without reloading the page. */
function follow(event) {
  const { run } = event.currentTarget.dataset;
  if (!run || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  callbacks.go(run);
}

function showRun(link, one) {
  const [dot, name, when, short] = link.children;
  link.href = `/?run=${one.run_id}`;
  link.dataset.run = one.run_id;
  const origin = originOf(one.origin);
  const failure = one.error ? `failed at ${one.error.node}` : "";
  link.title = [
    `${one.status}, started ${moment(Date.parse(one.started_at))}${origin ? `: ${origin}` : ""}`,
    one.error ? `${one.error.node}: ${one.error.message}` : "",
  ].filter(Boolean).join("\n");
  dot.className = `dot ${one.status}`;
  name.textContent = one.graph_name ?? one.graph_id.slice(0, 12);
  when.textContent = ago(Date.now() - Date.parse(one.started_at));
  short.textContent = [failure, origin, one.run_id].filter(Boolean).join(" · ");
  link.setAttribute("aria-label", [name.textContent, failure || one.status, when.textContent].join(", "));
}

/** Returns a short name for what started a run. */
function originOf(origin) {
  if (!origin) return "";
  const [kind, name] = origin.split(/:(.*)/s);
  return { fork: "fork", import: "imported", schedule: name }[kind] ?? origin;
}

function ago(ms) {
  const s = ms / 1000;
  if (s < 5) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

export function markCurrent() {
  for (const link of document.querySelectorAll("#run-list a")) {
    if (link.dataset.run === callbacks.current()) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// ------------------------------------------------------------------------------ schedules

async function listSchedules() {
  const found = await get("/v1/schedules");
  const all = found?.schedules ?? [];
  $("schedules").hidden = all.length === 0;
  const list = $("schedule-list");
  while (list.children.length > all.length) list.lastChild.remove();
  all.forEach((one, position) => showSchedule(list.children[position] ?? makeSchedule(list), one));
}

function makeSchedule(list) {
  const item = list.appendChild(document.createElement("li"));
  const name = item.appendChild(document.createElement("a"));
  name.className = "name";
  name.addEventListener("click", follow);
  item.appendChild(document.createElement("span")).className = "when";
  const button = item.appendChild(document.createElement("button"));
  button.type = "button";
  button.className = "quiet";
  button.addEventListener("click", async () => {
    button.disabled = true;
    const { problem } = await send(`/v1/schedules/${encodeURIComponent(item.dataset.name)}/${button.dataset.what}`);
    button.disabled = false;
    $("schedule-problem").textContent = problem ?? "";
    $("schedule-problem").hidden = !problem;
    listSchedules();
  });
  return item;
}

function showSchedule(item, one) {
  const [name, when, button] = item.children;
  item.dataset.name = one.name;
  item.classList.toggle("paused", one.paused);
  name.textContent = one.name;
  if (one.last_run) { name.href = `/?run=${one.last_run}`; name.dataset.run = one.last_run; }
  const rule = one.when.cron ?? (one.when.every ? `every ${one.when.every}` : "once");
  name.title = [`${one.graph}, ${rule}`, one.when.time_zone, one.last_run ? "open its last run" : ""].filter(Boolean).join(", ");
  const next = Date.parse(one.next_at);
  when.textContent = one.paused ? "paused" : one.last_error ? "failed" : Number.isFinite(next) ? until(next - Date.now()) : "ended";
  when.classList.toggle("bad", !one.paused && Boolean(one.last_error));
  when.title = [one.last_error?.message, Number.isFinite(next) ? moment(next) : ""].filter(Boolean).join("; next ");
  button.dataset.what = one.paused ? "resume" : "pause";
  button.textContent = one.paused ? "Resume" : "Pause";
  button.setAttribute("aria-label", `${button.textContent} ${one.name}`);
}

function until(ms) {
  return ms < 5000 ? "due" : `in ${ago(ms)}`;
}
