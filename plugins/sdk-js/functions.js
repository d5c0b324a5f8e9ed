// The functions of a plugin: what `node` and `tool` register, and how each is called from JSON to JSON.

import { permanent } from "./errors.js";

export const functions = new Map();

/** Makes a node function: the state in, an update of it out. */
export function node(description, body) {
  return register("node", description, body);
}

/** Makes a tool: one JSON value in, one out. */
export function tool(description, body) {
  return register("tool", description, body);
}

const KEYS = ["name", "summary", "input", "output", "config", "routes", "readOnly", "idempotent"];

function register(kind, description, body) {
  if (typeof body !== "function") throw new TypeError(`${kind}(description, function): the function is missing`);
  const name = description.name ?? body.name;
  if (!name) throw new TypeError(`a ${kind} has no name: write ${kind}({ name: "..." }, ...)`);
  const unknown = Object.keys(description).find((key) => !KEYS.includes(key));
  if (unknown) throw new TypeError(`\`${name}\` has an unknown key "${unknown}"; the keys are ${KEYS.join(", ")}`);
  if (functions.has(name)) throw new TypeError(`there are two functions \`${name}\`: give one another name`);
  functions.set(name, { ...description, name, kind, body });
  return body;
}

/** The route of a run after a step. */
class Outcome {
  constructor(route, update) {
    this.route = route;
    this.update = update;
  }
}

/** To these nodes, in parallel if there are several; the function's `routes` must list them. */
export const goto = (nodes, update) => new Outcome({ tag: "goto", val: [nodes].flat() }, update);

/** To the same node again. */
export const again = (update) => new Outcome({ tag: "again" }, update);

/** To the end. */
export const end = (update) => new Outcome({ tag: "end" }, update);

/** The function with this name. */
export function find(kind, name) {
  const found = functions.get(name);
  if (found?.kind === kind) return found;
  const has = [...functions.values()].filter((of) => of.kind === kind).map((of) => `\`${of.name}\``);
  throw permanent(`this plugin has no ${kind} \`${name}\`; it has ${has.join(", ") || "none"}`);
}

/** Runs a node function, JSON text in; the update is JSON text. */
export function runNode(name, state, config, context) {
  const found = find("node", name);
  const answer = settled(name, found.body(JSON.parse(state), { ...context, config: JSON.parse(config) }));
  const outcome = answer instanceof Outcome ? answer : new Outcome({ tag: "edges" }, answer);
  const update = outcome.update ?? {};
  if (typeof update !== "object" || Array.isArray(update)) {
    throw permanent(
      `\`${name}\` must return an object with the keys of the state that change, and returned ${shown(update)}`,
    );
  }
  return { update: toText(update, `the update of \`${name}\``), route: outcome.route };
}

/** Calls a tool, JSON text in and out. */
export function runTool(name, input) {
  const answer = settled(name, find("tool", name).body(JSON.parse(input)));
  return toText(answer, `the result of \`${name}\``);
}

/** The value as JSON text; an error names `what`. */
export function toText(value, what) {
  try {
    return JSON.stringify(value ?? null) ?? "null";
  } catch (error) {
    throw permanent(`${what} cannot be JSON: ${error.message}`);
  }
}

// A call ends when its function returns, so a promise would never be settled.
function settled(name, answer) {
  if (typeof answer?.then !== "function") return answer;
  throw permanent(`\`${name}\` is async, but functions of plugins are synchronous: write it without async`);
}

function shown(value) {
  const text = String(JSON.stringify(value));
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}
