// The plugin inside the engine: the component's exports.

import engine from "heddle:plugin/host@0.1.0";

import { Failure, permanent } from "./errors.js";
import { functions, runNode, runTool, toText } from "./functions.js";
import { host } from "./platform.js";

const KINDS = ["retryable", "permanent", "invalid-input"];

export const node = {
  describe: () => described("node"),
  run: (call) =>
    answered(call.context.idempotencyKey, () => {
      const outcome = runNode(call.function, call.state, call.config, call.context);
      return { update: outcome.update, route: outcome.route };
    }),
};

export const tool = {
  describe: () => described("tool"),
  call: (name, input) => answered(`${Date.now()} ${name} ${input}`, () => runTool(name, input)),
};

Object.assign(host, {
  // While the component is built there is no engine, so log lines of modules that are loaded then are dropped.
  log: () => {},
  emit: () => {},
  callTool: () => {
    throw permanent("a tool can only be called in a call, not while the module is loaded");
  },
});

function connect() {
  host.log = (level, message) => engine.log(level, message);
  host.emit = (chunk) => engine.emit(chunk);
  host.callTool = (name, input) => {
    try {
      return engine.callTool(name, input);
    } catch (error) {
      const failure = KINDS.includes(error?.tag) ? error : error?.payload;
      if (!KINDS.includes(failure?.tag)) throw error;
      const { message, data } = failure.val;
      throw new Failure(failure.tag, message, data == null ? undefined : JSON.parse(data));
    }
  };
}

const written = (level) => (...values) => host.log(level, values.map(shown).join(" "));

globalThis.console = {
  trace: written("trace"),
  debug: written("debug"),
  log: written("info"),
  info: written("info"),
  warn: written("warn"),
  error: written("error"),
};

function shown(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return `${value}\n${value.stack}`;
  return JSON.stringify(value) ?? String(value);
}

function described(kind) {
  return [...functions.values()]
    .filter((of) => of.kind === kind)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((of) => ({
      name: of.name,
      kind,
      summary: of.summary ?? "",
      input: schema(of, of.input),
      output: schema(of, of.output),
      config: of.config === undefined ? null : toText(of.config, `the config of \`${of.name}\``),
      hints: { readOnly: Boolean(of.readOnly), idempotent: Boolean(of.idempotent) },
      routes: of.routes ?? [],
    }));
}

function schema(of, given) {
  return toText(given ?? (of.kind === "node" ? { type: "object" } : {}), `a schema of \`${of.name}\``);
}

// Calls a function, and converts its errors to failures of the contract.
function answered(key, call) {
  connect();
  Math.random = randomness(key);
  try {
    return call();
  } catch (error) {
    let failure = error;
    if (!(error instanceof Failure)) {
      const stack = String(error?.stack ?? "").trimEnd();
      host.log("error", `${error}\n${stack}`);
      failure = permanent(String(error));
    }
    const data = failure.data === undefined ? null : toText(failure.data, "the data of a failure");
    throw { tag: failure.kind, val: { message: failure.message, data } };
  }
}

// The interpreter was started when the component was built, so its own generator would go on from a seed of the build.
// This one begins with the call's key: another for every step, the same for every attempt of one. (Mulberry32, seeded
// with FNV-1a. It is not a source of secrets.)
function randomness(key) {
  let seed = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) seed = Math.imul(seed ^ key.charCodeAt(at), 0x01000193);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
