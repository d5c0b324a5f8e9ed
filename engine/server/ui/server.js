// What the page asks of the server.

import { parse } from "./json.js";

/** The text that a path answers; null where it does not. */
export async function getText(path, accept = "application/json") {
  try {
    const response = await fetch(path, { headers: { accept } });
    return response.ok ? await response.text() : null;
  } catch {
    return null;
  }
}

/** The JSON that a path answers, its numbers exact; null where it does not. */
export async function get(path) {
  const text = await getText(path);
  return text === null ? null : parse(text);
}

/** Sends JSON. Gives the answer, or what the problem is. */
export async function send(path, body = "{}", key = null) {
  const headers = { "content-type": "application/json" };
  if (key) headers["idempotency-key"] = key;
  try {
    const response = await fetch(path, { method: "POST", headers, body });
    const text = await response.text();
    if (response.ok) return { answer: text === "" ? null : parse(text) };
    return { problem: problemOf(text) ?? `the server answered ${response.status}` };
  } catch {
    return { problem: "the server does not answer" };
  }
}

/** What a problem says (RFC 9457). */
function problemOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}
