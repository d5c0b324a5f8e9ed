"""Write Heddle plugins in Python: typed functions in, a WebAssembly component out.

    from dataclasses import dataclass
    from heddle import node

    @dataclass
    class Text:
        input: str

    @dataclass
    class Words:
        words: list[str]

    @node
    def extract(state: Text) -> Words:
        \"\"\"Finds the words of `input`.\"\"\"
        return Words(words=state.input.split())

The hints give the JSON Schemas, the docstring's first paragraph the summary, and `build.py` the component.
Outside of a component the functions are ordinary ones; `heddle.testing` calls them as the engine does.
"""

from .errors import Failure, InvalidInput, Permanent, Retryable
from .functions import Call, Outcome, again, end, goto, node, tool
from .platform import call_tool, emit, log

__all__ = [
    "Call",
    "Failure",
    "InvalidInput",
    "Outcome",
    "Permanent",
    "Retryable",
    "again",
    "call_tool",
    "emit",
    "end",
    "goto",
    "log",
    "node",
    "tool",
]
