// The types of the SDK, for editors and for plugins in TypeScript.

/** A JSON Schema. */
export type Schema = Record<string, unknown> | boolean;

/** The description of a function. */
export interface Description {
  /** Unique within the plugin: letters, digits, `_`, `-` and `.`. Default: the function's own name. */
  name?: string;
  /** The summary, in one line. */
  summary?: string;
  /** The schema of the input: the keys of the state that it reads, or a tool's input. */
  input?: Schema;
  /** The schema of the output: the keys that it updates, or a tool's result. */
  output?: Schema;
  /** Whether the function has no side effects. */
  readOnly?: boolean;
  /** Whether another call with the same input has no further effect. */
  idempotent?: boolean;
}

export interface NodeDescription extends Description {
  /** The node's `config`, for a function that reads one. */
  config?: Schema;
  /** Every node that it may go to. */
  routes?: string[];
}

/** The context of a node function's call. */
export interface Call<Config = unknown> {
  /** The `config` of the node in the graph; `null` if absent. */
  config: Config;
  /** The id of the run, a UUID. */
  runId: string;
  /** The node of the step. */
  node: string;
  /** The number of this step in its run, from 1. */
  step: number;
  /** The number of this attempt of the step, from 1. */
  attempt: number;
  /** The same for every attempt of one step, and for no other step. */
  idempotencyKey: string;
}

/** An update of the state with a route, as `goto`, `again` and `end` make it. */
export interface Outcome<Update = object> {
  readonly update: Update | undefined;
}

export function node<State, Update extends object | void, Config = unknown>(
  description: NodeDescription,
  body: (state: State, call: Call<Config>) => Update | Outcome<Update>,
): typeof body;
export function tool<Input, Result>(description: Description, body: (input: Input) => Result): typeof body;

export function goto<Update>(nodes: string | string[], update?: Update): Outcome<Update>;
export function again<Update>(update?: Update): Outcome<Update>;
export function end<Update>(update?: Update): Outcome<Update>;

export class Failure extends Error {
  readonly kind: "retryable" | "permanent" | "invalid-input";
  readonly data: unknown;
}
export function retryable(message: string, data?: unknown): Failure;
export function permanent(message: string, data?: unknown): Failure;
export function invalidInput(message: string, data?: unknown): Failure;

export const log: Record<"trace" | "debug" | "info" | "warn" | "error", (message: string) => void>;
export function emit(chunk: unknown): void;
export function callTool<Result = unknown>(name: string, input: unknown): Result;
