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

/** Writes into the run's journal. `console` goes there, too. */
export const log = {
  trace: (message) => host.log("trace", String(message)),
  debug: (message) => host.log("debug", String(message)),
  info: (message) => host.log("info", String(message)),
  warn: (message) => host.log("warn", String(message)),
  error: (message) => host.log("error", String(message)),
};

/** Sends a chunk of output (a token, progress) to whoever watches the run at this moment. It is not kept. */
export function emit(chunk) {
  host.emit(toText(chunk, "a chunk of output"));
}

/**
 * Calls a tool of any registered plugin: `plugin/tool`, or `tool` where only one plugin has it. The callee's failure comes
 * back as it was: what it called retryable stays retryable.
 */
export function callTool(name, input) {
  const answer = host.callTool(name, toText(input, `the input of \`${name}\``));
  try {
    return JSON.parse(answer);
  } catch (error) {
    throw permanent(`\`${name}\` answered with what is not JSON: ${error.message}`);
  }
}
