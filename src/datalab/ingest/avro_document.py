"""Avro types as JSON documents: a field that is to stand in another schema than the one it was parsed from."""

from __future__ import annotations

from typing import Any

from datalab.ingest.avro_schema import MISSING, NANOS, AvroType, Field

_SPACE = "grown"  # a namespace of its own, for names that the other schema may have for something else


def field_document(field: Field, path: str) -> dict[str, Any]:
    """The field with all its types written out; `path` is its dotted place, from which they get their names.

    Aliases are left out: they are for those who read older records as the schema that the field came from.
    """
    made: dict[str, Any] = {"name": field.name, "type": _document(field.type, path)}
    if field.default is not MISSING:
        made["default"] = field.default
    return made | {key: value for key, value in (("pii", field.pii), ("doc", field.doc)) if value}


def _document(kind: AvroType, path: str) -> Any:
    plain = _plain(kind, path)
    if not kind.nullable:
        return plain
    return ["null", plain] if kind.null_first else [plain, "null"]


def _plain(kind: AvroType, path: str) -> Any:
    made: dict[str, Any] = {"type": kind.kind}
    if kind.items is not None:
        return made | {"items" if kind.kind == "array" else "values": _document(kind.items, f"{path}.item")}
    if kind.kind in ("record", "enum", "fixed"):
        made["name"] = f"{_SPACE}.{path}"
    if kind.kind == "record":
        made["fields"] = [field_document(each, f"{path}.{each.name}") for each in kind.fields]
    if kind.kind == "enum":
        made |= {"symbols": [*kind.symbols]} | ({"default": kind.fallback} if kind.fallback else {})
    if kind.kind == "fixed":
        made["size"] = kind.size
    if kind.logical and kind.logical != NANOS:  # which no contract can have: they are whole numbers
        made["logicalType"] = kind.logical
    if kind.logical == "decimal":
        made |= {"precision": kind.precision, "scale": kind.scale}
    return made
