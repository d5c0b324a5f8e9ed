// Requests to the server.

import { parse } from "./json.js";

/** Returns the text at a path; null if the request fails. */
export async function getText(path, accept = "application/json") {
  try {
    const response = await fetch(path, { headers: { accept } });
    return response.ok ? await response.text() : null;
  } catch {
    return null;
  }
}

/** Returns the JSON at a path, with exact numbers; null if the request fails. */
export async function get(path) {
  const text = await getText(path);
  return text === null ? null : parse(text);
}

/** Sends JSON. Returns `{ answer }`, or `{ problem }` with a message. */
export async function send(path, body = "{}", key = null) {
  const headers = { "content-type": "application/json" };
  if (key) headers["idempotency-key"] = key;
  try {
    const response = await fetch(path, { method: "POST", headers, body });
    const text = await response.text();
    if (response.ok) return { answer: text === "" ? null : parse(text) };
    return { problem: problemOf(text) ?? `the server responded with status ${response.status}` };
  } catch {
    return { problem: "the server does not respond" };
  }
}

/** Returns the detail of a problem (RFC 9457). */
function problemOf(text) {
  try {
    return JSON.parse(text).detail;
  } catch {
    return undefined;
  }
}
