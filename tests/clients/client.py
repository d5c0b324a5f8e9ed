"""Uses a server by the package that openapi-python-client makes of its description: creates a graph, runs it, lists runs.

The server's address is the only argument. The package, `heddle_client`, is found by PYTHONPATH.
"""

import sys
import uuid

from heddle_client import Client
from heddle_client.api.export_and_import import export_run
from heddle_client.api.graphs import create_graph
from heddle_client.api.runs import get_events, get_run, list_runs, start_run
from heddle_client.models import GraphDefinition, Problem, RunStatus, StartRun


def must(answer):
    """What was answered, unless it is a problem."""
    if answer is None or isinstance(answer, Problem):
        raise RuntimeError(f"{answer}")
    return answer


def main():
    client = Client(base_url=sys.argv[1])
    definition = GraphDefinition.from_dict({"name": "from-python", "nodes": {"extract": {}}})
    created = must(create_graph.sync(client=client, body=definition))

    body = StartRun.from_dict({"graph": created.graph_id, "state": {"input": "some data"}, "priority": 1})
    run = must(start_run.sync(client=client, body=body, wait="30s", idempotency_key=uuid.uuid4().hex))
    assert run.status == RunStatus.FINISHED, run
    assert run.priority == 1, run
    assert run.state["input"] == "some data", run

    page = must(list_runs.sync(client=client, status=[RunStatus.FINISHED], page_size=500))
    assert run.run_id in [other.run_id for other in page.runs], page
    events = must(get_events.sync(run.run_id, client=client, limit=1000))
    assert events.events[-1].type_.value == "run_finished", events
    export = must(export_run.sync(run.run_id, client=client))
    assert export.payload.read().count(b"\n") > len(events.events), export

    missing = get_run.sync(uuid.UUID("018f0000-0000-7000-8000-000000000000"), client=client)
    assert isinstance(missing, Problem) and missing.type_ == "urn:heddle:problem:no-such-run", missing
    print(f"run {run.run_id} is {run.status} after {len(events.events)} events")


if __name__ == "__main__":
    main()
