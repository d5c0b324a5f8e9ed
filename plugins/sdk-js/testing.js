// Calls the functions of a plugin as the engine does, from JSON to JSON, in Node.js.

import { runNode, runTool } from "./functions.js";

/** Runs a node function: its update, and its route as the contract writes it. */
export function run(name, state, config = null, context = {}) {
  const call = { runId: "", node: "", step: 1, attempt: 1, idempotencyKey: "", ...context };
  const outcome = runNode(name, JSON.stringify(state), JSON.stringify(config), call);
  return { update: JSON.parse(outcome.update), route: outcome.route };
}

/** Calls a tool. */
export function call(name, input) {
  return JSON.parse(runTool(name, JSON.stringify(input)));
}
