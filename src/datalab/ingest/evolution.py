"""Contracts that grow with their writers: optional fields that a newer writer added become fields of the contract."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from datalab.errors import ContractError
from datalab.ingest.avro_document import field_document
from datalab.ingest.avro_schema import MISSING, AvroType, Field, SchemaProblem, load_json, parse_schema
from datalab.ingest.contracts import Contract, arrow_type, parse_contract
from datalab.ingest.resolution import PROMOTIONS, differences


def grown(contract: Contract, writer: str, present: Iterable[pa.Field[Any]] = ()) -> Contract:
    """The contract with the optional fields that only the writer's schema (its text) has; itself where there is none.

    `present` are the columns of the table: a field that was taken before has the type that it got then. A field that
    does not fit its column is not taken, and so is nothing of a schema that cannot be used, whatever it is; its
    messages are refused for it later.

    Optional is what has a null or a default: readers of the old contract can go on without it. Whatever else sets
    the two apart stays a difference.
    """
    document = json.loads(contract.text)
    try:
        record = parse_schema(load_json(writer), strict=False)
        if not _extend(document, record, present, ""):
            return contract
        made = parse_contract(json.dumps(document))
        wrong = differences(record, made.record)
    except (ContractError, SchemaProblem):
        return contract
    return contract if wrong else made


def _extend(document: Any, writer: AvroType, present: Iterable[pa.Field[Any]], path: str) -> bool:
    """Add the optional fields of a writer's record to a contract's document, in place; whether there were any."""
    mine, theirs = _record(document), _record_of(writer)
    if mine is None or theirs is None:
        return False
    known = {name: each for each in mine["fields"] for name in (each["name"], *each.get("aliases", ()))}
    columns = {each.name.casefold(): each for each in present}
    changed = False
    for each in theirs.fields:
        column = columns.get(each.name.casefold())
        inner = f"{path}{each.name}"
        if each.name in known:
            own = columns.get(known[each.name]["name"].casefold())
            changed = _extend(known[each.name]["type"], each.type, _inside(own), f"{inner}.") or changed
        elif _is_optional(each) and (kind := _fitted(each, column)) is not None:
            default = None if each.default is MISSING else each.default
            mine["fields"].append(field_document(replace(each, type=kind, default=default), inner))
            changed = True
    return changed


def _record(node: Any) -> dict[str, Any] | None:
    """The record in a type's document: the type itself, a branch of its union, the items of an array or map."""
    if isinstance(node, list):
        return next((found for found in map(_record, node) if found), None)
    if not isinstance(node, dict):
        return None
    if node.get("type") == "record":
        return node if isinstance(node.get("fields"), list) else None
    return _record(node.get("items") or node.get("values") or node.get("type"))


def _record_of(kind: AvroType) -> AvroType | None:
    if kind.items is not None:
        return _record_of(kind.items)
    return kind if kind.kind == "record" else None


def _inside(column: pa.Field[Any] | None) -> Iterable[pa.Field[Any]]:
    """The fields of the struct that a column is, or holds lists or maps of."""
    kind = column.type if column is not None else None
    while kind is not None and not pa.types.is_struct(kind):
        kind = kind.item_type if pa.types.is_map(kind) else getattr(kind, "value_type", None)
    return () if kind is None else tuple(kind)


def _is_optional(field: Field) -> bool:
    return field.default is not MISSING or (field.type.nullable and field.type.null_first)


def _fitted(field: Field, column: pa.Field[Any] | None) -> AvroType | None:
    """The field's type as its column has it; None where the two do not go together."""
    if column is None:
        return field.type
    return _as_kept(field.type, column.type) if column.name == field.name else None


def _as_kept(kind: AvroType, kept: pa.DataType) -> AvroType | None:
    if kind.kind == "record":
        return _record_as_kept(kind, kept) if pa.types.is_struct(kept) else None
    if kind.items is not None:
        fits = pa.types.is_map(kept) if kind.kind == "map" else pa.types.is_list(kept)
        inner = _as_kept(kind.items, kept.item_type if kind.kind == "map" else kept.value_type) if fits else None
        return None if inner is None else replace(kind, items=inner)
    wider = () if kind.logical else sorted(PROMOTIONS.get(kind.kind, ()))
    choices = (kind, *(replace(kind, kind=each) for each in wider))
    return next((each for each in choices if arrow_type(each) == kept), None)


def _record_as_kept(kind: AvroType, kept: Iterable[pa.Field[Any]]) -> AvroType | None:
    columns = {each.name.casefold(): each for each in kept}
    fitted = [(each, _fitted(each, columns.get(each.name.casefold()))) for each in kind.fields]
    fields = tuple(replace(each, type=made) for each, made in fitted if made is not None)
    return replace(kind, fields=fields) if len(fields) == len(kind.fields) else None
