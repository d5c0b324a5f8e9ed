"""The functions of a plugin: what the decorators register, and how each is called from JSON to JSON."""

import inspect
import typing
from dataclasses import dataclass
from typing import Any, Callable

from . import hints
from .errors import Permanent


@dataclass
class Call:
    """The context of a node function's call, for a second parameter with the hint `Call`."""

    config: Any = None
    """The `config` of the node in the graph, of the type that the decorator's `config=` names."""
    run_id: str = ""
    """The id of the run, a UUID."""
    node: str = ""
    """The node of the step."""
    step: int = 1
    """The number of this step in its run, from 1."""
    attempt: int = 1
    """The number of this attempt of the step, from 1."""
    idempotency_key: str = ""
    """The same for every attempt of one step, and for no other step."""


@dataclass
class Outcome:
    """An update of the state and a route. A function that returns a plain update follows the edges."""

    update: Any = None
    route: str = "edges"
    nodes: tuple[str, ...] = ()


def goto(*nodes: str, update: Any = None) -> Outcome:
    """To these nodes, in parallel if there are several; the function's `routes` must list them."""
    return Outcome(update, "goto", nodes)


def again(update: Any = None) -> Outcome:
    """To the same node again."""
    return Outcome(update, "again")


def end(update: Any = None) -> Outcome:
    """To the end."""
    return Outcome(update, "end")


@dataclass
class Function:
    """One function, as its decorator describes it."""

    name: str
    kind: str
    summary: str
    takes: Any
    gives: Any
    config: Any
    takes_call: bool
    read_only: bool
    idempotent: bool
    routes: list[str]
    body: Callable
    schemas: tuple[str, str, str | None] = ("{}", "{}", None)
    """The schemas of its input, its output and its node's config, as text: made when the plugin is built."""

    def run(self, state: str, config: str, call: Call) -> Outcome:
        """Calls a node function; the outcome's update is JSON text."""
        arguments = [hints.from_text(self.takes, state, self.name, "state")]
        if self.takes_call:
            # A node without a config has `null`: defaults apply, and an error names the key that is missing.
            if self.config is not None:
                text = "{}" if config.strip() == "null" and hints.fields_of(self.config) is not None else config
                call.config = hints.from_text(self.config, text, self.name, "config")
            arguments.append(call)
        answer = self._body(*arguments)
        outcome = answer if isinstance(answer, Outcome) else Outcome(answer)
        update = {} if outcome.update is None else hints.to_plain(outcome.update)
        if not isinstance(update, dict):
            raise Permanent(
                f"`{self.name}` must return an object with the keys of the state that change, and returned {update!r:.60}"
            )
        return Outcome(hints.to_text(update, f"the update of `{self.name}`"), outcome.route, outcome.nodes)

    def call(self, text: str) -> str:
        """Calls a tool, JSON text in and out."""
        answer = self._body(hints.from_text(self.takes, text, self.name, "input"))
        return hints.to_text(answer, f"the result of `{self.name}`")

    def _body(self, *arguments: Any) -> Any:
        answer = self.body(*arguments)
        if inspect.iscoroutine(answer):
            answer.close()
            raise Permanent(f"`{self.name}` is async, but functions of plugins are synchronous: write `def`")
        return answer

    def described(self) -> "Function":
        """The same with its schemas; a hint that has none is an error."""
        gives = {} if self.gives in (Any, Outcome) else hints.schema_of(self.gives)
        if self.kind == "node" and gives.get("type") in (None, "null") and "$ref" not in gives:
            gives = {"type": "object"}
        takes = {"type": "object"} if self.kind == "node" and self.takes is Any else hints.schema_of(self.takes)
        config = None if self.config is None else hints.to_text(hints.schema_of(self.config), "a schema")
        self.schemas = hints.to_text(takes, "a schema"), hints.to_text(gives, "a schema"), config
        return self


FUNCTIONS: dict[str, Function] = {}


def node(function: Callable | None = None, /, *, name: str | None = None, routes: typing.Sequence[str] = (),
         config: Any = None, update: Any = None, read_only: bool = False, idempotent: bool = False):
    """Makes a node function: the state in, as the type that the first parameter is hinted with; an update out.

    `routes` lists every node that it may name with `goto`. `config` is the type of the node's config, which the function
    finds as `call.config`. `update` is the type of the update where the function answers with `goto(...)` and its like.
    """
    options = dict(name=name, routes=list(routes), config=config, gives=update, read_only=read_only, idempotent=idempotent)
    return _registered("node", function, options)


def tool(function: Callable | None = None, /, *, name: str | None = None, read_only: bool = False, idempotent: bool = False):
    """Makes a tool: one JSON value in, one out, as the hints say."""
    options = dict(name=name, routes=[], config=None, gives=None, read_only=read_only, idempotent=idempotent)
    return _registered("tool", function, options)


def _registered(kind: str, function: Callable | None, options: dict):
    def register(body: Callable) -> Callable:
        function = _described(kind, body, **options)
        if function.name in FUNCTIONS:
            raise TypeError(f"there are two functions `{function.name}`: give one another name, with @{kind}(name=...)")
        FUNCTIONS[function.name] = function
        return body

    return register if function is None else register(function)


def _described(kind: str, body: Callable, name, routes, config, gives, read_only, idempotent) -> Function:
    name = name or body.__name__
    hinted = typing.get_type_hints(body, include_extras=True)
    parameters = list(inspect.signature(body).parameters)
    most = 2 if kind == "node" else 1
    if not 1 <= len(parameters) <= most:
        wanted = "the state, and a Call if it wants one" if kind == "node" else "its input"
        raise TypeError(f"`{name}` takes {len(parameters)} parameters; a {kind} takes {wanted}")
    takes_call = len(parameters) == 2
    if takes_call and hinted.get(parameters[1], Call) is not Call:
        raise TypeError(f"`{name}`: the second parameter of a node is a Call; its config's type goes to @node(config=...)")
    if config is not None and not takes_call:
        raise TypeError(f"`{name}` names a config and takes no Call to find it in: add a parameter `call: Call`")
    return Function(
        name=name, kind=kind, summary=hints.paragraph(body.__doc__ or ""), takes=hinted.get(parameters[0], Any),
        gives=gives if gives is not None else hinted.get("return", Any), config=config, takes_call=takes_call,
        read_only=read_only, idempotent=idempotent, routes=routes, body=body,
    ).described()
