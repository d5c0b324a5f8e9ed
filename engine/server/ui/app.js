// The page that shows one run, built from the run's events. It reads past events in pages and then
// receives live events over a WebSocket. After a lost connection it continues after the last event.
// Between events it reads the run itself, for its waits and for states of parallel branches.

import { askToFork, begin as beginControl, showControl } from "./control.js";
import { clear as clearPicture, draw, fit, mark } from "./graph.js";
import { parse } from "./json.js";
import { begin as beginLists, graphs, listRuns, markCurrent } from "./list.js";
import { Rows, moment, since } from "./rows.js";
import { get, getText } from "./server.js";
import { begin as beginState, selectedStep, showCurrent, showState, showStep, shownState } from "./state.js";
import { showWaits } from "./waits.js";

const LEVELS = ["trace", "debug", "info", "warn", "error"];
const OVER = new Set(["finished", "failed", "cancelled"]);
const ENDS = new Set(["step_finished", "item_finished", "step_failed"]); // events that end a step
const NOTABLE = new Set(["run_started", "run_forked", "run_retried", "run_upgraded", "run_finished", "run_failed", "run_cancelled"]);
const RETRY = [500, 1000, 2000, 4000, 8000]; // delays before reconnecting, in ms
const PAGE = 1000; // events per page
const QUIET = 250; // ms without an event before the run itself is read
const PER_FRAME = 2000; // messages that are processed per frame
const FINAL = { 1000: "", 1008: "closed by the server", 4400: "invalid run id", 4404: "no such run" };

const $ = (id) => document.getElementById(id);
const rows = new Rows($("events"), showCounts, showStepOfRow);

/** The open run. */
let run = null;

// ------------------------------------------------------------------------------ connection

function watch(id) {
  leave();
  rows.clear();
  showCurrent();
  run = {
    id, socket: null, after: 0, tries: 0, timer: null, queue: [], frame: null,
    status: null, graph: null, started: null, ended: null, steps: 0, count: 0, at: new Map(), visits: new Map(), failedAt: null,
    state: new Map(), changed: new Set(), active: new Map(), marks: new Map(), waits: [], branched: false, refreshing: null,
    over: new Map(), forked: null, body: null,
  };
  $("welcome").hidden = true;
  $("watch").hidden = false;
  $("run-id").value = id;
  $("copy-id").textContent = id;
  $("graph").textContent = "…";
  $("error").hidden = true;
  $("nodes").replaceChildren();
  $("state").replaceChildren();
  showWaits($("waits"), id, []);
  showOrigin();
  clearPicture($("picture"));
  setFollow(true);
  showHead();
  showState(run);
  markCurrent();
  catchUp();
}

function leave() {
  if (!run) return;
  clearTimeout(run.timer);
  clearTimeout(run.refreshing);
  cancelAnimationFrame(run.frame);
  run.socket?.close();
  run = null;
}

/** Reads past events in pages, which is faster than one message each, and then connects. */
async function catchUp() {
  const mine = run;
  setLink("waiting", "loading");
  for (;;) {
    const text = await getText(`/v1/runs/${encodeURIComponent(mine.id)}/events?after=${mine.after}&limit=${PAGE}`);
    if (run !== mine) return;
    // If this fails, the WebSocket reports the reason.
    const page = text === null ? null : parse(text);
    if (page) addEvents(page.events);
    if (!page || page.over || page.events.length === 0) break;
  }
  connect();
}

function connect() {
  const mine = run;
  const after = mine.after > 0 ? `?after=${mine.after}` : "";
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  setLink("waiting", mine.tries > 0 ? "reconnecting" : "connecting");
  const socket = new WebSocket(`${scheme}://${location.host}/ws/logs/${encodeURIComponent(mine.id)}${after}`);
  mine.socket = socket;
  socket.onopen = () => { if (run === mine) setLink("live", "live"); };
  socket.onmessage = (message) => {
    if (run !== mine) return;
    mine.tries = 0;
    mine.queue.push(message.data);
    mine.frame ??= requestAnimationFrame(processQueue);
  };
  socket.onclose = (close) => {
    if (run !== mine) return;
    if (close.code in FINAL) {
      while (mine.queue.length > 0) processQueue();
      if (close.code === 1000) setLink("", "complete");
      else setLink("lost", close.reason || FINAL[close.code]);
      if (close.code >= 4400 && mine.count === 0) { $("graph").textContent = FINAL[close.code]; }
      return;
    }
    const wait = RETRY[Math.min(mine.tries++, RETRY.length - 1)];
    setLink("waiting", `connection lost, reconnecting in ${wait / 1000} s`);
    mine.timer = setTimeout(connect, wait);
  };
}

// A page in the background gets no frames, so the queue is processed by a timer.
setInterval(() => { if (document.hidden && run?.queue.length > 0) processQueue(); }, 1000);

/** Processes the messages since the last frame. */
function processQueue() {
  const texts = run.queue.splice(0, PER_FRAME);
  run.frame = run.queue.length > 0 ? requestAnimationFrame(processQueue) : null;
  addEvents(texts.map(parse));
}

function addEvents(events) {
  const items = [];
  for (const event of events) {
    if (event.seq !== undefined) {
      if (event.seq <= run.after) continue;
      run.after = event.seq;
      run.count += 1;
    }
    const at = event.at ? Date.parse(event.at) : Date.now();
    const place = applyEvent(event, at);
    items.push({ event, at, place, searchText: `${event.type} ${place ?? ""} ${event.message ?? ""} ${event.update ? Object.keys(event.update).join(" ") : ""}`.toLowerCase() });
  }
  rows.push(items);
  showHead();
  showStateSoon();
  clearTimeout(run.refreshing);
  run.refreshing = setTimeout(refresh, QUIET);
}

/** Reads the run itself, for what its events do not contain. */
async function refresh() {
  const mine = run;
  const text = await getText(`/v1/runs/${encodeURIComponent(mine.id)}`);
  if (run !== mine || text === null) return;
  const body = parse(text);
  // The response is older than the last event: the next refresh will be newer.
  if (body.last_seq < mine.after) return;
  mine.body = body;
  mine.status = body.status;
  mine.waits = body.waits;
  mine.steps = body.steps;
  showOrigin();
  showWaits($("waits"), mine.id, body.waits);
  if (mine.branched || mine.ended) {
    mine.state = new Map(Object.entries(body.state));
    showState(mine);
  }
  showHead();
}

/** Continues to watch a run that may have been over, after the last event. */
function resumeWatching() {
  if (!run || !run.ended) { clearTimeout(run?.refreshing); if (run) refresh(); return; }
  if (run.socket?.readyState < WebSocket.CLOSING) return;
  run.tries = 0;
  connect();
}

/** Applies an event to the run. Returns its place, the nodes and map items that contain it, such as `parcels[2]/label`. */
function applyEvent(event, at) {
  const step = run.active.get(event.step);
  let place = step?.place ?? event.node;
  switch (event.type) {
    case "run_forked":
      run.forked = { ...event.forked_from, edits: Object.keys(event.edits ?? {}) };
      // The initial state is in the run itself, not in the event.
      run.branched = true;
      showOrigin();
      // falls through
    case "run_started":
      run.status = "running";
      run.started = at;
      run.graph = event.graph_id;
      for (const [key, value] of Object.entries(event.state ?? {})) run.state.set(key, value);
      nameGraph(event.graph_id);
      break;
    case "step_started": {
      const map = run.active.get(event.item?.of);
      const outer = run.active.get(event.within);
      place = map ? `${map.place}[${event.item.index}]` : outer ? `${outer.place}/${event.node}` : event.node;
      // Only steps of the run's own graph are marked in it; the steps of items belong to their map.
      const own = event.within === undefined && event.item === undefined;
      run.active.set(event.step, { place, own, undoes: event.undoes !== undefined });
      run.steps = Math.max(run.steps, event.step);
      if (run.status === "waiting" || run.status === "queued") run.status = "running";
      if (!own) break;
      run.at.set(event.step, event.node);
      run.latest = event.node;
      run.marks.set(event.node, "running");
      if (event.attempt === 1) run.visits.set(event.node, (run.visits.get(event.node) ?? 0) + 1);
      break;
    }
    case "step_finished":
      run.at.delete(event.step);
      run.active.delete(event.step);
      if (Array.isArray(event.next)) run.branched = true;
      if (!(step?.own ?? true)) break;
      markEnded(event.node, "done");
      if (step?.undoes) run.branched = true;
      else for (const [key, value] of Object.entries(event.update ?? {})) { run.state.set(key, value); run.changed.add(key); }
      break;
    case "item_finished":
      run.active.delete(event.step);
      break;
    case "step_failed":
      if (!(step?.own ?? true)) break;
      if (event.then === "retry") { run.marks.set(event.node, "waiting"); break; }
      if (event.then !== "goto") run.failedAt = event.node;
      run.at.delete(event.step);
      markEnded(event.node, event.then === "goto" ? "mended" : "failed");
      break;
    case "run_paused":
      run.status = "paused";
      run.reason = event.reason;
      break;
    case "run_retried":
      Object.assign(run, { ended: null, error: undefined, failedAt: null, status: "running" });
      for (const [node, mark] of run.marks) if (mark === "failed" || mark === "left") run.marks.set(node, "idle");
      listRuns();
      break;
    case "run_resumed":
      run.status = "running";
      break;
    case "run_upgraded":
      if (event.graph_id !== run.graph) { run.graph = event.graph_id; nameGraph(event.graph_id); }
      break;
    case "undo_started":
      run.branched = true;
      run.error = event.error;
      markUnfinished();
      break;
    case "run_finished":
    case "run_failed":
    case "run_cancelled":
      run.status = event.type.slice("run_".length);
      run.ended = at;
      run.error = event.error ?? (event.type === "run_cancelled" ? undefined : run.error);
      run.reason = event.reason;
      run.failedAt = event.error?.node ?? run.failedAt;
      if (event.error && run.marks.has(event.error.node)) run.marks.set(event.error.node, "failed");
      markUnfinished();
      run.waits = [];
      showWaits($("waits"), run.id, []);
      listRuns();
      break;
  }
  if (ENDS.has(event.type) && event.then !== "retry") {
    // A retried step ends again; the last end counts.
    run.over.delete(event.step);
    run.over.set(event.step, place);
  }
  return place;
}

/** Shows what started the run, with its group and priority. */
function showOrigin() {
  const { forked, body } = run;
  const parts = [];
  if (forked) {
    const link = document.createElement("a");
    link.href = `/?run=${forked.run_id}`;
    link.className = "mono";
    link.textContent = forked.run_id;
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go(forked.run_id);
    });
    const what = [forked.step === 0 ? ", from its initial state" : ` after step ${forked.step}`];
    if (forked.edits.length > 0) what.push(`, with overrides of ${forked.edits.join(", ")}`);
    parts.push(["Forked from ", link, ...what]);
  }
  const [kind, name] = body?.origin?.split(/:(.*)/s) ?? [];
  if (kind === "schedule") parts.push([`Started by schedule ${name}`]);
  if (kind === "import") parts.push(["Imported"]);
  if (body?.group) parts.push([`Group ${body.group}`]);
  if (body?.priority) parts.push([`Priority ${body.priority}`]);
  $("origin").hidden = parts.length === 0;
  $("origin").replaceChildren(...parts.flatMap((part, position) => (position > 0 ? ["  ·  ", ...part] : part)));
}

/** Marks a node after one of its steps ended, unless other steps of the node are active. */
function markEnded(node, mark) {
  if (![...run.at.values()].includes(node)) run.marks.set(node, mark);
}

/** Marks the nodes of active steps as unfinished. */
function markUnfinished() {
  for (const node of run.at.values()) if (run.marks.get(node) !== "failed") run.marks.set(node, "left");
  run.at.clear();
}

// ------------------------------------------------------------------------------ the run's head

function setLink(kind, text) {
  $("link").className = `link ${kind}`;
  setText("link", text);
}

/** Sets a text if it differs: screen readers announce each text that is set. */
function setText(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function showHead() {
  $("status").hidden = run.status === null;
  $("status").className = `status ${run.status}`;
  setText("status", run.status ?? "");
  const graph = graphs.get(run.graph);
  if (run.graph) setText("graph", graph?.name ?? run.graph.slice(0, 12));
  $("graph").title = run.graph ? `graph ${run.graph}` : "";
  setText("steps", run.steps.toLocaleString());
  setText("count", run.count.toLocaleString());
  const here = currentNodes();
  setText("node", [...here].join(", ") || (run.status === "finished" ? "end" : run.failedAt ?? "–"));
  $("error").hidden = !run.error;
  if (run.error) {
    const step = run.error.step === undefined ? "" : `, step ${run.error.step}`;
    setText("error", `${run.error.code} at ${run.error.node}${step}: ${run.error.message}`);
  }
  const notice = { cancelled: "Cancelled", paused: "Paused" }[run.status];
  $("error").classList.toggle("calm", notice !== undefined);
  if (notice) { $("error").hidden = false; setText("error", run.reason ? `${notice}: ${run.reason}` : notice); }
  showControl(run);
  showElapsed();
  showNodes(graph, here);
  const waiting = new Set(run.waits.map((wait) => wait.node));
  mark((name) => (waiting.has(name) && run.marks.get(name) === "running" ? "waiting" : run.marks.get(name) ?? (run.started ? "idle" : "")));
  document.title = `${$("graph").textContent}${run.status ? ` · ${run.status}` : ""} – Heddle`;
}

/** The nodes of the active steps; between two steps, the last node. */
function currentNodes() {
  if (run.at.size === 0 && run.status === "running" && run.latest) return new Set([run.latest]);
  return new Set(run.at.values());
}

function showElapsed() {
  if (run?.started) $("elapsed").textContent = since((run.ended ?? Math.max(Date.now(), run.started)) - run.started);
  else $("elapsed").textContent = "–";
}

function showNodes(graph, here) {
  const names = graph?.nodes ?? [...run.visits.keys()];
  const list = $("nodes");
  while (list.children.length > names.length) list.lastChild.remove();
  names.slice(0, 200).forEach((name, position) => {
    const item = list.children[position] ?? list.appendChild(document.createElement("li"));
    const visits = run.visits.get(name) ?? 0;
    const kind = here.has(name) ? "here" : run.status === "failed" && name === run.failedAt ? "bad" : visits > 0 ? "seen" : "";
    const key = `${name} ${visits} ${kind}`;
    if (item.dataset.key === key) return;
    item.dataset.key = key;
    item.className = kind;
    item.textContent = name;
    if (visits > 1) {
      const count = document.createElement("b");
      count.textContent = `×${visits.toLocaleString()}`;
      item.append(count);
    }
  });
}

async function nameGraph(id) {
  if (!graphs.get(id)?.nodes) {
    const graph = await get(`/v1/graphs/${encodeURIComponent(id)}`);
    if (graph) graphs.set(id, { name: graph.name, nodes: Object.keys(graph.definition?.nodes ?? {}) });
  }
  if (run?.graph !== id) return;
  showHead();
  const svg = await getText(`/v1/graphs/${encodeURIComponent(id)}/picture`, "image/svg+xml");
  if (run?.graph !== id || svg === null) return;
  $("watch").classList.add("drawn"); // the drawing needs its space before it can be fitted
  $("watch").classList.toggle("drawn", draw($("picture"), svg));
  showHead();
}

// ------------------------------------------------------------------------------ state

let stateTimer = null;

/** Shows the state after a short delay, so that many changes are shown at once. */
function showStateSoon() {
  if (run.ended) { clearTimeout(stateTimer); stateTimer = null; showState(run); }
  else stateTimer ??= setTimeout(() => { stateTimer = null; if (run) showState(run); }, 200);
}

/** Shows the state after a step when the row of the step's end is opened, and the current state when it is closed. */
function showStepOfRow({ event }, open) {
  if (!ENDS.has(event.type) || event.then === "retry" || !run) return;
  if (open) showStep(run, event.step);
  else if (selectedStep()?.step === event.step) showCurrent();
}

// ------------------------------------------------------------------------------ tools

function showCounts() {
  $("follow").checked = rows.follow;
  $("latest").hidden = rows.follow || rows.atEnd;
  const [shown, all] = [rows.shown.length, rows.all.length];
  const dropped = rows.dropped > 0 ? `, ${rows.dropped.toLocaleString()} older events not loaded` : "";
  $("shown").textContent = shown === all ? dropped.slice(2) : `${shown.toLocaleString()} of ${all.toLocaleString()}${dropped}`;
  $("no-rows").hidden = shown > 0 || all === 0;
  $("no-rows").textContent = "No events match the filter.";
}

function setFollow(follow) {
  rows.setFollow(follow);
}

function filter() {
  const minimum = Number($("level").value);
  const what = $("what").value;
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  rows.filter(({ event, searchText }) =>
    (what !== "logs" || event.type === "log" || event.type === "chunk") &&
    (what !== "steps" || NOTABLE.has(event.type) || (ENDS.has(event.type) && event.then !== "retry")) &&
    LEVELS.indexOf(event.level ?? "info") >= minimum &&
    words.every((word) => searchText.includes(word)));
}

async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copying failed";
  }
  setTimeout(() => { button.textContent = button.id === "copy-id" && run ? run.id : before; }, 1200);
}

for (const id of ["level", "what"]) $(id).addEventListener("change", filter);
$("text").addEventListener("input", filter);
$("follow").addEventListener("change", () => setFollow($("follow").checked));
$("latest").addEventListener("click", () => setFollow(true));
$("copy-id").addEventListener("click", () => copy($("copy-id"), run.id));
$("copy-state").addEventListener("click", () => copy($("copy-state"), shownState(run)));
$("enlarge").addEventListener("click", () => {
  const svg = $("picture").querySelector("svg");
  if (!svg) return;
  $("large-picture").replaceChildren(svg);
  $("large").showModal();
  fit($("large-picture"));
});
$("large-close").addEventListener("click", () => $("large").close());
$("large").addEventListener("click", (event) => { if (event.target === $("large")) $("large").close(); });
$("large").addEventListener("close", () => {
  const svg = $("large-picture").querySelector("svg");
  if (svg) $("picture").replaceChildren(svg);
  fit($("picture"));
});
for (const id of ["picture", "large-picture"]) new ResizeObserver(() => fit($(id))).observe($(id));
for (const button of document.querySelectorAll("[data-show]")) {
  button.addEventListener("click", () => {
    $("watch").dataset.pane = button.dataset.show;
    for (const other of document.querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", other === button);
    rows.draw();
  });
}
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && event.target === $("text")) { $("text").value = ""; filter(); $("events").focus(); }
  if (typing || !run || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") showCurrent();
  if (event.key === "/") { event.preventDefault(); $("text").focus(); }
  if (event.key === "f") setFollow(!rows.follow);
});
setInterval(() => { if (run && !run.ended) showElapsed(); }, 200);

$("show-runs").addEventListener("click", () => openRuns(!$("runs").classList.contains("open")));

function openRuns(wanted) {
  $("runs").classList.toggle("open", wanted);
  $("show-runs").setAttribute("aria-expanded", wanted);
}

// ------------------------------------------------------------------------------ address and theme

function go(id) {
  const address = `/?run=${encodeURIComponent(id)}`;
  if (address !== location.pathname + location.search) history.pushState(null, "", address);
  openRuns(false);
  watch(id);
}

function arrive() {
  const id = new URLSearchParams(location.search).get("run")?.trim();
  if (id) { watch(id); return; }
  leave();
  showCurrent();
  $("watch").hidden = true;
  $("welcome").hidden = false;
  document.title = "Heddle";
  markCurrent();
}

$("connect").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = $("run-id").value.trim();
  if (id) go(id);
});
addEventListener("popstate", arrive);

const dark = matchMedia("(prefers-color-scheme: dark)");
const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
const setTheme = () => { document.documentElement.dataset.theme = kept() ?? (dark.matches ? "dark" : "light"); };
dark.addEventListener("change", setTheme);
$("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", next); } catch { /* the choice then lasts until the page is closed */ }
  document.documentElement.dataset.theme = next;
});
setTheme();

/** Shows a first graph: with functions of the plugin `starter` if it is registered, else without plugins. */
async function showFirstSteps() {
  const example = (graph, state) => `curl ${location.origin}/graph/create -H 'content-type: application/json' -d '
  ${graph}'

curl ${location.origin}/graph/run -H 'content-type: application/json' -d '
  {"graph_id": "THE GRAPH ID", "initial_state": ${state}}'`;
  const plain = example(`{"nodes": {"first": {"sleep": "2s"}, "second": {"sleep": "2s"}},
   "edges": {"first": "second", "second": "end"}}`, "{}");
  $("welcome-code").textContent = plain;
  const plugins = (await get("/v1/plugins"))?.plugins;
  if (!plugins) return;
  // A function name without its plugin is valid only if exactly one plugin has the function.
  const isOfStarter = (name) => {
    const having = plugins.filter((plugin) => plugin.functions.some((one) => one.name === name));
    return having.length > 0 && having.every((plugin) => plugin.name === "starter");
  };
  if (isOfStarter("extract") && isOfStarter("analyze")) {
    $("welcome-code").textContent = example(`{"nodes": {"extract": {}, "analyze": {}},
   "edges": {"extract": "analyze", "analyze": "end"}}`, '{"input": "On 5 March 2024 we paid 1,234.50 for 3 looms."}');
  }
  $("welcome-plugins").hidden = plugins.length > 0;
}
showFirstSteps();
beginState(() => { if (run) showState(run); }, askToFork);
beginControl(resumeWatching, go);
beginLists({
  go,
  current: () => run?.id,
  // Another client may have retried the run.
  seen: (one) => { if (one.run_id === run?.id && run.ended && !OVER.has(one.status)) resumeWatching(); },
});
arrive();
