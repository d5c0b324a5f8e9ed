#!/usr/bin/env node
// Builds the JavaScript plugin in a folder: `node build.mjs [FOLDER] [-o OUT]`, the folder being this one by default.
//
// The folder holds `package.json`, which names the plugin and its version, and `index.js` or `index.ts` (or what `main`
// says) with its functions. What it needs (esbuild, and the QuickJS that jco uses, as `package-lock.json` beside this file
// pins them) is installed once, into the folder `.tools` of the project or wherever HEDDLE_TOOLS says. The component is
// `build/NAME.wasm`.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SDK = dirname(fileURLToPath(import.meta.url));
// The contract, two folders up: the same place in a project and in the repository of Heddle.
const WIT = join(SDK, "..", "..", "wit", "0.1.0");

if (Number(process.versions.node.split(".")[0]) < 18) {
  fail(`Node.js 18 or newer is needed to build a plugin; this is ${process.versions.node}`);
}
const { folder, output } = given(process.argv.slice(2));
const plugin = identity();
const load = installed();
const bundled = await bundle();
const component = await componentize();
const out = resolve(output ?? join(folder, "build", `${plugin.name}.wasm`));
mkdirSync(dirname(out), { recursive: true });
writeFileSync(`${out}.part`, component);
renameSync(`${out}.part`, out);
console.log(`${out}: ${plugin.name}@${plugin.version}, ${(component.length / 1e6).toFixed(1)} MB`);

function given(words) {
  const at = words.findIndex((word) => word === "-o" || word === "--output");
  const [, output] = at < 0 ? [] : words.splice(at, 2);
  if (words.length > 1 || words.some((word) => word.startsWith("-"))) fail("use: node build.mjs [FOLDER] [-o OUT]");
  return { folder: resolve(words[0] ?? "."), output };
}

function identity() {
  const manifest = join(folder, "package.json");
  if (!existsSync(manifest)) fail(`${folder} holds no plugin: it needs package.json, with its name and version`);
  const { name, version, main } = JSON.parse(readFileSync(manifest, "utf8"));
  if (!name || !version) fail(`${manifest} must have a name and a version, which are the plugin's`);
  const entry = [main, "index.js", "index.ts"].find((file) => file && existsSync(join(folder, file)));
  if (!entry) fail(`${folder} has no index.js or index.ts with the plugin's functions`);
  return { name, version, entry: join(folder, entry) };
}

function installed() {
  const tools = resolve(process.env.HEDDLE_TOOLS || join(folder, ".tools"));
  const wanted = readFileSync(join(SDK, "package-lock.json"), "utf8");
  const stamp = join(tools, "installed.json");
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    console.log(`installing esbuild and QuickJS into ${tools}, once`);
    mkdirSync(tools, { recursive: true });
    for (const file of ["package.json", "package-lock.json"]) copyFileSync(join(SDK, file), join(tools, file));
    const words = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    const npm = spawnSync("npm", words, { cwd: tools, stdio: ["ignore", 2, 2], shell: process.platform === "win32" });
    if (npm.error) fail(`npm could not be started: ${npm.error.message}`);
    if (npm.status) fail(`npm ${words.join(" ")} failed in ${tools}`);
    writeFileSync(stamp, wanted);
  }
  const require = createRequire(pathToFileURL(join(tools, "package.json")));
  return (name) => require(name);
}

// One file of the plugin, the packages that it imports, and the SDK. TypeScript becomes JavaScript on the way.
async function bundle() {
  const entry = `import ${JSON.stringify(plugin.entry)}; export { node, tool } from ${JSON.stringify(join(SDK, "guest.js"))};`;
  const built = await load("esbuild").build({
    stdin: { contents: entry, resolveDir: folder, loader: "js" },
    bundle: true,
    write: false,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    external: ["heddle:*"],
    alias: { "heddle-plugin": join(SDK, "index.js") },
    logLevel: "silent",
  }).catch((error) => fail(error.message));
  return built.outputFiles[0].text;
}

async function componentize() {
  const scratch = mkdtempSync(join(tmpdir(), "heddle-"));
  try {
    const file = join(scratch, "plugin.js");
    writeFileSync(file, bundled);
    const { componentize } = load("componentize-qjs");
    const built = await componentize({
      witPath: WIT,
      jsSource: bundled,
      jsPath: file,
      world: "plugin",
      sync: true,
    });
    return Buffer.concat([built.component, section("heddle-plugin", `${plugin.name}@${plugin.version}`)]);
  } catch (error) {
    return fail(`the plugin did not become a component: ${error.message ?? error}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

// A custom section of a component.
function section(name, text) {
  const body = Buffer.concat([length(Buffer.byteLength(name)), Buffer.from(name + text)]);
  return Buffer.concat([Buffer.from([0]), length(body.length), body]);
}

// A number as LEB128, which WebAssembly writes lengths in.
function length(number) {
  const bytes = [];
  do {
    bytes.push((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
    number >>>= 7;
  } while (number);
  return Buffer.from(bytes);
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
