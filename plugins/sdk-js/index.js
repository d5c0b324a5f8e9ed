// Write Heddle plugins in JavaScript.
//
//     import { node, log } from "heddle-plugin";
//
//     node({
//       name: "extract",
//       summary: "Finds the words of `input`.",
//       input: { type: "object", properties: { input: { type: "string" } }, required: ["input"] },
//     }, (state) => {
//       log.info(`${state.input.length} characters`);
//       return { words: state.input.split(/\s+/) };
//     });
//
// `build.mjs` makes the component. In Node.js the functions are ordinary ones, and `heddle-plugin/testing` calls them as
// the engine does.

import { permanent } from "./errors.js";
import { toText } from "./functions.js";
import { host } from "./platform.js";

export { Failure, invalidInput, permanent, retryable } from "./errors.js";
export { again, end, goto, node, tool } from "./functions.js";

/** Writes to the run's journal. `console` does the same. */
export const log = {
  trace: (message) => host.log("trace", String(message)),
  debug: (message) => host.log("debug", String(message)),
  info: (message) => host.log("info", String(message)),
  warn: (message) => host.log("warn", String(message)),
  error: (message) => host.log("error", String(message)),
};

/** Sends a chunk of output (a token, progress) to the run's current watchers. It is not stored. */
export function emit(chunk) {
  host.emit(toText(chunk, "a chunk of output"));
}

/**
 * Calls a tool of any registered plugin: `plugin/tool`, or `tool` if only one plugin has it. The tool's failure is
 * thrown unchanged: a retryable failure stays retryable.
 */
export function callTool(name, input) {
  const answer = host.callTool(name, toText(input, `the input of \`${name}\``));
  try {
    return JSON.parse(answer);
  } catch (error) {
    throw permanent(`\`${name}\` returned a result that is not JSON: ${error.message}`);
  }
}
