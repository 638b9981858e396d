"""Contracts that grow with their writers: optional fields that a newer writer added become fields of the contract."""

from __future__ import annotations

import json
from typing import Any

from datalab.errors import ContractError
from datalab.ingest.avro_schema import SchemaProblem, load_json, parse_schema
from datalab.ingest.contracts import Contract, parse_contract
from datalab.ingest.resolution import differences


def grown(contract: Contract, writer: str) -> Contract:
    """The contract with the optional fields that only the writer's schema (its text) has; itself where there is none.

    A schema that cannot be used, whatever it is, adds nothing; its messages are refused for it later.

    Optional is what has a null or a default: readers of the old contract can go on without it. Whatever else sets
    the two apart stays a difference.
    """
    document = json.loads(contract.text)
    try:
        theirs = load_json(writer)
        record = parse_schema(theirs, strict=False)
        if not _extend(document, theirs):
            return contract
        made = parse_contract(json.dumps(document))
        wrong = differences(record, made.record)
    except (ContractError, SchemaProblem):
        return contract
    return contract if wrong else made


def _extend(document: Any, writer: Any) -> bool:
    """Add the optional fields of one record's document to another's, in place; whether there were any."""
    mine, theirs = _record(document), _record(writer)
    if mine is None or theirs is None:
        return False
    known = {name: each for each in mine["fields"] for name in (each["name"], *each.get("aliases", ()))}
    changed = False
    for each in theirs["fields"]:
        if each["name"] in known:
            changed = _extend(known[each["name"]]["type"], each["type"]) or changed
        elif _is_optional(each):
            mine["fields"].append({"default": None, **each})
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


def _is_optional(field: dict[str, Any]) -> bool:
    kind = field.get("type")
    return "default" in field or (isinstance(kind, list) and kind[:1] == ["null"])
