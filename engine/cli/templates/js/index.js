// The plugin's functions. It can be TypeScript as well: name the file index.ts.

import { invalidInput, log, node } from "heddle-plugin";

node(
  {
    name: "greet",
    summary: "Greets whom the state names.",
    input: {
      type: "object",
      properties: { name: { type: "string", description: "Whom to greet." } },
      required: ["name"],
    },
    output: { type: "object", properties: { greeting: { type: "string" } }, required: ["greeting"] },
    config: { type: "object", properties: { greeting: { type: "string", default: "Hello" } } },
    readOnly: true,
    idempotent: true,
  },
  (state, call) => {
    if (!state.name) throw invalidInput("there is nobody to greet: `name` is empty");
    log.info(`greeting ${state.name}`);
    return { greeting: `${call.config?.greeting ?? "Hello"}, ${state.name}!` };
  },
);
