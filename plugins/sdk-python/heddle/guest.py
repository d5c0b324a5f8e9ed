"""The plugin inside the engine: the component's exports."""

import random
import sys
import traceback

from componentize_py_types import Err
from wit_world.imports import types as wit

from . import hints, platform
from .errors import Failure, InvalidInput, Permanent, Retryable
from .functions import FUNCTIONS, Call


class Node:
    """The node functions."""

    def describe(self) -> list[wit.Function]:
        return _describe("node")

    def run(self, call: wit.Invocation) -> wit.Outcome:
        where = call.context
        outcome = _answered(
            "node", call.function,
            lambda function: function.run(call.state, call.config, Call(
                None, where.run_id, where.node, where.step, where.attempt, where.idempotency_key)),
        )
        route = {
            "edges": lambda: wit.Route_Edges(),
            "again": lambda: wit.Route_Again(),
            "goto": lambda: wit.Route_Goto(list(outcome.nodes)),
            "end": lambda: wit.Route_End(),
        }[outcome.route]()
        return wit.Outcome(outcome.update, route)


class Tool:
    """The tools."""

    def describe(self) -> list[wit.Function]:
        return _describe("tool")

    def call(self, name: str, input: str) -> str:
        return _answered("tool", name, lambda function: function.call(input))


def _describe(kind: str) -> list[wit.Function]:
    described = []
    for function in sorted(FUNCTIONS.values(), key=lambda function: function.name):
        if function.kind != kind:
            continue
        takes, gives, config = function.schemas
        promises = wit.Hints(0)
        if function.read_only:
            promises |= wit.Hints.READ_ONLY
        if function.idempotent:
            promises |= wit.Hints.IDEMPOTENT
        described.append(wit.Function(
            function.name, wit.Kind.NODE if kind == "node" else wit.Kind.TOOL, function.summary, takes, gives,
            config, promises, function.routes))
    return described


def _answered(kind: str, name: str, call):
    """Calls a function, and converts its exceptions to failures of the contract."""
    # The interpreter was started when the component was built, so the generator's seed is that of the build. The
    # system's randomness is the step's own: another for every step, the same for every attempt of one.
    random.seed()
    platform.to_journal()
    try:
        function = FUNCTIONS.get(name)
        if function is None or function.kind != kind:
            has = ", ".join(f"`{of.name}`" for of in FUNCTIONS.values() if of.kind == kind) or "none"
            raise Permanent(f"this plugin has no {kind} `{name}`; it has {has}")
        return call(function)
    except Failure as failure:
        raise Err(_failure(failure)) from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        platform.log.error("".join(traceback.format_exception(error)).rstrip())
        place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
        raise Err(_failure(Permanent(f"{type(error).__name__}: {error}{place}"))) from None
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _failure(failure: Failure) -> wit.Failure:
    data = None if failure.data is None else hints.to_text(failure.data, "the data of a failure")
    error = wit.Error(failure.message, data)
    if isinstance(failure, Retryable):
        return wit.Failure_Retryable(error)
    if isinstance(failure, InvalidInput):
        return wit.Failure_InvalidInput(error)
    return wit.Failure_Permanent(error)
