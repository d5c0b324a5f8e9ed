"""Tests of hints: which schemas they give, and what is read and refused by them. `python3 -m unittest`."""

import enum
import unittest
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from heddle import InvalidInput, Permanent, hints
from heddle.functions import FUNCTIONS, Call, goto, node, tool
from heddle.testing import call, run


class Colour(enum.Enum):
    RED = "red"


class Part(TypedDict):
    name: str
    weight: NotRequired[float]


@dataclass
class Tree:
    """A tree.

    Of any depth.
    """

    value: int
    children: list["Tree"] = field(default_factory=list)


@dataclass
class Whole:
    parts: Annotated[list[Part], "What it is made of."]
    colour: Colour = Colour.RED
    size: Literal["s", "l"] | None = None
    at: tuple[int, float] = (0, 0.0)
    more: dict[str, Any] = field(default_factory=dict)


class Hints(unittest.TestCase):
    def test_the_schema_of_a_dataclass(self):
        schema = hints.schema_of(Whole)
        self.assertEqual(schema["required"], ["parts"])
        self.assertEqual(
            schema["properties"],
            {
                "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "description": "What it is made of."},
                "colour": {"enum": ["red"], "default": "red"},
                "size": {"anyOf": [{"enum": ["s", "l"]}, {"type": "null"}]},
                "at": {
                    "type": "array", "prefixItems": [{"type": "integer"}, {"type": "number"}], "items": False,
                    "minItems": 2, "default": [0, 0.0],
                },
                "more": {"type": "object", "additionalProperties": {}},
            },
        )
        self.assertEqual(schema["$defs"]["Part"]["required"], ["name"])

    def test_a_type_that_holds_itself(self):
        schema = hints.schema_of(Tree)
        self.assertEqual(schema["$ref"], "#/$defs/Tree")
        self.assertEqual(schema["$defs"]["Tree"]["description"], "A tree.")
        tree = hints.read(Tree, {"value": 1, "children": [{"value": 2}]})
        self.assertEqual(tree.children, [Tree(2)])

    def test_a_value_that_fits_is_read_and_written_again(self):
        text = '{"parts":[{"name":"a","weight":2.5}],"colour":"red","size":"l","at":[1,2.0],"more":{"ü":null}}'
        read = hints.from_text(Whole, text, "f", "state")
        self.assertEqual((read.colour, read.at, read.parts[0]["weight"]), (Colour.RED, (1, 2.0), 2.5))
        self.assertEqual(hints.to_text(read, "it"), text)

    def test_a_value_that_does_not_fit_is_reported_with_its_place(self):
        for text, expected in [
            ("[]", "`f` does not take this state: [] is not an object"),
            ("{}", "at `parts`: it is missing"),
            ('{"parts":[{"name":3}]}', "at `parts[0].name`: 3 is not a text"),
            ('{"parts":[],"at":[true,1]}', "at `at[0]`: true is not an integer"),
            ('{"parts":[],"size":"m"}', 'at `size`: "m" is not one of "s", "l" or null'),
            ('{"parts":[],"colour":"blue"}', 'at `colour`: "blue" is not one of "red"'),
        ]:
            with self.assertRaises(InvalidInput) as raised:
                hints.from_text(Whole, text, "f", "state")
            self.assertIn(expected, str(raised.exception))

    def test_values_that_are_not_json_are_refused(self):
        for value in [{1, 2}, float("nan"), {"x": float("inf")}, object()]:
            with self.assertRaises(Permanent):
                hints.to_text(value, "it")
        with self.assertRaises(TypeError):
            hints.schema_of(dict[int, str])
        with self.assertRaises(TypeError):
            hints.schema_of(complex)


class Functions(unittest.TestCase):
    def setUp(self):
        FUNCTIONS.clear()

    def test_a_config_that_is_missing_has_its_defaults(self):
        @dataclass
        class Config:
            by: int = 2

        @node(config=Config, routes=["big"])
        def double(state: dict[str, int], call: Call):
            """Doubles.

            And more.
            """
            number = state["n"] * call.config.by
            return goto("big", update={"n": number}) if number > 9 else {"n": number}

        self.assertEqual(run("double", {"n": 3}).update, {"n": 6})
        outcome = run("double", {"n": 3}, {"by": 5})
        self.assertEqual((outcome.update, outcome.route, outcome.nodes), ({"n": 15}, "goto", ("big",)))
        self.assertEqual(FUNCTIONS["double"].summary, "Doubles.")

    def test_types_that_cannot_be_described_are_refused_at_once(self):
        with self.assertRaisesRegex(TypeError, "takes 2 parameters"):
            tool(lambda a, b: None, name="two")
        with self.assertRaisesRegex(TypeError, "takes no Call"):
            node(lambda a: None, name="lost", config=Tree)
        tool(lambda a: a, name="same")
        with self.assertRaisesRegex(TypeError, "two functions `same`"):
            tool(lambda a: a, name="same")

    def test_an_update_is_an_object_and_a_function_is_not_async(self):
        @node
        def odd(state: Any):
            return [1]

        @tool
        async def later(input: Any):
            return 1

        with self.assertRaisesRegex(Permanent, "must return an object"):
            run("odd", {})
        with self.assertRaisesRegex(Permanent, "is async"):
            call("later", 1)


if __name__ == "__main__":
    unittest.main()
