"""Why a function gave no result, and whether to try again."""

from typing import Any


class Failure(Exception):
    """What a function raises to say what its failure means for the step. Any other exception is permanent."""

    kind = "permanent"

    def __init__(self, message: str, data: Any = None):
        """`message` is for a person, `data` for a program: any JSON value."""
        super().__init__(message)
        self.message = message
        self.data = data


class Retryable(Failure):
    """It may go well another time, so the step is tried again as its graph says."""

    kind = "retryable"


class Permanent(Failure):
    """It will not go well."""

    kind = "permanent"


class InvalidInput(Failure):
    """The input was not what the function takes."""

    kind = "invalid_input"


KINDS = {kind.kind: kind for kind in (Retryable, Permanent, InvalidInput)}
