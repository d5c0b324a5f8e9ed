// A small template language in the style of Mustache: `{{path.to.value}}`, `{{#list}}...{{/list}}` for each item, and
// `{{^list}}...{{/list}}` if there is none. `{{.}}` is the item itself. Nothing is escaped: the result is plain text.

import { invalidInput } from "heddle-plugin";

/** The deepest nesting of sections. */
const MAX_DEPTH = 32;

/** Fills a template with the values in `data`. */
export function fill(template, data) {
  const { nodes } = parse(template, 0, null, 0);
  return write(nodes, [data]);
}

function parse(template, from, within, depth) {
  if (depth > MAX_DEPTH) throw invalidInput(`the template nests sections deeper than ${MAX_DEPTH}`);
  const nodes = [];
  for (let at = from; ; ) {
    const open = template.indexOf("{{", at);
    if (open < 0) {
      if (within) throw invalidInput(`the template does not close its section \`${within}\`: add {{/${within}}}`);
      nodes.push(template.slice(at));
      return { nodes, at: template.length };
    }
    const close = template.indexOf("}}", open);
    if (close < 0) throw invalidInput(`the template opens "{{" at ${open} and does not close it`);
    nodes.push(template.slice(at, open));
    const [, sign, path] = /^\s*([#^/]?)\s*(.*?)\s*$/s.exec(template.slice(open + 2, close));
    at = close + 2;
    if (sign === "/") {
      if (path !== within) throw invalidInput(`the template closes \`${path}\` where ${within ? `\`${within}\`` : "nothing"} is open`);
      return { nodes, at };
    }
    if (sign) {
      const inner = parse(template, at, path, depth + 1);
      nodes.push({ path, inverted: sign === "^", nodes: inner.nodes });
      at = inner.at;
    } else {
      nodes.push({ path });
    }
  }
}

function write(nodes, scopes) {
  return nodes.map((node) => (typeof node === "string" ? node : writeNode(node, scopes))).join("");
}

function writeNode(node, scopes) {
  const value = find(node.path, scopes);
  if (!node.nodes) return shown(value);
  const items = Array.isArray(value) ? value : value == null || value === false ? [] : [value];
  if (node.inverted) return items.length ? "" : write(node.nodes, scopes);
  return items.map((item) => write(node.nodes, [item, ...scopes])).join("");
}

function find(path, scopes) {
  if (path === ".") return scopes[0];
  const [first, ...rest] = path.split(".");
  const scope = scopes.find((scope) => has(scope, first));
  return rest.reduce((value, key) => (has(value, key) ? value[key] : undefined), scope?.[first]);
}

// An object's own property: `constructor` and similar names are not part of the data.
function has(value, key) {
  return value !== null && typeof value === "object" && Object.hasOwn(value, key);
}

function shown(value) {
  if (value == null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
