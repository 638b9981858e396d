"""Avro schemas as values: parsed, bounded, free of recursion; for contracts and for headers of untrusted files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

MAX_TYPES = 4_000
MAX_DEPTH = 32
MAX_TEXT = 1 << 20

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_LOGICAL = {
    "timestamp-millis": {"long"},
    "timestamp-micros": {"long"},
    "date": {"int"},
    "decimal": {"bytes", "fixed"},
    "uuid": {"string"},
}


# Moments in a unit that a contract cannot have, or without a zone, which counts as UTC.
NANOS = "timestamp-nanos"
_WRITERS_UNITS = {
    NANOS: NANOS,
    "local-timestamp-nanos": NANOS,
    "local-timestamp-micros": "timestamp-micros",
    "local-timestamp-millis": "timestamp-millis",
}


class Missing(Enum):
    """The one value that stands for "no default", the same object in every process."""

    MISSING = "missing"


MISSING = Missing.MISSING


class SchemaProblem(ValueError):
    """A schema that cannot be used; `path` is the dotted path of the field."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


@dataclass(frozen=True)
class Field:
    """One field of a record. `default` is the JSON value as written; `pii` names the kind of personal data."""

    name: str
    type: AvroType
    default: Any = MISSING
    aliases: tuple[str, ...] = ()
    pii: str = ""
    doc: str = ""


@dataclass(frozen=True)
class AvroType:
    """A type; a union with null is `nullable`. `items` is the element of an array or the value of a map.

    `fallback` is the default of an enum: what a reader takes for symbols that only the writer knows.
    """

    kind: str
    nullable: bool = False
    null_first: bool = True
    logical: str = ""
    name: str = ""
    fields: tuple[Field, ...] = ()
    items: AvroType | None = None
    symbols: tuple[str, ...] = ()
    fallback: str = ""
    size: int = 0
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        inner = f"<{self.items}>" if self.items else ""
        detail = (
            f"({self.precision}, {self.scale})" if self.logical == "decimal" else f"({self.size})" if self.size else ""
        )
        return f"{self.logical or self.kind}{detail}{inner}{'?' if self.nullable else ''}"

    @property
    def element(self) -> AvroType:
        """The element of an array or the value of a map."""
        assert self.items is not None
        return self.items


def load_json(text: str | bytes) -> Any:
    """Parse schema text of bounded size and depth; duplicate keys are refused."""
    if len(text) > MAX_TEXT:
        raise SchemaProblem("", f"the schema is larger than {MAX_TEXT} bytes")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise SchemaProblem("", "the schema is nested too deeply") from error
    except ValueError as error:
        raise SchemaProblem("", f"not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def parse_schema(document: Any, strict: bool = True) -> AvroType:
    """Check a parsed schema and answer its record type; SchemaProblem names the field that is wrong.

    Not `strict` is for the schemas of writers: a logical type that is not known is left out, as Avro demands.
    """
    record = _Parser(strict).parse(document, "", "", 0)
    if record.kind != "record" or record.nullable:
        raise SchemaProblem("", f"the schema must be a record, not {record}")
    return record


def fingerprint(document: Any) -> str:
    """16 hex characters that name a schema; documentation and spelling do not count."""
    text = json.dumps(_without_doc(document), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_doc(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: value if key == "default" else _without_doc(value) for key, value in node.items() if key != "doc"}
    return [_without_doc(item) for item in node] if isinstance(node, list) else node


@dataclass
class _Parser:
    """Walks one schema; named types are expanded where they are used, so their number is bounded."""

    strict: bool
    named: dict[str, AvroType] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    types: int = 0

    def parse(self, node: Any, path: str, namespace: str, depth: int) -> AvroType:
        self.types += 1
        if depth > MAX_DEPTH or self.types > MAX_TYPES:
            raise SchemaProblem(path, "the schema is too deep or too large")
        if isinstance(node, list):
            return self._union(node, path, namespace, depth)
        if isinstance(node, str):
            return AvroType(node) if node in _PRIMITIVES else self._reference(node, path, namespace)
        if not isinstance(node, dict) or "type" not in node:
            raise SchemaProblem(path, "a type must be a name, a union, or an object with 'type'")
        return self._object(node, path, namespace, depth)

    def _object(self, node: dict[str, Any], path: str, namespace: str, depth: int) -> AvroType:
        kind = node["type"]
        if not isinstance(kind, str):
            return self.parse(kind, path, namespace, depth + 1)
        if kind in ("record", "enum", "fixed"):
            return self._named(node, path, namespace, depth)
        if kind in ("array", "map"):
            key = "items" if kind == "array" else "values"
            if key not in node:
                raise SchemaProblem(path, f"{kind} without '{key}'")
            return AvroType(kind, items=self._sized(self.parse(node[key], f"{path}[]", namespace, depth + 1), path))
        return self._logical(self.parse(kind, path, namespace, depth + 1), node, path)

    def _logical(self, made: AvroType, node: Mapping[str, Any], path: str) -> AvroType:
        if not self.strict and made.kind == "long" and (unit := _WRITERS_UNITS.get(str(node.get("logicalType")))):
            return replace(made, logical=unit)
        try:
            return _logical(made, node, path)
        except SchemaProblem:
            if self.strict:
                raise
            return made

    def _fallback(self, node: Mapping[str, Any], symbols: tuple[str, ...], path: str) -> str:
        default = node.get("default", "")
        if default == "" or default in symbols:
            return str(default)
        if self.strict:
            raise SchemaProblem(path, "the default of an enum has to be one of its symbols")
        return ""

    def _named(self, node: dict[str, Any], path: str, namespace: str, depth: int) -> AvroType:
        full = _full_name(node, path, namespace)
        if full in self.open:
            raise SchemaProblem(path, f"type {full} contains itself")
        if full in self.named:
            raise SchemaProblem(path, f"type {full} is defined twice")
        self.open.add(full)
        made = self._body(node, path, full, depth)
        self.open.discard(full)
        self.named[full] = made
        return made

    def _body(self, node: dict[str, Any], path: str, full: str, depth: int) -> AvroType:
        if node["type"] == "enum":
            symbols = _symbols(node, path)
            return AvroType("enum", name=full, symbols=symbols, fallback=self._fallback(node, symbols, path))
        if node["type"] == "fixed":
            size = node.get("size")
            if type(size) is not int or not 0 < size <= MAX_TEXT:
                raise SchemaProblem(path, "fixed needs a 'size' between 1 and 1048576")
            return self._logical(AvroType("fixed", name=full, size=size), node, path)
        listed = node.get("fields")
        if not isinstance(listed, list):
            raise SchemaProblem(path, "record without 'fields'")
        fields = tuple(self._field(item, path, full.rpartition(".")[0], depth) for item in listed)
        names = [each.name.lower() for each in fields]
        if len(set(names)) != len(names):
            raise SchemaProblem(path, "two fields have the same name (case does not count)")
        known = [
            *(each.name for each in fields),
            *(alias for each in fields for alias in {*each.aliases} - {each.name}),
        ]
        if self.strict and len(set(known)) != len(known):
            raise SchemaProblem(path, "an alias of a field is another field's name or alias")
        return AvroType("record", name=full, fields=fields)

    def _field(self, node: Any, path: str, namespace: str, depth: int) -> Field:
        if not isinstance(node, dict) or not _is_name(node.get("name")) or "type" not in node:
            raise SchemaProblem(path, "a field needs a valid 'name' and a 'type'")
        inner = f"{path}.{node['name']}" if path else node["name"]
        kind = self._logical(self.parse(node["type"], inner, namespace, depth + 1), node, inner)
        if kind.kind == "null":
            raise SchemaProblem(inner, "a field that is always null has no type")
        aliases, pii = node.get("aliases", []), node.get("pii", "")
        if not isinstance(aliases, list) or not all(map(_is_name, aliases)) or not isinstance(pii, str):
            raise SchemaProblem(inner, "'aliases' must be a list of names, 'pii' a text")
        default = node.get("default", MISSING)
        return Field(node["name"], kind, default, tuple(aliases), pii, str(node.get("doc", "")))

    def _union(self, node: list[Any], path: str, namespace: str, depth: int) -> AvroType:
        if len(node) != 2 or node.count("null") != 1:
            raise SchemaProblem(path, "only unions of null and one other type are supported")
        first = node[0] == "null"
        inner = self.parse(node[1] if first else node[0], path, namespace, depth + 1)
        if inner.nullable:
            raise SchemaProblem(path, "a union directly within a union")
        return replace(inner, nullable=True, null_first=first)

    def _reference(self, name: str, path: str, namespace: str) -> AvroType:
        for full in (f"{namespace}.{name}", name) if namespace and "." not in name else (name,):
            if full in self.open:
                raise SchemaProblem(path, f"type {full} contains itself")
            if full in self.named:
                made = self.named[full]
                self.types += count_types(made)
                return made
        raise SchemaProblem(path, f"unknown type '{name[:60]}'")

    @staticmethod
    def _sized(item: AvroType, path: str) -> AvroType:
        if min_size(item) == 0:
            raise SchemaProblem(path, "elements that take no bytes have no bound")
        return item


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(_NAME.match(value))


def _full_name(node: Mapping[str, Any], path: str, namespace: str) -> str:
    name = node.get("name")
    if not isinstance(name, str) or not all(map(_is_name, name.split("."))):
        raise SchemaProblem(path, f"{node['type']} without a valid 'name'")
    space = node.get("namespace", namespace)
    return f"{space}.{name}" if "." not in name and space else name


def _symbols(node: Mapping[str, Any], path: str) -> tuple[str, ...]:
    symbols = node.get("symbols")
    if not isinstance(symbols, list) or not symbols or len(symbols) > MAX_TYPES or not all(map(_is_name, symbols)):
        raise SchemaProblem(path, "enum needs 'symbols', a list of names")
    if len(set(symbols)) != len(symbols):
        raise SchemaProblem(path, "an enum symbol is listed twice")
    return tuple(symbols)


def _logical(made: AvroType, node: Mapping[str, Any], path: str) -> AvroType:
    logical = node.get("logicalType")
    if logical is None:
        return made
    if not isinstance(logical, str) or made.kind not in _LOGICAL.get(logical, ()):
        raise SchemaProblem(path, f"logical type '{str(logical)[:60]}' over {made.kind} is not supported")
    if logical != "decimal":
        return replace(made, logical=logical)
    precision, scale = node.get("precision"), node.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or not 0 < precision <= 38 or not 0 <= scale <= precision:
        raise SchemaProblem(path, "decimal needs 0 < precision <= 38 and 0 <= scale <= precision")
    return replace(made, logical=logical, precision=precision, scale=scale)


def count_types(made: AvroType) -> int:
    """How many types a type consists of, itself included."""
    inner = count_types(made.items) if made.items else 0
    return 1 + inner + sum(count_types(each.type) for each in made.fields)


def min_size(made: AvroType) -> int:
    """The fewest bytes that a value takes in Avro's binary form."""
    if made.nullable:
        return 1
    if made.kind == "record":
        return sum(min_size(each.type) for each in made.fields)
    return {"null": 0, "float": 4, "double": 8, "fixed": made.size}.get(made.kind, 1)
