// The functions of the engine. In a component, `guest.js` sets them. Elsewhere, tools of the same
// program can be called, log lines go to the console, and chunks nowhere.

import { permanent } from "./errors.js";
import { functions, runTool } from "./functions.js";

export const host = {
  log: (level, message) => console.error(`${level}: ${message}`),
  emit: () => {},
  callTool: (name, input) => {
    const plain = name.split("/").at(-1);
    if (functions.get(plain)?.kind !== "tool") throw permanent(`there is no tool \`${name}\` in this test`);
    return runTool(plain, input);
  },
};
