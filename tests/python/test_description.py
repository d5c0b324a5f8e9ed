"""`/openapi.json` is complete enough to generate clients, and the server keeps to it for every request.

Two generators make clients, which are compiled or imported and used. Schemathesis sends valid and invalid requests.
The test starts the real binary, as `test_original_readme.py` does. Its settings are in `tests/clients`. It writes to the
folder `HEDDLE_CLIENTS`, where xtask has put the packages of `tests/clients/package.json`.
"""

import importlib
import json
import os
import pathlib
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import unittest

import requests

from server import TIMEOUT, Server, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = ROOT / "tests" / "clients"
# The samples whose graphs the demo has, too.
SAMPLES = ("starter", "code-review", "data-quality", "summarize")
# How long a generator, a compiler or a client may take, in seconds, and Schemathesis.
TOOL_TIMEOUT = 120
SCHEMATHESIS_TIMEOUT = 300
METHODS = ("get", "put", "post", "delete")


def run(*command, timeout=TOOL_TIMEOUT, **options):
    """Runs a program and gives its exit code and what it wrote."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=timeout,
        **options,
    )
    return done.returncode, done.stdout


def tool(name):
    """A program of the packages that are installed beside this Python."""
    return pathlib.Path(sys.executable).parent / name


class Description(unittest.TestCase):
    """Clients that are generated of the description, and what Schemathesis makes of it."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="heddle-description-")
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(folder.name, "--cache", ROOT / "target" / "test-cache", "--grant-over-http")
        cls.addClassCleanup(cls.server.stop)
        cls.url = f"http://{cls.server.address}"
        for sample in SAMPLES:
            graph = json.loads((ROOT / "plugins" / sample / "graph.json").read_text("utf-8"))
            requests.post(f"{cls.url}/v1/graphs", json=graph, timeout=TIMEOUT).raise_for_status()
        cls.folder = pathlib.Path(os.environ["HEDDLE_CLIENTS"])
        cls.description = cls.folder / "openapi.json"
        answer = requests.get(f"{cls.url}/openapi.json", timeout=TIMEOUT)
        answer.raise_for_status()
        cls.description.write_text(answer.text, "utf-8")
        cls.paths = answer.json()["paths"]

    def ok(self, *command, **options):
        """Runs a program that must succeed, and returns its output."""
        code, output = run(*command, **options)
        self.assertEqual(code, 0, output)
        return output

    def test_a_client_in_typescript_compiles_and_works(self):
        modules = self.folder / "node_modules"
        for name in ("client.ts", "tsconfig.json"):
            shutil.copy(SETTINGS / name, self.folder / name)
        self.ok(
            "node", modules / "openapi-typescript" / "bin" / "cli.js", self.description, "-o", self.folder / "heddle.d.ts"
        )
        self.ok("node", modules / "typescript" / "bin" / "tsc", "-p", self.folder)
        self.assertIn("is finished", self.ok("node", self.folder / "built" / "client.js", self.url))

    def test_a_client_in_python_covers_every_route_and_works(self):
        package = self.folder / "heddle_client"
        shutil.rmtree(package, ignore_errors=True)
        generate = [tool("openapi-python-client"), "generate", "--path", self.description, "--meta", "none"]
        generate += ["--output-path", package, "--config", SETTINGS / "openapi-python-client.yaml"]
        # What it does not understand it leaves out with a warning: of an import the JSON lines, which it sends as bytes.
        warnings = [line for line in self.ok(*generate).splitlines() if line.startswith("WARNING")]
        self.assertEqual([line for line in warnings if "POST /v1/runs:import" not in line], [])

        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))
        client = importlib.import_module("heddle_client")
        modules = [module.name for module in pkgutil.walk_packages(client.__path__, "heddle_client.")]
        endpoints = set()
        for name in modules:
            module = importlib.import_module(name)
            if hasattr(module, "sync_detailed"):
                endpoints.add(name.rsplit(".", 1)[1])
        described = {
            operation["operationId"] for path in self.paths.values() for key, operation in path.items() if key in METHODS
        }
        self.assertEqual(endpoints, described)
        environment = {**os.environ, "PYTHONPATH": str(self.folder)}
        self.assertIn("is finished", self.ok(sys.executable, SETTINGS / "client.py", self.url, env=environment))

    def test_schemathesis_finds_nothing(self):
        # The test deletes what it finds, so it gets a separate server.
        strict = self.folder / "strict.json"
        described = json.loads(self.description.read_text("utf-8"))
        for operation in (operation for path in described["paths"].values() for operation in path.values()):
            # With it, every status would be described.
            operation["responses"].pop("default")
        strict.write_text(json.dumps(described), "utf-8")
        with tempfile.TemporaryDirectory(prefix="heddle-schemathesis-") as folder:
            server = Server(folder, "--cache", ROOT / "target" / "test-cache", "--grant-over-http")
            try:
                for sample in SAMPLES:
                    graph = json.loads((ROOT / "plugins" / sample / "graph.json").read_text("utf-8"))
                    url = f"http://{server.address}/v1/graphs"
                    requests.post(url, json=graph, timeout=TIMEOUT).raise_for_status()
                code, output = run(
                    tool("schemathesis"),
                    "--config-file",
                    SETTINGS / "schemathesis.toml",
                    "run",
                    strict,
                    "--url",
                    f"http://{server.address}",
                    timeout=SCHEMATHESIS_TIMEOUT,
                    cwd=folder,
                )
            finally:
                stopped = server.stop()
        log = "".join(server.log)
        self.assertEqual(code, 0, output)
        self.assertEqual(stopped, 0, log)
        self.assertNotIn("a request handler panicked", log)
        print(output[output.rfind("Test cases:") :], flush=True)


if __name__ == "__main__":
    sys.exit(main(Description))
