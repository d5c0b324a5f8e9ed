// Parses JSON with exact numbers, and shows it indented, coloured and cut if it is very long.

const COLOURED = 60_000; // characters; longer text is not coloured
const SHOWN = 400_000; // characters; longer text is cut, and complete only in the clipboard

/** A number whose text JavaScript would change: a large integer, or one with trailing zeros. */
class Exact {
  constructor(text) { this.text = text; }
}

/** Parses JSON and keeps the text of numbers that JavaScript would change. */
export function parse(text) {
  if (!/\d{16}|\.\d*0(?!\d)|\d[eE]/.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && context?.source && context.source !== String(value) ? new Exact(context.source) : value);
}

/** Returns the text of a value, on several lines if `indent` is given. */
export function print(value, indent = "") {
  const out = [];
  write(value, indent, "", out);
  return out.join("");
}

function write(value, indent, margin, out) {
  if (value instanceof Exact) { out.push(value.text); return; }
  if (value === null || typeof value !== "object") { out.push(JSON.stringify(value)); return; }
  const list = Array.isArray(value);
  const items = list ? value : Object.keys(value);
  if (items.length === 0) { out.push(list ? "[]" : "{}"); return; }
  // A list of short simple values is on one line.
  const plain = list && items.length <= 12 && items.every((item) => item === null || typeof item !== "object" || item instanceof Exact);
  const inline = indent === "" || (plain && items.every((item) => typeof item !== "string" || item.length < 24) && items.length <= 12);
  const inner = margin + indent;
  const join = inline ? ", " : ",\n" + inner;
  out.push(list ? "[" : "{", inline ? "" : "\n" + inner);
  items.forEach((item, position) => {
    if (position > 0) out.push(join);
    if (list) write(item, indent, inner, out);
    else { out.push(JSON.stringify(item), ": "); write(value[item], indent, inner, out); }
  });
  out.push(inline ? "" : "\n" + margin, list ? "]" : "}");
}

/** Returns a value as one short line. */
export function brief(value, length = 120) {
  if (typeof value === "string") return JSON.stringify(value.length > length ? value.slice(0, length) + "…" : value);
  if (Array.isArray(value) && value.length > 6) return `${value.length.toLocaleString()} items`;
  if (value && typeof value === "object" && !(value instanceof Exact)) {
    const keys = Object.keys(value);
    if (keys.length > 6) return `${keys.length.toLocaleString()} keys`;
    if (!Array.isArray(value)) return "{" + keys.join(", ") + "}";
    if (value.some((item) => item && typeof item === "object")) return value.length === 1 ? "1 item" : `${value.length} items`;
  }
  const text = print(value);
  return text.length > length ? text.slice(0, length) + "…" : text;
}

/** Returns an element that shows a value. */
export function show(value) {
  const element = document.createElement("div");
  element.className = "json";
  let text = print(value, "  ");
  const left = text.length - SHOWN;
  if (left > 0) text = text.slice(0, SHOWN);
  if (text.length > COLOURED) element.textContent = text;
  else element.append(colour(text));
  if (left > 0) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `… and ${left.toLocaleString()} more characters`;
    element.append(note);
  }
  return element;
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*)|(true|false|null)/g;

function colour(text) {
  const fragment = document.createDocumentFragment();
  let done = 0;
  const span = (kind, part) => {
    const element = document.createElement("span");
    element.className = kind;
    element.textContent = part;
    fragment.append(element);
  };
  for (const match of text.matchAll(TOKEN)) {
    fragment.append(text.slice(done, match.index));
    if (match[1]) {
      span(match[2] ? "k" : "s", match[1]);
      if (match[2]) fragment.append(match[2]);
    } else span(match[3] ? "n" : "w", match[0]);
    done = match.index + match[0].length;
  }
  fragment.append(text.slice(done));
  return fragment;
}
