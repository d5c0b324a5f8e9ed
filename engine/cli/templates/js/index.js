// The functions of the plugin. For TypeScript, name this file index.ts.

import { invalidInput, log, node } from "heddle-plugin";

node(
  {
    name: "greet",
    summary: "Greets the name in the state.",
    input: {
      type: "object",
      properties: { name: { type: "string", description: "The name to greet." } },
      required: ["name"],
    },
    output: { type: "object", properties: { greeting: { type: "string" } }, required: ["greeting"] },
    config: { type: "object", properties: { greeting: { type: "string", default: "Hello" } } },
    readOnly: true,
    idempotent: true,
  },
  (state, call) => {
    if (!state.name) throw invalidInput("`name` is empty");
    log.info(`greeting ${state.name}`);
    return { greeting: `${call.config?.greeting ?? "Hello"}, ${state.name}!` };
  },
);
