// The types of `heddle-plugin/testing`.

import type { Call } from "./index.js";

export type Route = { tag: "edges" | "again" | "end" } | { tag: "goto"; val: string[] };

export function run(
  name: string,
  state: object,
  config?: unknown,
  call?: Partial<Call>,
): { update: Record<string, unknown>; route: Route };
export function call(name: string, input: unknown): unknown;
