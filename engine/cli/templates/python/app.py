"""The plugin's functions. A docstring is a function's summary, and the hints are its schemas."""

from dataclasses import dataclass
from typing import Annotated

from heddle import Call, InvalidInput, log, node


@dataclass
class State:
    """What `greet` reads of the state."""

    name: Annotated[str, "Whom to greet."]


@dataclass
class Config:
    """What it reads of its node's `config`."""

    greeting: str = "Hello"


@dataclass
class Greeted:
    """The keys of the state that it sets."""

    greeting: str


@node(config=Config, read_only=True, idempotent=True)
def greet(state: State, call: Call) -> Greeted:
    """Greets whom the state names."""
    if not state.name:
        raise InvalidInput("there is nobody to greet: `name` is empty")
    log.info(f"greeting {state.name}")
    return Greeted(greeting=f"{call.config.greeting}, {state.name}!")
