// What a run waits for, with a form for each signal.

import { moment } from "./rows.js";
import { send } from "./server.js";

const DEPTH = 4; // how deep a payload is prefilled

/** Shows the waits in a list; a form that is there already is left as it is. */
export function showWaits(list, run, waits) {
  const there = new Map([...list.children].map((item) => [item.key, item]));
  const wanted = new Map(waits.map((wait) => [`${run} ${wait.step}`, wait]));
  for (const [key, item] of there) if (!wanted.has(key)) item.remove();
  for (const [key, wait] of wanted) {
    if (there.has(key)) continue;
    const item = list.appendChild(document.createElement("li"));
    item.key = key;
    if (wait.signal === null) {
      item.className = "pause";
      item.append(part("b", place(wait)), ` goes on at ${moment(Date.parse(wait.until))}`);
    } else item.append(form(run, wait));
  }
}

function form(run, wait) {
  const form = document.createElement("form");
  const title = part("p", wait.prompt ?? `Waits for the signal ${wait.signal}`);
  title.className = "prompt";
  const about = document.createElement("p");
  about.className = "note";
  about.append(part("b", place(wait)), " waits for ", part("code", wait.signal));
  if (wait.until) about.append(` until ${moment(Date.parse(wait.until))}`);
  const id = `payload-${wait.step}`;
  const label = part("label", "Payload");
  label.htmlFor = id;
  const text = document.createElement("textarea");
  text.id = id;
  text.spellcheck = false;
  text.value = JSON.stringify(sample(wait.schema, DEPTH), null, 2);
  text.rows = Math.min(8, text.value.split("\n").length);
  const problem = document.createElement("p");
  problem.className = "problem";
  problem.setAttribute("role", "alert");
  problem.hidden = true;
  const button = part("button", "Send");
  button.type = "submit";
  const choices = document.createElement("div");
  choices.className = "choices";
  if (wait.schema) choices.append(hint(wait.schema));
  choices.append(button);
  form.append(title, about, label, text, problem, choices);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const tell = (what) => { problem.textContent = what ?? ""; problem.hidden = what === null; };
    try {
      JSON.parse(text.value);
    } catch (error) {
      tell(`The payload is not JSON: ${error.message}`);
      return;
    }
    button.disabled = true;
    // The text goes as it is written: exact numbers stay exact.
    const body = `{"name": ${JSON.stringify(wait.signal)}, "wait": ${wait.id}, "payload": ${text.value}}`;
    const { problem: refused } = await send(`/v1/runs/${encodeURIComponent(run)}/signal`, body);
    tell(refused ?? null);
    button.disabled = false;
  });
  return form;
}

/** The node, after the items of maps that it is within: `each[2]/ask`. */
function place(wait) {
  const items = [...(wait.outer_items ?? []), ...(wait.item ? [wait.item] : [])];
  return [...items.map((item) => `${item.node}[${item.key ?? item.index}]`), wait.node].join("/");
}

/** The schema, to be opened. */
function hint(schema) {
  const details = document.createElement("details");
  details.append(part("summary", "Schema"), part("pre", JSON.stringify(schema, null, 2)));
  return details;
}

function part(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}

/** A value to begin with, where a schema is simple; it may have to be completed. */
function sample(schema, depth) {
  if (!schema || typeof schema !== "object" || depth === 0) return null;
  for (const [key, of] of [["default", (v) => v], ["const", (v) => v], ["examples", (v) => v[0]], ["enum", (v) => v[0]]]) {
    if (schema[key] !== undefined) return of(schema[key]);
  }
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type ?? (schema.properties ? "object" : undefined);
  switch (type) {
    case "object": {
      const all = Object.entries(schema.properties ?? {});
      const needed = all.filter(([name]) => schema.required?.includes(name));
      return Object.fromEntries((needed.length > 0 ? needed : all).map(([name, inner]) => [name, sample(inner, depth - 1)]));
    }
    case "array": return [];
    case "string": return "";
    case "boolean": return false;
    case "integer":
    case "number": return schema.minimum ?? 0;
    default: return null;
  }
}
