// Uses a server by the types that openapi-typescript makes of its description: creates a graph, runs it, lists runs.
// The server's address is the only argument.

import createClient from "openapi-fetch";
import type { components, paths } from "./heddle.js";

type Schemas = components["schemas"];

const heddle = createClient<paths>({ baseUrl: process.argv[2] ?? "http://127.0.0.1:8000" });

/** What was answered, unless it is a problem. */
function must<T>(answer: { data?: T; error?: Schemas["Problem"] }): NonNullable<T> {
  if (answer.error !== undefined) throw new Error(`${answer.error.type}: ${answer.error.detail}`);
  if (answer.data === undefined || answer.data === null) throw new Error("there was no answer");
  return answer.data;
}

const definition: Schemas["GraphDefinition"] = {
  name: "from-typescript",
  nodes: {
    extract: {},
    again: { uses: "starter/analyze", retry: { attempts: 2, backoff: "1s" } },
  },
  edges: { extract: [{ when: "size(state.input) > 0", to: "again" }, { to: "end" }] },
};
const created = must(await heddle.POST("/v1/graphs", { body: definition }));

const run = must(
  await heddle.POST("/v1/runs", {
    params: { query: { wait: "30s" }, header: { "idempotency-key": `typescript-${process.pid}` } },
    body: { graph: created.graph_id, state: { input: "some data" }, priority: 1 },
  }),
);
const status: Schemas["RunStatus"] = run.status;
if (status !== "finished" || run.priority !== 1) throw new Error(`the run is ${status}: ${JSON.stringify(run.error)}`);
const input: unknown = run.state["input"];
if (input !== "some data") throw new Error(`the state has ${JSON.stringify(input)}`);

const page = must(await heddle.GET("/v1/runs", { params: { query: { status: ["finished"], page_size: 500 } } }));
if (!page.runs.some((other) => other.run_id === run.run_id)) throw new Error("the run is not listed");

const path = { run_id: run.run_id };
const events = must(await heddle.GET("/v1/runs/{run_id}/events", { params: { path, query: { limit: 1000 } } }));
if (typeof events === "string") throw new Error("a page of events was asked for");
const last: Schemas["Event"] | undefined = events.events.at(-1);
if (last?.type !== "run_finished") throw new Error(`the last event is ${last?.type}`);

const missing = await heddle.GET("/v1/runs/{run_id}", {
  params: { path: { run_id: "018f0000-0000-7000-8000-000000000000" } },
});
if (missing.error?.type !== "urn:heddle:problem:no-such-run") throw new Error("a run is there that nobody started");

console.log(`run ${run.run_id} is ${status} after ${events.events.length} events`);
