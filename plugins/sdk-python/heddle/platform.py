"""The functions of the engine. Outside of a component, tools are those of the same program, and the rest does nothing."""

import json
import logging
import sys
from typing import Any

from . import hints
from .errors import KINDS, Failure, Permanent
from .functions import FUNCTIONS

try:
    from wit_world.imports import host as _host
    from wit_world.imports import types as _wit
except ImportError:  # not in a component
    _host = None


def call_tool(name: str, input: Any, gives: Any = Any) -> Any:
    """Calls a tool of any registered plugin: `plugin/tool`, or `tool` if only one plugin has it.

    With `gives`, the result is read as that type. The tool's failure is raised unchanged: a retryable failure stays
    retryable.
    """
    answer = _call(name, hints.to_text(input, f"the input of `{name}`"))
    try:
        return hints.read(gives, json.loads(answer))
    except hints.Mismatch as mismatch:
        raise Permanent(f"the result of `{name}` is not what was expected: {mismatch}") from None


def emit(chunk: Any) -> None:
    """Sends a chunk of output (a token, progress) to the run's current watchers. It is not stored."""
    text = hints.to_text(chunk, "a chunk of output")
    if _host:
        _host.emit(text)


class _Log:
    """Writes to the run's journal. `logging` and `print` go there, too."""

    def trace(self, message: str) -> None:
        _write("TRACE", message)

    def debug(self, message: str) -> None:
        _write("DEBUG", message)

    def info(self, message: str) -> None:
        _write("INFO", message)

    def warn(self, message: str) -> None:
        _write("WARN", message)

    def error(self, message: str) -> None:
        _write("ERROR", message)


log = _Log()


def _write(level: str, message: str) -> None:
    if _host:
        _host.log(getattr(_wit.Level, level), str(message))
    else:
        logging.getLogger("heddle").log(_LEVELS[level], message)


_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40}


class _ToJournal(logging.Handler):
    """Writes lines of `logging` to the run's journal."""

    def emit(self, record: logging.LogRecord) -> None:
        level = next((name for name, least in reversed(_LEVELS.items()) if record.levelno >= least), "TRACE")
        _write(level, self.format(record))


class _Printed:
    """A stream whose lines are log lines."""

    encoding = "utf-8"

    def __init__(self, level: str):
        self._level = level
        self._part = ""

    def write(self, text: str) -> int:
        *lines, self._part = (self._part + text).split("\n")
        for line in lines:
            _write(self._level, line)
        return len(text)

    def flush(self) -> None:
        if self._part:
            _write(self._level, self._part)
            self._part = ""


def to_journal() -> None:
    """Sends logged and printed lines to the run's journal. A component starts with this call."""
    root = logging.getLogger()
    root.handlers = [_ToJournal()]
    root.setLevel(1)
    sys.stdout, sys.stderr = _Printed("INFO"), _Printed("WARN")


def _call(name: str, text: str) -> str:
    if _host is None:
        function = FUNCTIONS.get(name.rsplit("/", 1)[-1])
        if function is None or function.kind != "tool":
            raise Permanent(f"there is no tool `{name}` in this test")
        return function.call(text)
    try:
        return _host.call_tool(name, text)
    except Exception as raised:
        failure = getattr(raised, "value", None)
        kind = {"Failure_Retryable": "retryable", "Failure_InvalidInput": "invalid_input",
                "Failure_Permanent": "permanent"}.get(type(failure).__name__)
        if kind is None:
            raise
        inner = failure.value
        raise KINDS[kind](inner.message, None if inner.data is None else json.loads(inner.data)) from None
