"""A client that is based only on the original engine's README: four routes, and graphs of named functions.

It starts the real binary, `HEDDLE_BIN`, with the plugins of the folder `HEDDLE_PLUGINS` on a free port and with
a new store. Its last line is `test result: ...`, as Rust's test runner writes it.
"""

import json
import sys
import tempfile
import time
import unittest
import uuid

import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from server import TIMEOUT, Server, main

# How long a client that polls waits between two questions, in seconds.
POLL = 0.02

README_GRAPH = {
    "nodes": {"extract": {}, "analyze": {}},
    "edges": {"extract": "analyze", "analyze": "end"},
}
README_STATE = {"input": "some data"}


class OriginalReadme(unittest.TestCase):
    """What the original README says, request by request."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="heddle-python-")
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(folder.name)

    @classmethod
    def tearDownClass(cls):
        code = cls.server.stop()
        if code != 0:
            raise AssertionError(f"the server ended with {code}; its output:\n" + "".join(cls.server.log))

    def post(self, path, body):
        return requests.post(f"http://{self.server.address}{path}", json=body, timeout=TIMEOUT)

    def create(self, graph):
        """Creates a graph and gives its id."""
        answer = self.post("/graph/create", graph)
        self.assertEqual(answer.status_code, 200, answer.text)
        graph_id = answer.json()["graph_id"]
        self.assertIsInstance(graph_id, str)
        return graph_id

    def start(self, graph, state):
        """Creates a graph, starts a run of it and gives the run's id."""
        answer = self.post("/graph/run", {"graph_id": self.create(graph), "initial_state": state})
        self.assertEqual(answer.status_code, 200, answer.text)
        run_id = answer.json()["run_id"]
        self.assertIsInstance(run_id, str)
        return run_id

    def state(self, run_id):
        return requests.get(f"http://{self.server.address}/graph/state/{run_id}", timeout=TIMEOUT)

    def end(self, run_id):
        """Polls the run's state until the run is finished."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            answer = self.state(run_id)
            self.assertEqual(answer.status_code, 200, answer.text)
            run = answer.json()
            self.assertIsInstance(run["finished"], bool)
            if run["finished"]:
                return run
            time.sleep(POLL)
        self.fail(f"run {run_id} is not finished after {TIMEOUT} s: {run}")

    def watch(self, run_id):
        """Everything that the socket sends, and the code that it closes with."""
        messages = []
        with connect(f"ws://{self.server.address}/ws/logs/{run_id}", open_timeout=TIMEOUT) as socket:
            try:
                while True:
                    messages.append(json.loads(socket.recv(timeout=TIMEOUT)))
            except ConnectionClosed as closed:
                return messages, closed.rcvd.code if closed.rcvd else None

    def test_the_readme_s_graph_runs_to_its_end(self):
        run_id = self.start(README_GRAPH, README_STATE)
        run = self.end(run_id)
        self.assertLessEqual({"run_id", "finished", "state", "logs"}, run.keys())
        self.assertEqual(run["run_id"], run_id)
        self.assertIs(run["finished"], True)
        self.assertEqual(run["state"]["input"], "some data")
        self.assertGreater(len(run["state"]), 1, "both nodes have added what they found")
        self.assertIsInstance(run["logs"], list)
        nodes = [entry["node"] for entry in run["logs"] if entry.get("node")]
        self.assertEqual(list(dict.fromkeys(nodes)), ["extract", "analyze"])

    def test_the_socket_sends_all_from_the_beginning_and_closes(self):
        run_id = self.start(README_GRAPH, README_STATE)
        early, code = self.watch(run_id)
        self.assertEqual(code, 1000)
        self.assertTrue(early)
        for message in early:
            self.assertIsInstance(message, dict)
        logs = self.end(run_id)["logs"]
        self.assertEqual(early, logs, "the socket and the state tell the same")
        late, code = self.watch(run_id)
        self.assertEqual(code, 1000)
        self.assertEqual(late, logs, "who comes after the end still gets everything")

    def test_a_graph_can_be_run_again(self):
        first, second = (self.start(README_GRAPH, README_STATE) for _ in range(2))
        self.assertNotEqual(first, second)
        self.assertEqual(self.end(first)["state"], self.end(second)["state"])

    def test_a_node_can_loop_and_then_branch(self):
        touch = {name: {"uses": "bench/touch", "config": {"key": name}} for name in ("even", "odd")}
        for until, branch in ((5, "odd"), (6, "even")):
            graph = {
                "nodes": {"count": {"uses": "bench/count", "config": {"until": until}}, **touch},
                "edges": {"even": "end", "odd": "end"},
                "start": "count",
            }
            run = self.end(self.start(graph, {}))
            self.assertEqual(run["state"], {"n": until, branch: 1})

    def test_an_unknown_run_is_not_found(self):
        answer = self.state(uuid.uuid4())
        self.assertEqual(answer.status_code, 404, answer.text)
        self.assertTrue(answer.json()["detail"])

    def test_an_unknown_graph_is_not_found(self):
        answer = self.post("/graph/run", {"graph_id": "no-such-graph", "initial_state": {}})
        self.assertEqual(answer.status_code, 404, answer.text)
        self.assertTrue(answer.json()["detail"])

    def test_an_unknown_function_is_refused(self):
        answer = self.post("/graph/create", {"nodes": {"no_such_function": {}}, "edges": {}})
        self.assertIn(answer.status_code, range(400, 500), answer.text)
        self.assertIn("no_such_function", json.dumps(answer.json()["detail"]))

    def test_a_body_that_is_not_json_is_refused(self):
        answer = requests.post(
            f"http://{self.server.address}/graph/create",
            data="{nodes",
            headers={"Content-Type": "application/json"},
            timeout=TIMEOUT,
        )
        self.assertIn(answer.status_code, range(400, 500), answer.text)
        self.assertTrue(answer.json()["detail"])


if __name__ == "__main__":
    sys.exit(main(OriginalReadme))
