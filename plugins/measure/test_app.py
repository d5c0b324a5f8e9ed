"""Tests of the functions in an ordinary Python: `PYTHONPATH=../sdk-python python3 -m unittest`."""

import unittest

import app  # noqa: F401  (it registers the functions)
from heddle import InvalidInput
from heddle.testing import call, run


class Describes(unittest.TestCase):
    def test_numbers_of_both_forms_are_described(self):
        state = {"numbers": [{"text": "1", "value": 1.0}, 2, 3, 4, 100]}
        found = run("describe", state).update["statistics"]
        self.assertEqual((found["count"], found["mean"], found["median"]), (5, 22.0, 3.0))
        self.assertEqual((found["quartiles"], found["outliers"]), ([2.0, 3.0, 4.0], [100.0]))
        self.assertAlmostEqual(found["deviation"], 43.617656975128774)

    def test_the_limit_is_the_configs(self):
        found = run("describe", {"numbers": [1, 2, 3, 4, 100]}, {"limit": 1000}).update["statistics"]
        self.assertEqual(found["outliers"], [])

    def test_no_number_is_an_invalid_input(self):
        with self.assertRaises(InvalidInput):
            run("describe", {"numbers": []})
        with self.assertRaisesRegex(InvalidInput, r"at `numbers\[1\]`: \"x\" is not an object or a number"):
            run("describe", {"numbers": [1, "x"]})

    def test_the_tool_gives_what_stands_out(self):
        self.assertEqual(call("outliers", {"numbers": [1, 1, 1, 9]}), [9.0])
        self.assertEqual(call("outliers", {"numbers": []}), [])


if __name__ == "__main__":
    unittest.main()
