"""Failures of functions, and whether they are retried."""

from typing import Any


class Failure(Exception):
    """The base class of failures that say how the step fails. Any other exception is permanent."""

    kind = "permanent"

    def __init__(self, message: str, data: Any = None):
        """`message` is for a person, `data` for a program: any JSON value."""
        super().__init__(message)
        self.message = message
        self.data = data


class Retryable(Failure):
    """Another attempt may succeed: the step is retried as its graph says."""

    kind = "retryable"


class Permanent(Failure):
    """Another attempt would fail, too."""

    kind = "permanent"


class InvalidInput(Failure):
    """The input is not valid for the function."""

    kind = "invalid_input"


KINDS = {kind.kind: kind for kind in (Retryable, Permanent, InvalidInput)}
