// The waits of a run, with a form for each signal.

import { moment } from "./rows.js";
import { send } from "./server.js";

const DEPTH = 4; // levels of a payload that are prefilled

/** Shows the waits in a list. Existing forms are not changed. */
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
      item.append(part("b", place(wait)), ` continues at ${moment(Date.parse(wait.until))}`);
    } else item.append(form(run, wait));
  }
}

function form(run, wait) {
  const form = document.createElement("form");
  const title = part("p", wait.prompt ?? `Waiting for signal ${wait.signal}`);
  title.className = "prompt";
  const about = document.createElement("p");
  about.className = "note";
  about.append(part("b", place(wait)), " waits for signal ", part("code", wait.signal));
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
    const showProblem = (text) => { problem.textContent = text ?? ""; problem.hidden = text === null; };
    try {
      JSON.parse(text.value);
    } catch (error) {
      showProblem(`The payload is not JSON: ${error.message}`);
      return;
    }
    button.disabled = true;
    // The text is sent unchanged, so that numbers stay exact.
    const body = `{"name": ${JSON.stringify(wait.signal)}, "wait": ${wait.id}, "payload": ${text.value}}`;
    const { problem: refused } = await send(`/v1/runs/${encodeURIComponent(run)}/signal`, body);
    showProblem(refused ?? null);
    button.disabled = false;
  });
  return form;
}

/** Returns the node with the map items that contain it, such as `each[2]/ask`. */
function place(wait) {
  const items = [...(wait.outer_items ?? []), ...(wait.item ? [wait.item] : [])];
  return [...items.map((item) => `${item.node}[${item.key ?? item.index}]`), wait.node].join("/");
}

/** Returns an element that shows the schema when it is opened. */
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

/** Returns a sample value for a simple schema. It may be incomplete. */
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
