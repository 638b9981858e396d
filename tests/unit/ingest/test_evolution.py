"""Contracts that grow with their writers, and schemas with their references written out."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
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
    made = parse_schema(
        registry.inlined(document, named | {"Local": {"type": "record", "name": "Local", "fields": []}})
    )
    assert [str(each.type) for each in made.fields] == ["record?", "array<record>", "enum"]
    assert made.fields[1].type.element.fields[0].type.symbols == ("SP",)


def optional(kind: Any) -> dict[str, Any]:
    return {"name": "novo", "type": ["null", kind], "default": None}


UF = {"type": "enum", "name": "br.Uf", "symbols": ["SP"], "default": "SP"}


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("br.Uf", "enum?"),
        ({"type": "array", "items": {"type": "record", "name": "Item", "fields": [ID]}}, "array<record>?"),
        ({"type": "map", "values": {"type": "fixed", "name": "Hash", "size": 4}}, "map<fixed(4)>?"),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, "timestamp-millis?"),
        ({"type": "long", "logicalType": "timestamp-nanos"}, "long?"),
        ({"type": "int", "logicalType": "time-millis"}, "int?"),
        ({"type": "fixed", "name": "Key", "size": 16, "logicalType": "uuid"}, "fixed(16)?"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "decimal(9, 2)?"),
    ],
)
def test_new_fields_are_taken_whatever_types_they_use(kind: Any, made: str) -> None:
    uf = {"name": "uf", "type": UF}
    contract = parse_contract(json.dumps(record(ID, uf)))
    writer = {**record(ID, uf, optional(kind)), "namespace": "br"}
    assert str(grown(contract, json.dumps(writer)).record.fields[-1].type) == made


@pytest.mark.parametrize(
    ("kind", "kept", "made"),
    [
        ("int", pa.int32(), "int?"),
        ("int", pa.int64(), "long?"),
        ("float", pa.float64(), "double?"),
        ("long", pa.int32(), None),
        ("string", pa.int64(), None),
        ({"type": "array", "items": "int"}, pa.list_(pa.int64()), "array<long>?"),
        ({"type": "map", "values": "int"}, pa.list_(pa.int32()), None),
        ({"type": "record", "name": "r", "fields": [ID]}, pa.struct([("n", pa.int64())]), "record?"),
        ({"type": "record", "name": "r", "fields": [ID]}, pa.struct([("ID", pa.string())]), None),
    ],
)
def test_new_fields_have_the_type_of_their_column_or_are_not_taken(
    kind: Any, kept: pa.DataType, made: str | None
) -> None:
    contract = parse_contract(json.dumps(record(ID)))
    fields = grown(contract, json.dumps(record(ID, optional(kind))), pa.schema([("novo", kept)])).record.fields
    assert [str(each.type) for each in fields[1:]] == ([made] if made else [])
