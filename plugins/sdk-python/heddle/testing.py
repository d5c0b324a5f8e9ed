"""Calls the functions of a plugin as the engine does, from JSON to JSON, in an ordinary Python.

    import app
    from heddle.testing import call, run

    assert run("extract", {"input": "some data"}).update == {"words": ["some", "data"]}
"""

import json
from typing import Any

from .errors import Permanent
from .functions import FUNCTIONS, Call, Function, Outcome


def run(function: str, state: Any, config: Any = None, call: Call | None = None) -> Outcome:
    """Runs a node function; the outcome's update is a value."""
    outcome = _find("node", function).run(json.dumps(state), json.dumps(config), call or Call())
    return Outcome(json.loads(outcome.update), outcome.route, outcome.nodes)


def call(tool: str, input: Any) -> Any:
    """Calls a tool."""
    return json.loads(_find("tool", tool).call(json.dumps(input)))


def _find(kind: str, name: str) -> Function:
    function = FUNCTIONS.get(name)
    if function is None or function.kind != kind:
        raise Permanent(f"there is no {kind} `{name}`: import the module that has it")
    return function
