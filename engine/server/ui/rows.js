// The list of events. Only visible rows are in the document, so a hundred thousand events are as fast
// as ten. An open row shows the whole event and is taller.

import { brief, show } from "./json.js";

const HEIGHT = 30; // height of a closed row in pixels; the same in style.css
const MARGIN = 12; // rows that are drawn beyond each edge
const MAX_EVENTS = 100_000; // past this number, the oldest events are dropped

const NAMES = {
  run_started: "run started", step_started: "started", log: "log", step_finished: "finished", step_failed: "failed",
  run_finished: "run finished", run_failed: "run failed", run_cancelled: "cancelled", chunk: "chunk", graph_started: "graph",
  map_started: "map", item_finished: "item", signal_received: "signal", undo_started: "compensating", run_forked: "run forked",
  run_paused: "paused", run_resumed: "resumed", run_retried: "retried", run_upgraded: "upgraded", cancel_requested: "cancelling",
};
const PLAIN = new Set(["seq", "at", "run_id", "type", "level", "message", "node", "step", "attempt", "kept"]);

export class Rows {
  /**
   * `view` is the element that scrolls. `changed` is called after the shown rows or the follow mode changed, `toggled`
   * after a row was opened or closed.
   */
  constructor(view, changed, toggled) {
    this.view = view;
    this.space = view.querySelector(".space");
    this.changed = () => {}; // set after the first draw
    this.fits = () => true;
    this.follow = true;
    this.clear();
    this.changed = changed;
    this.toggled = toggled;
    view.addEventListener("scroll", () => this.scrolled(), { passive: true });
    view.addEventListener("keydown", (event) => this.key(event));
    view.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => { for (const item of this.open.keys()) this.open.set(item, null); this.draw(); }).observe(view);
  }

  clear() {
    this.all = [];
    this.shown = [];
    this.open = new Map(); // from an open item to its additional height in pixels; null until it is known
    this.opened = []; // the positions of open items, in order
    this.drawn = new Map();
    this.cursor = null;
    this.start = null;
    this.dropped = 0;
    this.space.replaceChildren();
    this.draw();
  }

  /** Adds items. Consecutive chunks of a step become one row. */
  push(items) {
    for (const item of items) {
      this.start ??= item.at;
      const last = this.all.at(-1);
      if (item.event.type === "chunk" && last?.event.type === "chunk" && last.event.step === item.event.step) {
        if (last.chunks.length < 1000) last.chunks.push(item.event.data);
        last.text = chunkText(last.chunks);
        this.redraw(last);
        continue;
      }
      if (item.event.type === "chunk") {
        item.chunks = [item.event.data];
        item.text = chunkText(item.chunks);
      }
      this.all.push(item);
      if (this.fits(item)) this.shown.push(item);
    }
    if (this.all.length > MAX_EVENTS * 1.1) {
      this.dropped += this.all.length - MAX_EVENTS;
      this.all = this.all.slice(-MAX_EVENTS);
      this.filter(this.fits);
    }
    this.draw();
  }

  /** Shows only the items that match. */
  filter(fits) {
    this.fits = fits;
    this.shown = this.all.filter(fits);
    for (const item of this.open.keys()) if (!this.shown.includes(item)) this.open.delete(item);
    for (const [, element] of this.drawn) element.remove();
    this.drawn.clear();
    this.sortOpen();
    this.draw();
  }

  setFollow(follow) {
    this.follow = follow;
    this.draw();
  }

  /** Whether the last row is visible. */
  get atEnd() {
    return this.view.scrollTop + this.view.clientHeight >= this.view.scrollHeight - 4;
  }

  sortOpen() {
    this.opened = [...this.open.keys()].map((item) => this.shown.indexOf(item)).filter((at) => at >= 0).sort((a, b) => a - b);
  }

  offset(position) {
    let extra = 0;
    for (const at of this.opened) {
      if (at >= position) break;
      extra += this.open.get(this.shown[at]) ?? 0;
    }
    return position * HEIGHT + extra;
  }

  at(y) {
    let extra = 0;
    for (const at of this.opened) {
      const top = at * HEIGHT + extra;
      if (y < top + HEIGHT) break;
      const more = this.open.get(this.shown[at]) ?? 0;
      if (y < top + HEIGHT + more) return at;
      extra += more;
    }
    return Math.max(0, Math.floor((y - extra) / HEIGHT));
  }

  draw() {
    const { view, space, shown } = this;
    space.style.height = `${this.offset(shown.length) + 8}px`;
    if (this.follow) view.scrollTop = view.scrollHeight;
    this.top = view.scrollTop;
    const from = Math.max(0, this.at(view.scrollTop) - MARGIN);
    const to = Math.min(shown.length, this.at(view.scrollTop + view.clientHeight) + MARGIN);
    const wanted = new Set(shown.slice(from, to));
    for (const [item, element] of this.drawn) {
      if (!wanted.has(item)) { element.remove(); this.drawn.delete(item); }
    }
    let grown = false;
    for (let position = from; position < to; position++) {
      const item = shown[position];
      let element = this.drawn.get(item);
      if (!element) {
        element = this.make(item);
        this.drawn.set(item, element);
        space.append(element);
      }
      element.style.transform = `translateY(${this.offset(position)}px)`;
      element.classList.toggle("cursor", item === this.cursor);
      element.setAttribute("aria-posinset", position + 1);
      element.setAttribute("aria-setsize", shown.length);
      if (this.open.has(item)) {
        const more = element.offsetHeight - HEIGHT;
        grown ||= more !== this.open.get(item);
        this.open.set(item, more);
      }
    }
    if (this.cursor) view.setAttribute("aria-activedescendant", this.cursor.id);
    else view.removeAttribute("aria-activedescendant");
    // A row whose height has just become known moves the rows below it.
    if (grown) this.draw();
    else this.changed();
  }

  redraw(item) {
    this.drawn.get(item)?.remove();
    this.drawn.delete(item);
  }

  make(item) {
    const { event } = item;
    const element = document.createElement("div");
    item.id ??= `event-${event.seq ?? `c${this.all.indexOf(item)}`}`;
    element.id = item.id;
    element.className = `row ${event.type} l-${event.level ?? "info"}`;
    if (event.type === "step_failed" && event.then !== "raise") element.classList.add("mended");
    if (event.undoes !== undefined) element.classList.add("undoes");
    element.setAttribute("role", "treeitem");
    element.setAttribute("aria-level", 1);
    element.setAttribute("aria-expanded", this.open.has(item));
    element.item = item;
    const line = document.createElement("div");
    line.className = "line";
    const node = item.place ?? event.node;
    const cell = (kind, text, title) => {
      const part = document.createElement("span");
      part.className = kind;
      part.textContent = text;
      if (title) part.title = title;
      line.append(part);
    };
    cell("time", since(item.at - this.start), moment(item.at));
    cell("badge", event.type === "log" ? event.level : NAMES[event.type] ?? event.type);
    cell("node", node ?? "", event.step && `step ${event.step}${event.attempt > 1 ? `, attempt ${event.attempt}` : ""}`);
    cell("text", summary(item));
    if (node) {
      const where = document.createElement("span");
      where.className = "where";
      where.textContent = node;
      line.lastChild.prepend(where);
    }
    cell("seq", event.seq ?? "");
    element.append(line);
    if (this.open.has(item)) element.append(more(item));
    return element;
  }

  toggle(item) {
    if (this.open.has(item)) this.open.delete(item);
    else { this.open.set(item, null); this.follow = false; }
    this.cursor = item;
    this.sortOpen();
    this.redraw(item);
    this.draw();
    if (this.open.has(item)) this.reveal(this.shown.indexOf(item));
    this.toggled(item, this.open.has(item));
  }

  reveal(position) {
    const top = this.offset(position);
    const end = this.offset(position + 1);
    const { view } = this;
    if (end > view.scrollTop + view.clientHeight) view.scrollTop = end - view.clientHeight;
    if (top < view.scrollTop) view.scrollTop = top;
    this.draw();
  }

  scrolled() {
    // Scrolling up stops following. New rows at the end do not.
    if (this.view.scrollTop < this.top) this.follow = false;
    else if (this.atEnd) this.follow = true;
    this.draw();
  }

  click(event) {
    const row = event.target.closest(".line")?.parentElement;
    if (row && getSelection().isCollapsed) this.toggle(row.item);
  }

  key(event) {
    const position = this.cursor ? this.shown.indexOf(this.cursor) : -1;
    const page = Math.max(1, Math.floor(this.view.clientHeight / HEIGHT) - 1);
    const to = { ArrowDown: position + 1, ArrowUp: position - 1, PageDown: position + page, PageUp: position - page, Home: 0, End: Infinity }[event.key];
    if (to !== undefined && this.shown.length > 0) {
      const at = Math.min(Math.max(0, position < 0 && to < 0 ? this.shown.length - 1 : to), this.shown.length - 1);
      this.cursor = this.shown[at];
      this.follow = at === this.shown.length - 1 && this.follow;
      this.reveal(at);
    } else if (["Enter", " ", "ArrowRight", "ArrowLeft"].includes(event.key) && position >= 0) {
      const open = this.open.has(this.cursor);
      if (event.key === "ArrowRight" ? !open : event.key === "ArrowLeft" ? open : true) this.toggle(this.cursor);
    } else return;
    event.preventDefault();
  }
}

function chunkText(chunks) {
  return chunks.map((chunk) => (typeof chunk === "string" ? chunk : JSON.stringify(chunk))).join("");
}

function summary({ event, text }) {
  if (event.type === "chunk") return text.slice(-300);
  if (event.type === "step_started") return startOf(event);
  if (event.type === "step_failed") return failureOf(event);
  if (event.type === "graph_started") return event.graph;
  if (event.type === "map_started") return `over ${Object.keys(event.items).length.toLocaleString()} items`;
  if (event.type === "item_finished") return `${event.item.index}: ${event.result === undefined ? "skipped" : brief(event.result, 80)}`;
  if (event.type === "signal_received") return `${event.name}  ${event.payload === null ? "" : brief(event.payload, 100)}`;
  if (event.type === "step_finished") {
    const update = Object.entries(event.update ?? {});
    const shown = update.slice(0, 6).map(([key, value]) => {
      const text = value !== null && typeof value === "object" ? "" : brief(value, 28);
      return text === "" || text.length > 32 ? key : `${key}: ${text}`;
    });
    if (update.length > 6) shown.push(`${update.length - 6} more`);
    const set = shown.join(", ") || "no change";
    return `${set}  →  ${nextOf(event.next)}`;
  }
  return event.message;
}

/** Returns where a branch continues: a node, the end, or the nodes of a fork. */
function nextOf(next) {
  return Array.isArray(next) ? next.map((arm) => arm.to).join(" + ") : next;
}

function failureOf({ failure, then, until, next, at }) {
  const action = {
    retry: `  ↻  next attempt in ${since(Date.parse(until) - Date.parse(at))}`, goto: `  →  ${next}`, item: "  →  the next item",
  }[then] ?? "";
  return `${failure.message} (${failure.kind})${action}`;
}

function startOf(event) {
  const parts = [`step ${event.step}`];
  if (event.attempt > 1) parts.push(`attempt ${event.attempt}`);
  if (event.item) parts.push(`item ${event.item.index}`);
  if (event.undoes !== undefined) parts.push(`compensates step ${event.undoes}`);
  if (event.joined) parts.push(`joins ${event.joined.length + 1} branches`);
  if (event.until) parts.push(`until ${moment(Date.parse(event.until))}`);
  return parts.join(", ");
}

/** Returns the content of an open row: the whole message and the event's own fields. */
function more(item) {
  const { event } = item;
  const element = document.createElement("div");
  element.className = "more";
  const paragraph = (kind, text) => {
    const part = document.createElement("p");
    part.className = kind;
    part.textContent = text;
    element.append(part);
  };
  const step = event.step ? `  ·  step ${event.step}, attempt ${event.attempt ?? 1}` : "";
  paragraph("when", `${event.seq ? `event ${event.seq}  ·  ` : ""}${moment(item.at)}${step}`);
  paragraph("", item.text ?? event.message);
  const rest = Object.fromEntries(Object.entries(event).filter(([key]) => !PLAIN.has(key)));
  if (event.type === "chunk") rest.data = item.chunks.length > 1 ? item.chunks : item.chunks[0];
  if (Object.keys(rest).length > 0) element.append(show(rest));
  return element;
}

/** Returns a duration as a short text. */
export function since(ms) {
  if (!Number.isFinite(ms)) return "";
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(3)} s`;
  if (s < 100) return `${s.toFixed(2)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} m ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
  return `${Math.floor(m / 60)} h ${String(m % 60).padStart(2, "0")} m`;
}

const LOCAL = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

/** Returns a time in the reader's time zone and format. */
export function moment(ms) {
  return Number.isFinite(ms) ? LOCAL.format(ms) : "";
}
