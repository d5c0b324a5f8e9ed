"""Type hints to JSON Schemas, and JSON to values of the hinted types and back.

A hint is a dataclass, a TypedDict, an Enum, `Literal`, `list[T]`, `dict[str, T]`, `tuple[...]`, a union, `Any`, or one
of the plain types. `Annotated[T, "text"]` describes a field. Other hints are refused when the plugin is built.
"""

import dataclasses
import enum
import json
import math
import types
import typing
from typing import Any, Literal, Union

from .errors import InvalidInput, Permanent

_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_NAMES = {str: "a text", bool: "true or false", int: "an integer", float: "a number", type(None): "null"}


class Mismatch(Exception):
    """A value that its type does not fit, and where it is."""

    def __init__(self, path: str, problem: str, wanted: str = ""):
        super().__init__(f"at `{path}`: {problem}" if path else problem)
        self.path = path
        self.wanted = wanted


def schema_of(hint: Any) -> dict:
    """The schema of one hint, whole: named types stand in its `$defs`."""
    definitions: dict[str, dict] = {}
    schema = dict(_schema(hint, definitions))
    reference = schema.get("$ref")
    # What is only used once, as the whole, needs no name.
    if reference and json.dumps(definitions).count(f'"{reference}"') == 0:
        schema = definitions.pop(reference.rsplit("/", 1)[1])
    if definitions:
        schema["$defs"] = definitions
    return schema


def _schema(hint: Any, definitions: dict[str, dict]) -> dict:
    hint, description = _described(hint)
    schema = _bare_schema(hint, definitions)
    return {**schema, "description": description} if description else schema


def _bare_schema(hint: Any, definitions: dict[str, dict]) -> dict:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return {}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(of, definitions) for of in arguments]}
    if hint is list or origin is list:
        return {"type": "array", "items": _schema(arguments[0], definitions) if arguments else {}}
    if hint is dict or origin is dict:
        if arguments and arguments[0] is not str:
            raise TypeError(f"{hint}: the keys of an object are strings, so write dict[str, ...]")
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions) if arguments else {}}
    if origin is tuple and arguments[-1:] == (Ellipsis,):
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is tuple:
        of = [_schema(of, definitions) for of in arguments]
        return {"type": "array", "prefixItems": of, "items": False, "minItems": len(of)}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    if fields_of(hint) is not None:
        return {"$ref": f"#/$defs/{_define(hint, definitions)}"}
    raise TypeError(f"{hint!r} has no JSON Schema: use a dataclass, a TypedDict, an Enum, a list, a dict or a plain type")


def _define(hint: type, definitions: dict[str, dict]) -> str:
    name = hint.__name__
    if name in definitions:
        return name
    # The entry exists before its fields are read, so that a type may contain itself.
    schema = definitions[name] = {"type": "object", "properties": {}}
    doc = hint.__dict__.get("__doc__") or ""
    # A dataclass without a docstring gets its signature as one, which describes nothing.
    if doc and not doc.startswith(f"{name}("):
        schema["description"] = paragraph(doc)
    for field, (of, required, default) in fields_of(hint).items():
        schema["properties"][field] = _schema(of, definitions)
        if required:
            schema.setdefault("required", []).append(field)
        elif default is not dataclasses.MISSING and default is not None:
            schema["properties"][field]["default"] = to_plain(default)
    return name


def read(hint: Any, value: Any, path: str = "") -> Any:
    """The value as the hinted type; raises a `Mismatch` that says what does not fit and where."""
    hint, _ = _described(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if hint in _PLAIN:
        return _read_plain(hint, value, path)
    if origin is Literal:
        return _one_of(value, arguments, path)
    if origin in (Union, types.UnionType):
        return _read_union(arguments, value, path)
    if hint in (list, tuple) or origin in (list, tuple):
        return _read_list(hint, value, path)
    if hint is dict or origin is dict:
        _expect(isinstance(value, dict), value, "an object", path)
        return {key: read(arguments[1], of, _at(path, key)) for key, of in value.items()} if arguments else value
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(_one_of(value, [member.value for member in hint], path))
    return _read_fields(hint, value, path)


def _read_plain(hint: type, value: Any, path: str) -> Any:
    fits = type(value) is hint or (hint is float and type(value) is int)
    # 3.0 is an integer in JSON.
    if hint is int and type(value) is float and value.is_integer():
        return int(value)
    _expect(fits, value, _NAMES[hint], path)
    return float(value) if hint is float else value


def _read_union(arguments: tuple, value: Any, path: str) -> Any:
    problems = []
    for of in arguments:
        try:
            return read(of, value, path)
        except Mismatch as mismatch:
            problems.append(mismatch)
    # The deepest one is of the alternative that was meant; if none goes deeper, any of them was.
    deepest = max(problems, key=lambda problem: len(problem.path))
    if deepest.path != path:
        raise deepest
    _expect(False, value, " or ".join(problem.wanted for problem in problems if problem.wanted), path)


def _read_list(hint: Any, value: Any, path: str) -> Any:
    arguments = typing.get_args(hint)
    is_tuple = hint is tuple or typing.get_origin(hint) is tuple
    _expect(isinstance(value, list), value, "an array", path)
    if is_tuple and arguments and arguments[-1] is not Ellipsis:
        _expect(len(value) == len(arguments), value, f"an array of {len(arguments)}", path)
        return tuple(read(of, item, f"{path}[{at}]") for at, (of, item) in enumerate(zip(arguments, value)))
    items = [read(arguments[0], item, f"{path}[{at}]") for at, item in enumerate(value)] if arguments else value
    return tuple(items) if is_tuple else items


def _read_fields(hint: type, value: Any, path: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", path)
    found = {}
    for field, (of, required, _) in fields_of(hint).items():
        if field in value:
            found[field] = read(of, value[field], _at(path, field))
        elif required:
            raise Mismatch(_at(path, field), "it is missing")
    return hint(**found)


def to_plain(value: Any) -> Any:
    """The value as what `json` can write."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: to_plain(of) for name, of in fields}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dict):
        return {key: to_plain(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(of) for of in value]
    if isinstance(value, (set, frozenset)):
        raise Permanent("a set has no order and cannot be JSON: return sorted(...)")
    if isinstance(value, float) and not math.isfinite(value):
        raise Permanent(f"{value} cannot be JSON: return None or a string")
    return value


def to_text(value: Any, what: str) -> str:
    """The value as JSON text; an error names `what`."""
    try:
        return json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, Permanent) as error:
        raise Permanent(f"{what} cannot be JSON: {error}") from None


def from_text(hint: Any, text: str, function: str, what: str) -> Any:
    """Reads a function's input; `what` is its state, config or input, for errors."""
    try:
        return read(hint, json.loads(text))
    except Mismatch as mismatch:
        data = {"path": mismatch.path} if mismatch.path else None
        raise InvalidInput(f"`{function}` does not take this {what}: {mismatch}", data) from None


def paragraph(text: str) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def fields_of(hint: Any) -> dict[str, tuple[Any, bool, Any]] | None:
    """Each field of a dataclass or TypedDict: its hint, whether it must be there, and its default."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        missing = dataclasses.MISSING
        return {
            field.name: (hints[field.name], field.default is missing and field.default_factory is missing, field.default)
            for field in dataclasses.fields(hint)
            if field.init
        }
    if typing.is_typeddict(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        required = hint.__required_keys__
        return {name: (_bare(of), name in required, dataclasses.MISSING) for name, of in hints.items()}
    return None


def _bare(hint: Any) -> Any:
    wrapped = typing.get_origin(hint) in (typing.Required, typing.NotRequired)
    return typing.get_args(hint)[0] if wrapped else hint


def _described(hint: Any) -> tuple[Any, str | None]:
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, None
    hint, *notes = typing.get_args(hint)
    return hint, next((note for note in notes if isinstance(note, str)), None)


def _one_of(value: Any, choices: Any, path: str) -> Any:
    fits = any(type(choice) is type(value) and choice == value for choice in choices)
    _expect(fits, value, "one of " + ", ".join(json.dumps(choice) for choice in choices), path)
    return value


def _expect(fits: bool, value: Any, wanted: str, path: str) -> None:
    if not fits:
        shown = json.dumps(value, ensure_ascii=False)
        raise Mismatch(path, f"{shown if len(shown) <= 40 else shown[:37] + '...'} is not {wanted}", wanted)


def _at(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
