// The page on which a run is watched. What it knows of the run it learns from the run's events:
// they come over the WebSocket from the beginning, so it can be opened at any time, and goes on
// after the last one that it has seen when the connection is lost. When they pause, the run itself
// tells what it waits for, and its state where several branches made it.

import { clear as clearPicture, draw, fit, mark } from "./graph.js";
import { parse } from "./json.js";
import { begin as beginLists, graphs, listRuns, markCurrent } from "./list.js";
import { Rows, moment, since } from "./rows.js";
import { get, getText } from "./server.js";
import { begin as beginState, comeBack, lookAt, lookedAt, showState, shownState } from "./state.js";
import { askToFork, begin as beginSteering, showSteering } from "./steer.js";
import { showWaits } from "./waits.js";

const LEVELS = ["trace", "debug", "info", "warn", "error"];
const OVER = new Set(["finished", "failed", "cancelled"]);
const ENDS = new Set(["step_finished", "item_finished", "step_failed"]); // what a step is over with
const NOTABLE = new Set(["run_started", "run_forked", "run_retried", "run_upgraded", "run_finished", "run_failed", "run_cancelled"]);
const RETRY = [500, 1000, 2000, 4000, 8000]; // ms before each try to connect again
const PAGE = 1000; // events that are read at once
const QUIET = 250; // ms without an event after which the run itself is asked
const PER_FRAME = 2000; // messages that are taken in between two frames
const FINAL = { 1000: "", 1008: "closed by the server", 4400: "not a run's id", 4404: "no such run" };

const $ = (id) => document.getElementById(id);
const rows = new Rows($("events"), showCounts, lookAtRow);

/** The run that is watched. */
let run = null;

// ------------------------------------------------------------------------------ connection

function watch(id) {
  leave();
  rows.clear();
  comeBack();
  run = {
    id, socket: null, after: 0, tries: 0, timer: null, queue: [], frame: null,
    status: null, graph: null, started: null, ended: null, steps: 0, count: 0, at: new Map(), visits: new Map(), failedAt: null,
    state: new Map(), changed: new Set(), under: new Map(), marks: new Map(), waits: [], parted: false, asking: null,
    over: new Map(), forked: null, told: null,
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
  clearTimeout(run.asking);
  cancelAnimationFrame(run.frame);
  run.socket?.close();
  run = null;
}

/** Reads what happened so far in pages, which is quicker than a message each, and then connects. */
async function catchUp() {
  const mine = run;
  setLink("waiting", "reading");
  for (;;) {
    const text = await getText(`/v1/runs/${encodeURIComponent(mine.id)}/events?after=${mine.after}&limit=${PAGE}`);
    if (run !== mine) return;
    // Where this fails, the socket tells why.
    const page = text === null ? null : parse(text);
    if (page) take(page.events);
    if (!page || page.over || page.events.length === 0) break;
  }
  connect();
}

function connect() {
  const mine = run;
  const after = mine.after > 0 ? `?after=${mine.after}` : "";
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  setLink("waiting", mine.tries > 0 ? "connecting again" : "connecting");
  const socket = new WebSocket(`${scheme}://${location.host}/ws/logs/${encodeURIComponent(mine.id)}${after}`);
  mine.socket = socket;
  socket.onopen = () => { if (run === mine) setLink("live", "live"); };
  socket.onmessage = (message) => {
    if (run !== mine) return;
    mine.tries = 0;
    mine.queue.push(message.data);
    mine.frame ??= requestAnimationFrame(takeIn);
  };
  socket.onclose = (close) => {
    if (run !== mine) return;
    if (close.code in FINAL) {
      while (mine.queue.length > 0) takeIn();
      if (close.code === 1000) setLink("", "complete");
      else setLink("lost", close.reason || FINAL[close.code]);
      if (close.code >= 4400 && mine.count === 0) { $("graph").textContent = FINAL[close.code]; }
      return;
    }
    const wait = RETRY[Math.min(mine.tries++, RETRY.length - 1)];
    setLink("waiting", `connection lost, again in ${wait / 1000} s`);
    mine.timer = setTimeout(connect, wait);
  };
}

// A page in the background gets no frames, and must not pile up what it was sent.
setInterval(() => { if (document.hidden && run?.queue.length > 0) takeIn(); }, 1000);

/** Takes in what came since the last frame. */
function takeIn() {
  const texts = run.queue.splice(0, PER_FRAME);
  run.frame = run.queue.length > 0 ? requestAnimationFrame(takeIn) : null;
  take(texts.map(parse));
}

function take(events) {
  const items = [];
  for (const event of events) {
    if (event.seq !== undefined) {
      if (event.seq <= run.after) continue;
      run.after = event.seq;
      run.count += 1;
    }
    const at = event.at ? Date.parse(event.at) : Date.now();
    const place = learn(event, at);
    items.push({ event, at, place, hay: `${event.type} ${place ?? ""} ${event.message ?? ""} ${event.update ? Object.keys(event.update).join(" ") : ""}`.toLowerCase() });
  }
  rows.push(items);
  showHead();
  showStateSoon();
  clearTimeout(run.asking);
  run.asking = setTimeout(ask, QUIET);
}

/** Asks the run itself for what its events do not tell. */
async function ask() {
  const mine = run;
  const text = await getText(`/v1/runs/${encodeURIComponent(mine.id)}`);
  if (run !== mine || text === null) return;
  const told = parse(text);
  // It has gone on: the next pause comes.
  if (told.last_seq < mine.after) return;
  mine.told = told;
  mine.status = told.status;
  mine.waits = told.waits;
  mine.steps = told.steps;
  showOrigin();
  showWaits($("waits"), mine.id, told.waits);
  if (mine.parted || mine.ended) {
    mine.state = new Map(Object.entries(told.state));
    showState(mine);
  }
  showHead();
}

/** The run goes on although it was over: what comes is read from where it was left. */
function goOn() {
  if (!run || !run.ended) { clearTimeout(run?.asking); if (run) ask(); return; }
  if (run.socket?.readyState < WebSocket.CLOSING) return;
  run.tries = 0;
  connect();
}

/** What an event says about the run. Gives its place, as in `parcels[2]/label`: the nodes and items that it is in. */
function learn(event, at) {
  const step = run.under.get(event.step);
  let place = step?.place ?? event.node;
  switch (event.type) {
    case "run_forked":
      run.forked = { ...event.forked_from, edits: Object.keys(event.edits ?? {}) };
      // What it begins with, the run itself tells.
      run.parted = true;
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
      const map = run.under.get(event.item?.of);
      const around = run.under.get(event.within);
      place = map ? `${map.place}[${event.item.index}]` : around ? `${around.place}/${event.node}` : event.node;
      // Only steps of the run's own graph are places in it; an item's step is at its map.
      const own = event.within === undefined && event.item === undefined;
      run.under.set(event.step, { place, own, undoes: event.undoes !== undefined });
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
      run.under.delete(event.step);
      if (Array.isArray(event.next)) run.parted = true;
      if (!(step?.own ?? true)) break;
      settle(event.node, "done");
      if (step?.undoes) run.parted = true;
      else for (const [key, value] of Object.entries(event.update ?? {})) { run.state.set(key, value); run.changed.add(key); }
      break;
    case "item_finished":
      run.under.delete(event.step);
      break;
    case "step_failed":
      if (!(step?.own ?? true)) break;
      if (event.then === "retry") { run.marks.set(event.node, "waiting"); break; }
      if (event.then !== "goto") run.failedAt = event.node;
      run.at.delete(event.step);
      settle(event.node, event.then === "goto" ? "mended" : "failed");
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
      run.parted = true;
      run.error = event.error;
      giveUp();
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
      giveUp();
      run.waits = [];
      showWaits($("waits"), run.id, []);
      listRuns();
      break;
  }
  if (ENDS.has(event.type) && event.then !== "retry") {
    // A step that failed may be over again: then this is when.
    run.over.delete(event.step);
    run.over.set(event.step, place);
  }
  return place;
}

/** Where the run came from, and what it was started with. */
function showOrigin() {
  const { forked, told } = run;
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
    const what = [forked.step === 0 ? " at its beginning" : ` after step ${forked.step}`];
    if (forked.edits.length > 0) what.push(`, with ${forked.edits.join(", ")} set anew`);
    parts.push(["Forked from ", link, ...what]);
  }
  const [kind, name] = told?.origin?.split(/:(.*)/s) ?? [];
  if (kind === "schedule") parts.push([`Started by the schedule ${name}`]);
  if (kind === "import") parts.push(["Imported"]);
  if (told?.group) parts.push([`Group ${told.group}`]);
  if (told?.priority) parts.push([`Priority ${told.priority}`]);
  $("origin").hidden = parts.length === 0;
  $("origin").replaceChildren(...parts.flatMap((part, position) => (position > 0 ? ["  ·  ", ...part] : part)));
}

/** A step of a node is over: it is what the others that are there say, else what became of this one. */
function settle(node, mark) {
  if (![...run.at.values()].includes(node)) run.marks.set(node, mark);
}

/** What was under way is so no longer. */
function giveUp() {
  for (const node of run.at.values()) if (run.marks.get(node) !== "failed") run.marks.set(node, "left");
  run.at.clear();
}

// ------------------------------------------------------------------------------ the run's head

function setLink(kind, text) {
  $("link").className = `link ${kind}`;
  say("link", text);
}

/** Sets a text, if it is another: a screen reader tells of each that is set. */
function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function showHead() {
  $("status").hidden = run.status === null;
  $("status").className = `status ${run.status}`;
  say("status", run.status ?? "");
  const graph = graphs.get(run.graph);
  if (run.graph) say("graph", graph?.name ?? run.graph.slice(0, 12));
  $("graph").title = run.graph ? `graph ${run.graph}` : "";
  say("steps", run.steps.toLocaleString());
  say("count", run.count.toLocaleString());
  const here = whereabouts();
  say("node", [...here].join(", ") || (run.status === "finished" ? "end" : run.failedAt ?? "–"));
  $("error").hidden = !run.error;
  if (run.error) say("error", `${run.error.code} at ${run.error.node}, step ${run.error.step}: ${run.error.message}`);
  const stands = { cancelled: "Cancelled", paused: "Paused" }[run.status];
  $("error").classList.toggle("calm", stands !== undefined);
  if (stands) { $("error").hidden = false; say("error", run.reason ? `${stands}: ${run.reason}` : stands); }
  showSteering(run);
  showElapsed();
  showNodes(graph, here);
  const waiting = new Set(run.waits.map((wait) => wait.node));
  mark((name) => (waiting.has(name) && run.marks.get(name) === "running" ? "waiting" : run.marks.get(name) ?? (run.started ? "idle" : "")));
  document.title = `${$("graph").textContent}${run.status ? ` · ${run.status}` : ""} – Heddle`;
}

/** The nodes that a run is at; between two steps, the one that it was at. */
function whereabouts() {
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
  $("watch").classList.add("drawn"); // it needs room before it can be fitted to it
  $("watch").classList.toggle("drawn", draw($("picture"), svg));
  showHead();
}

// ------------------------------------------------------------------------------ state

let stateTimer = null;

/** Shows the state, but not for each of many changes. */
function showStateSoon() {
  if (run.ended) { clearTimeout(stateTimer); stateTimer = null; showState(run); }
  else stateTimer ??= setTimeout(() => { stateTimer = null; if (run) showState(run); }, 200);
}

/** A row was opened: where a step was over by its event, the state after it is shown; `closed` ends that. */
function lookAtRow({ event }, open) {
  if (!ENDS.has(event.type) || event.then === "retry" || !run) return;
  if (open) lookAt(run, event.step);
  else if (lookedAt()?.step === event.step) comeBack();
}

// ------------------------------------------------------------------------------ tools

function showCounts() {
  $("follow").checked = rows.follow;
  $("latest").hidden = rows.follow || rows.atEnd;
  const [shown, all] = [rows.shown.length, rows.all.length];
  const forgotten = rows.forgotten > 0 ? `, ${rows.forgotten.toLocaleString()} older ones not kept here` : "";
  $("shown").textContent = shown === all ? forgotten.slice(2) : `${shown.toLocaleString()} of ${all.toLocaleString()}${forgotten}`;
  $("no-rows").hidden = shown > 0 || all === 0;
  $("no-rows").textContent = "No event fits the filter.";
}

function setFollow(follow) {
  rows.setFollow(follow);
}

function filter() {
  const least = Number($("level").value);
  const what = $("what").value;
  const words = $("text").value.toLowerCase().split(/\s+/).filter(Boolean);
  rows.filter(({ event, hay }) =>
    (what !== "logs" || event.type === "log" || event.type === "chunk") &&
    (what !== "steps" || NOTABLE.has(event.type) || (ENDS.has(event.type) && event.then !== "retry")) &&
    LEVELS.indexOf(event.level ?? "info") >= least &&
    words.every((word) => hay.includes(word)));
}

async function copy(button, text) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser refused";
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
  if (event.key === "Escape") comeBack();
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
  comeBack();
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
  try { localStorage.setItem("theme", next); } catch { /* it lasts as long as the page, then */ }
  document.documentElement.dataset.theme = next;
});
setTheme();

/** A first graph to create and run: of the plugin `starter` where it is there, else one that needs no plugin. */
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
  // A function's bare name finds it where exactly one plugin has it.
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
beginSteering(goOn, go);
beginLists({
  go,
  current: () => run?.id,
  // Somebody else had the run go on.
  seen: (one) => { if (one.run_id === run?.id && run.ended && !OVER.has(one.status)) goOn(); },
});
arrive();
