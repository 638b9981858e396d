"""What a caller may send, as the live model's manifest says: strict validation, and the same as JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, core_schema

from datalab.serving.problems import Problem
from datalab.serving.repeated import has_keys, repeated_keys

Field = Mapping[str, Any]
Row = dict[str, Any]
BATCH_FIELD = "propostas"
_MOST_ERRORS = 20
_BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
_LENGTHS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_LONGEST_TEXT = 256
_WHOLE = {"minimum": -(2**63), "maximum": 2**63 - 1}  # what the lake, and most callers, keep as a whole number
_REAL = 3.4028234663852886e38  # the largest number that a model's inputs, of 32 bits, can hold
_WORDS = ("title", "description", "enum", *_BOUNDS, *_LENGTHS)


class RequestForm:
    """Reads requests for one model: unknown fields, wrong types and values out of range are refused by name."""

    def __init__(self, fields: Sequence[Field], batch_rows: int) -> None:
        self.fields = tuple(fields)
        one = core_schema.typed_dict_schema(
            {str(field["name"]): _core_field(field) for field in fields}, extra_behavior="forbid", total=True
        )
        rows = core_schema.list_schema(one, min_length=1, max_length=batch_rows, strict=True, fail_fast=True)
        batch = core_schema.typed_dict_schema(
            {BATCH_FIELD: core_schema.typed_dict_field(rows)}, extra_behavior="forbid", total=True
        )
        self._batch_rows = batch_rows
        self._one = SchemaValidator(one)
        self._batch = SchemaValidator(batch)

    def read(self, body: bytes) -> Row:
        """One request; Problem."""
        try:
            row: Row = self._one.validate_json(body, strict=True)
        except ValidationError as error:
            raise problem_of(error) from None
        if not has_keys(body, len(row)):
            raise _ambiguous(body)
        return row

    def read_batch(self, body: bytes) -> list[Row]:
        """Many requests: all of them sound, or Problem."""
        try:
            rows: list[Row] = self._batch.validate_json(body, strict=True)[BATCH_FIELD]
        except ValidationError as error:
            raise problem_of(error) from None
        if not has_keys(body, 1 + sum(map(len, rows))):
            raise _ambiguous(body)
        return rows

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of one request."""
        required = [str(field["name"]) for field in self.fields if not field.get("optional")]
        return {
            "type": "object",
            "properties": {str(field["name"]): _json_field(field) for field in self.fields},
            "required": required,
            "additionalProperties": False,
            "examples": [self.example()],
        }

    def batch_schema(self, one: str) -> dict[str, Any]:
        """The JSON Schema of a batch, its items under the reference `one`."""
        items = {"type": "array", "items": {"$ref": one}, "minItems": 1, "maxItems": self._batch_rows}
        return {
            "type": "object",
            "properties": {BATCH_FIELD: items},
            "required": [BATCH_FIELD],
            "additionalProperties": False,
        }

    def example(self) -> Row:
        """A request that this model takes."""
        return {str(f["name"]): _example(f) for f in self.fields if "example" in f or not f.get("optional")}


def problem_of(error: ValidationError) -> Problem:
    """What is wrong with a body, field by field; never a value of it."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        return Problem("not_json", found[0]["msg"])
    errors = [{"field": ".".join(map(str, part["loc"])), "reason": part["msg"]} for part in found[:_MOST_ERRORS]]
    return Problem("invalid", f"{len(found)} problem(s)", errors=errors)


def _ambiguous(body: bytes) -> Problem:
    paths = repeated_keys(body)
    errors = [{"field": path, "reason": "The key stands more than once"} for path in paths[:_MOST_ERRORS]]
    return Problem("invalid", f"{len(paths)} problem(s)", errors=errors)


def narrower(old: Sequence[Field], new: Sequence[Field]) -> str:
    """Why a caller of the old form might be refused by the new one; empty where none can be."""
    known = {field["name"]: field for field in new}
    for field in old:
        if field["name"] not in known:
            return f"it does not know the field {field['name']}"
        problem = _narrower_field(field, known[field["name"]])
        if problem:
            return f"its field {field['name']} {problem}"
    names = {field["name"] for field in old}
    added = [field["name"] for field in new if field["name"] not in names and not field.get("optional")]
    return f"it needs the field {added[0]}" if added else ""


def _narrower_field(old: Field, new: Field) -> str:
    if old["type"] != new["type"]:
        return f"is of type {new['type']}"
    if old.get("optional") and not new.get("optional"):
        return "is required"
    if "enum" in new and not set(old.get("enum", ())) <= set(new["enum"]):
        return "takes fewer values"
    if "enum" in new and "enum" not in old:
        return "takes listed values only"
    if new.get("pattern") not in (None, old.get("pattern")):
        return "has another pattern"
    low = ("minimum", "exclusiveMinimum", "minLength")
    high = ("maximum", "exclusiveMaximum", "maxLength")
    if any(name in new and (name not in old or new[name] > old[name]) for name in low):
        return "has a higher lower bound"
    if any(name in new and (name not in old or new[name] < old[name]) for name in high):
        return "has a lower upper bound"
    return ""


def _core_field(field: Field) -> core_schema.TypedDictField:
    optional = bool(field.get("optional"))
    inner = _core_type(field)
    return core_schema.typed_dict_field(
        core_schema.nullable_schema(inner) if optional else inner, required=not optional
    )


def _core_type(field: Field) -> core_schema.CoreSchema:
    if "enum" in field:
        return core_schema.literal_schema(list(field["enum"]))
    bounds = {ours: field[name] for name, ours in _BOUNDS.items() if name in field}
    match field["type"]:
        case "integer":
            whole = core_schema.int_schema(strict=True, **{"ge": _WHOLE["minimum"], "le": _WHOLE["maximum"], **bounds})
            return core_schema.no_info_before_validator_function(_whole, whole)
        case "number":
            bounds["ge"], bounds["le"] = _real_bounds(field)
            return core_schema.float_schema(strict=True, allow_inf_nan=False, **bounds)
        case "boolean":
            return core_schema.bool_schema(strict=True)
        case _:
            lengths = {ours: field[name] for name, ours in _LENGTHS.items() if name in field}
            return core_schema.str_schema(strict=True, **{"max_length": _LONGEST_TEXT, **lengths})


def _real_bounds(field: Field) -> tuple[float, float]:
    return max(field.get("minimum", -_REAL), -_REAL), min(field.get("maximum", _REAL), _REAL)


def _whole(value: Any) -> Any:
    """24.0 is a whole number in JSON Schema, and in JSON as some programs write it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _json_field(field: Field) -> dict[str, Any]:
    schema = {name: field[name] for name in _WORDS if name in field}
    if field["type"] == "string" and "enum" not in field:
        schema.setdefault("maxLength", _LONGEST_TEXT)
    if field["type"] == "integer" and "enum" not in field:
        schema = {**_WHOLE, **schema}
    if field["type"] == "number" and "enum" not in field:
        schema["minimum"], schema["maximum"] = _real_bounds(field)
    if not field.get("optional"):
        return {"type": field["type"], **schema}
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return {"type": [field["type"], "null"], **schema}


def _example(field: Field) -> Any:
    if "example" in field:
        return field["example"]
    if "enum" in field:
        return field["enum"][0]
    low = field.get("minimum", field.get("exclusiveMinimum", 0) + 1)
    return {"integer": int(low), "number": float(low), "boolean": True}.get(field["type"], "abc")
