// Tests of the SDK in Node.js: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { again, callTool, end, goto, invalidInput, node, retryable, tool } from "./index.js";
import { call, run } from "./testing.js";

tool({ name: "double", summary: "Doubles." }, (number) => 2 * number);
tool({ name: "fails" }, () => {
  throw retryable("not now", { after: 1 });
});
node({ name: "grow", routes: ["big"] }, (state, { config, step }) => {
  const n = callTool("numbers/double", state.n) + (config?.more ?? 0);
  return n > 9 ? goto("big", { n }) : { n, step };
});

test("a node function gives an update and a route", () => {
  assert.deepEqual(run("grow", { n: 2 }), { update: { n: 4, step: 1 }, route: { tag: "edges" } });
  assert.deepEqual(run("grow", { n: 2 }, { more: 8 }), { update: { n: 12 }, route: { tag: "goto", val: ["big"] } });
  node({ name: "stay" }, () => again());
  assert.deepEqual(run("stay", {}), { update: {}, route: { tag: "again" } });
  node({ name: "stop" }, () => end({ done: true }));
  assert.deepEqual(run("stop", {}), { update: { done: true }, route: { tag: "end" } });
});

test("a failure keeps its kind and its data", () => {
  assert.throws(() => call("fails", null), { kind: "retryable", message: "not now", data: { after: 1 } });
  assert.equal(invalidInput("no").kind, "invalid-input");
});

test("what a function cannot be is refused at once", () => {
  assert.throws(() => tool({ name: "double" }, () => 1), /two functions `double`/);
  assert.throws(() => tool({ name: "odd", inputs: {} }, () => 1), /an unknown key "inputs"/);
  assert.throws(() => tool({}, () => 1), /has no name/);
  assert.throws(() => tool({ name: "none" }), /the function is missing/);
});

test("an answer must be JSON, an update an object, and nothing a promise", () => {
  node({ name: "list" }, () => [1]);
  assert.throws(() => run("list", {}), /must return an object.*\[1\]/);
  tool({ name: "big" }, () => 1n);
  assert.throws(() => call("big", null), /the result of `big` cannot be JSON/);
  tool({ name: "later" }, async () => 1);
  assert.throws(() => call("later", null), /is async/);
  assert.throws(() => call("nothing", null), /no tool `nothing`; it has `double`/);
});
