"""Describes a list of numbers with Python's own `statistics`: count, mean, spread and outliers."""

import statistics
from dataclasses import dataclass
from typing import Annotated, TypedDict

from heddle import Call, InvalidInput, call_tool, emit, log, node, tool

# How many median deviations from the median make a number an outlier, in standard deviations of a
# normal distribution: what Iglewicz and Hoaglin recommend.
USUAL_LIMIT = 3.5


class Found(TypedDict):
    """A number in a text, as `starter/elements` finds it."""

    text: str
    value: float


@dataclass
class State:
    numbers: Annotated[list[Found | float] | None, "The numbers, plain or as `starter/extract` leaves them."] = None
    input: Annotated[str | None, "A text whose numbers are used if `numbers` is empty."] = None


@dataclass
class Config:
    limit: Annotated[float, "How far from the median a number stands out."] = USUAL_LIMIT


@dataclass
class Statistics:
    count: int
    sum: float
    mean: float
    median: float
    deviation: Annotated[float, "The standard deviation of the numbers, taken as a sample."]
    smallest: float
    largest: float
    quartiles: list[float]
    outliers: Annotated[list[float], "The numbers that stand out, in the order in which they come."]


@dataclass
class Measured:
    values: list[float]
    statistics: Statistics


@node(config=Config, read_only=True, idempotent=True)
def describe(state: State, call: Call) -> Measured:
    """Describes the numbers of the state: their mean, spread, quartiles and outliers."""
    found = state.numbers
    if found is None and state.input is not None:
        found = call_tool("starter/elements", {"text": state.input})["numbers"]
    values = [number["value"] if isinstance(number, dict) else float(number) for number in found or []]
    if not values:
        raise InvalidInput("there are no numbers to describe", {"path": "numbers"})
    emit({"measuring": len(values)})
    described = _describe(values, call.config.limit)
    log.info(f"{described.count} numbers around {described.median}, of which {len(described.outliers)} stand out")
    return Measured(values=values, statistics=described)


@dataclass
class Numbers:
    numbers: list[float]
    limit: Annotated[float, "How far from the median a number stands out."] = USUAL_LIMIT


@tool(read_only=True, idempotent=True)
def outliers(input: Numbers) -> list[float]:
    """Finds outliers by their median deviation."""
    return _outliers(input.numbers, input.limit)


def _describe(values: list[float], limit: float) -> Statistics:
    several = len(values) > 1
    return Statistics(
        count=len(values),
        sum=sum(values),
        mean=statistics.fmean(values),
        median=statistics.median(values),
        deviation=statistics.stdev(values) if several else 0.0,
        smallest=min(values),
        largest=max(values),
        quartiles=statistics.quantiles(values, n=4, method="inclusive") if several else values * 3,
        outliers=_outliers(values, limit),
    )


def _outliers(values: list[float], limit: float) -> list[float]:
    if not values:
        return []
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    # In a normal distribution the median deviation is 0.6745 standard deviations.
    return [value for value in values if 0.6745 * abs(value - middle) > limit * spread]
