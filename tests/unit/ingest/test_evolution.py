"""Contracts that grow with their writers, and schemas with their references written out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from datalab.ingest.avro_schema import parse_schema
from datalab.ingest.contracts import parse_contract
from datalab.ingest.evolution import grown


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "pedido", "fields": list(fields)}


ID = {"name": "id", "type": "string"}
INNER = {"name": "local", "type": ["null", {"type": "record", "name": "l", "fields": [ID]}], "default": None}
NEW = {"name": "novo", "type": ["null", "string"], "default": None}


@pytest.mark.parametrize(
    ("writer", "names"),
    [
        (record(ID, NEW), ["id", "novo"]),
        (record(ID, {"name": "novo", "type": "int", "default": 3}), ["id", "novo"]),
        (record(ID, {"name": "novo", "type": "int"}), ["id"]),
        (record({"name": "id", "type": "long"}, NEW), ["id"]),
        (record(ID), ["id"]),
    ],
)
def test_optional_fields_of_the_writer_are_taken_where_all_else_fits(writer: dict[str, Any], names: list[str]) -> None:
    contract = parse_contract(json.dumps(record(ID)))
    assert [each.name for each in grown(contract, json.dumps(writer)).record.fields] == names


def test_fields_inside_of_records_too() -> None:
    contract = parse_contract(json.dumps(record(ID, INNER)))
    wider = json.loads(json.dumps(record(ID, INNER)))
    wider["fields"][1]["type"][1]["fields"].append(NEW)
    made = grown(contract, json.dumps(wider))
    assert [each.name for each in made.record.fields[1].type.fields] == ["id", "novo"]
    assert grown(made, json.dumps(wider)) is made
    assert grown(made, json.dumps(record(ID, INNER))) is made


def test_references_are_written_out_where_they_are_first_used() -> None:
    registry = pytest.importorskip("datalab.ingest.sources.registry")
    named = {
        "br.Uf": {"type": "enum", "name": "Uf", "namespace": "br", "symbols": ["SP"]},
        "br.Local": {"type": "record", "name": "br.Local", "fields": [{"name": "uf", "type": "Uf"}]},
    }
    document = {
        "type": "record",
        "name": "pedido",
        "namespace": "br",
        "fields": [
            {"name": "local", "type": ["null", "br.Local"]},
            {"name": "outro", "type": {"type": "array", "items": "Local"}},
            {"name": "uf", "type": "br.Uf"},
        ],
    }
    made = parse_schema(registry.inlined(document, named))
    assert [str(each.type) for each in made.fields] == ["record?", "array<record>", "enum"]
    assert made.fields[1].type.element.fields[0].type.symbols == ("SP",)
