"""Data contracts: an Avro schema (.avsc) per source, as Arrow types, personal-data tags, defaults and a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from datalab.errors import ContractError
from datalab.ingest.avro_schema import MISSING, AvroType, SchemaProblem, fingerprint, load_json, parse_schema
from datalab.ingest.defaults import check_default

TIMESTAMP = pa.timestamp("us", tz="UTC")
IN_FILE = pa.schema(
    [
        ("ingestion_timestamp", TIMESTAMP),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("source_version", pa.string()),
    ]
)
IN_TOPIC = pa.schema(
    [
        ("ingestion_timestamp", TIMESTAMP),
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("source_timestamp", TIMESTAMP),
        ("source_key", pa.binary()),
        ("source_headers", pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("value", pa.binary())])))),
    ]
)
_KEPT = frozenset([*IN_FILE.names, *IN_TOPIC.names])

_PLAIN = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "enum": pa.string(),
    "bytes": pa.binary(),
    "fixed": pa.binary(),
}


@dataclass(frozen=True)
class Contract:
    """What records of a source must look like. `text` is the schema as written; `schema_id` its fingerprint."""

    text: str
    record: AvroType
    schema_id: str

    @cached_property
    def schema(self) -> pa.Schema:
        """The fields as Arrow types, with their nullability."""
        return pa.schema([arrow_field(each.name, each.type) for each in self.record.fields])

    @cached_property
    def personal(self) -> Mapping[str, str]:
        """Dotted path of each field of personal data -> its kind (`cpf`, `name`, ...)."""
        return dict(_personal(self.record, ""))


def read_contract(path: Path, shown: str = "") -> Contract:
    """Read an .avsc file. ContractError names the file (as `shown`) and the field."""
    shown = shown or path.name
    try:
        return parse_contract(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ContractError(f"contract {shown} does not exist", "write the Avro schema of the source there") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"contract {shown} cannot be read: {error}", "it must be JSON in UTF-8") from error
    except SchemaProblem as error:
        raise ContractError(f"contract {shown}: {error}", "docs/contracts.md lists what a contract may hold") from error


def parse_contract(text: str) -> Contract:
    """Parse the text of a contract; SchemaProblem names the field that is wrong."""
    document = load_json(text)
    record = parse_schema(document)
    for each in record.fields:
        if each.name.lower() in _KEPT or each.name.startswith("__"):
            raise SchemaProblem(each.name, "this name is kept for the columns that ingest adds")
    _check_defaults(record, "")
    return Contract(text, record, fingerprint(document))


def _check_defaults(record: AvroType, path: str) -> None:
    for each in record.fields:
        inner = f"{path}{each.name}"
        if each.default is not MISSING:
            check_default(each.default, each.type, inner)
        for nested in _records(each.type):
            _check_defaults(nested, f"{inner}.")


def _personal(record: AvroType, path: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for each in record.fields:
        if each.pii:
            found.append((f"{path}{each.name}", each.pii))
        for nested in _records(each.type):
            found.extend(_personal(nested, f"{path}{each.name}."))
    return found


def _records(kind: AvroType) -> tuple[AvroType, ...]:
    if kind.items is not None:
        return _records(kind.items)
    return (kind,) if kind.kind == "record" else ()


def arrow_type(kind: AvroType) -> pa.DataType:
    """The Arrow type of the lake for an Avro type; timestamps are microseconds in UTC."""
    if kind.logical == "date":
        return pa.date32()
    if kind.logical.startswith("timestamp"):
        return TIMESTAMP
    if kind.logical == "decimal":
        return pa.decimal128(kind.precision, kind.scale)
    if kind.kind == "record":
        return pa.struct([arrow_field(each.name, each.type) for each in kind.fields])
    if kind.kind == "array":
        return pa.list_(arrow_field("element", kind.element))
    if kind.kind == "map":
        return pa.map_(pa.string(), arrow_field("value", kind.element))
    return _PLAIN[kind.kind]


def arrow_field(name: str, kind: AvroType) -> pa.Field:
    """A field of the lake for an Avro type, with its nullability."""
    return pa.field(name, arrow_type(kind), nullable=kind.nullable)


def bronze_schema(contract: Contract, position: pa.Schema = IN_FILE) -> pa.Schema:
    """The bronze table's columns: the contract's fields, then when and where each row came from.

    Columns are nullable: the contract says what is required, and may come to allow more than it did.
    """
    fields = [pa.field(each.name, _nullable(each.type)) for each in contract.schema]
    return pa.schema([*fields, *position])


def _nullable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(each.name, _nullable(each.type)) for each in kind])
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", _nullable(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(pa.string(), _nullable(kind.item_type))
    return kind
