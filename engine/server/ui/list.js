// The column on the left: recent runs, and the schedules that start some of them.

import { moment } from "./rows.js";
import { get, send } from "./server.js";

const EVERY = 4000; // ms between looks

const $ = (id) => document.getElementById(id);

/** Names and definitions of graphs, by id. */
export const graphs = new Map();

let shown = { current: () => null, go: () => {}, seen: () => {} };
let listing = false;

/** Begins to list. `seen` is told of each run that is listed. */
export function begin(what) {
  shown = what;
  setInterval(() => { if (!document.hidden) listAll(); }, EVERY);
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
  if (found && found.runs.some((one) => !graphs.has(one.graph_id))) {
    const page = await get("/v1/graphs?page_size=500");
    for (const graph of page?.graphs ?? []) {
      if (!graphs.has(graph.graph_id)) graphs.set(graph.graph_id, { name: graph.name, nodes: null });
    }
    // A graph that is on no page yet is not asked for again and again.
    for (const one of found.runs) if (!graphs.has(one.graph_id)) graphs.set(one.graph_id, { name: null, nodes: null });
  }
  listing = false;
  const note = $("run-list-note");
  note.hidden = found?.runs.length > 0;
  note.textContent = found ? "None yet." : "The server does not answer.";
  if (!found) return;
  const list = $("run-list");
  while (list.children.length > found.runs.length) list.lastChild.remove();
  found.runs.forEach((one, position) => {
    showRun((list.children[position] ?? makeRun(list)).firstChild, one);
    shown.seen(one);
  });
  markCurrent();
}

function makeRun(list) {
  const link = document.createElement("a");
  for (const kind of ["dot", "name", "when", "short"]) link.appendChild(document.createElement("span")).className = kind;
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    shown.go(link.dataset.run);
  });
  const item = list.appendChild(document.createElement("li"));
  item.append(link);
  return item;
}

function showRun(link, one) {
  const [dot, name, when, short] = link.children;
  link.href = `/?run=${one.run_id}`;
  link.dataset.run = one.run_id;
  const origin = originOf(one.origin);
  link.title = `${one.status}, started ${moment(Date.parse(one.started_at))}${origin ? `: ${origin}` : ""}`;
  dot.className = `dot ${one.status}`;
  name.textContent = graphs.get(one.graph_id)?.name ?? one.graph_id.slice(0, 12);
  when.textContent = ago(Date.now() - Date.parse(one.started_at));
  short.textContent = origin ? `${origin} · ${one.run_id}` : one.run_id;
  link.setAttribute("aria-label", `${name.textContent}, ${one.status}, ${when.textContent}`);
}

/** What started a run, in a few words. */
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
    if (link.dataset.run === shown.current()) link.setAttribute("aria-current", "page");
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
  for (const kind of ["name", "when"]) item.appendChild(document.createElement("span")).className = kind;
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
  name.title = [one.graph, one.cron ?? one.every ?? one.at, one.time_zone].filter(Boolean).join(", ");
  const next = Date.parse(one.next_at);
  when.textContent = one.paused ? "paused" : Number.isFinite(next) ? ahead(next - Date.now()) : "no more";
  when.title = one.paused || !Number.isFinite(next) ? "" : moment(next);
  button.dataset.what = one.paused ? "resume" : "pause";
  button.textContent = one.paused ? "Resume" : "Pause";
  button.setAttribute("aria-label", `${button.textContent} ${one.name}`);
}

function ahead(ms) {
  return ms < 5000 ? "due" : `in ${ago(ms)}`;
}
