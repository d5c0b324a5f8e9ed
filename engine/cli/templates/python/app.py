"""The functions of the plugin. The docstring of a function is its summary; the type hints are its schemas."""

from dataclasses import dataclass
from typing import Annotated

from heddle import Call, InvalidInput, log, node


@dataclass
class State:
    """The keys of the state that `greet` reads."""

    name: Annotated[str, "The name to greet."]


@dataclass
class Config:
    """The `config` of a node that calls `greet`."""

    greeting: str = "Hello"


@dataclass
class Greeted:
    """The keys of the state that `greet` sets."""

    greeting: str


@node(config=Config, read_only=True, idempotent=True)
def greet(state: State, call: Call) -> Greeted:
    """Greets the name in the state."""
    if not state.name:
        raise InvalidInput("`name` is empty")
    log.info(f"greeting {state.name}")
    return Greeted(greeting=f"{call.config.greeting}, {state.name}!")
