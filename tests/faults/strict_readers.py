"""What strict readers that we did not write take from a file: the records that must be in bronze, and no fewer."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from fastavro.validation import validate

from datalab.ingest.contracts import parse_contract

Record = dict[str, Any]
SYNC = b"sync marker 16 b"


def read_avro(data: bytes, contract: Any) -> Iterator[Record]:
    """fastavro under the contract, up to its first error.

    It takes ints of any size, so its values are validated; and a negative index of a union as one counted from the
    end, bytes of a sync marker as data, and of a number of more than 64 bits the lower ones: in a file that is not
    compressed the first record that is not there as it would be written, outside any marker, is an error too.
    """
    schema = fastavro.parse_schema(contract)
    try:
        reader = fastavro.reader(io.BytesIO(data), reader_schema=contract)
        for record in reader:
            if not isinstance(record, dict) or not validate(record, schema, raise_errors=False):
                continue
            written = io.BytesIO()
            fastavro.schemaless_writer(written, schema, record)
            if reader.codec == "null" and not _stands_in(data, written.getvalue()):
                return
            yield record
    except Exception:  # noqa: BLE001 - hostile bytes make it raise anything
        return


def _stands_in(data: bytes, written: bytes) -> bool:
    at = data.find(written)
    return at >= 0 and not 0 <= data[at : at + len(written) + len(SYNC) - 1].find(SYNC) < len(written)


def schema_intact(data: bytes, contract: Any) -> bool:
    """Whether a container's schema is the contract's: no field is surplus, no logical type lost."""
    try:
        writer = fastavro.reader(io.BytesIO(data)).writer_schema
    except Exception:  # noqa: BLE001
        return False
    return _shape(writer) == _shape(fastavro.parse_schema(contract))


def _shape(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_shape(each) for each in schema]
    if isinstance(schema, dict):
        kept = ("type", "name", "fields", "items", "symbols", "logicalType", "precision", "scale")
        return {key: _shape(schema[key]) for key in kept if key in schema}
    return schema


def read_jsonl(data: bytes, contract: Any) -> Iterator[Record]:
    """The json module, strictly: UTF-8, no NaN, no key twice; then the contract's fields and types."""
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if line.strip(b" \t\r\n"):
            try:
                found = json.loads(line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
                yield _fit(found, contract)
            except (ValueError, RecursionError, TypeError):
                continue


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError
    return dict(pairs)


def _refuse(_text: str) -> None:
    raise ValueError


def _fit(value: Any, schema: Any) -> Any:
    if isinstance(schema, list):
        return None if value is None else _fit(value, next(each for each in schema if each != "null"))
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "record":
        return _fit_record(value, schema)
    if kind == "array":
        if not isinstance(value, list):
            raise TypeError
        return [_fit(each, schema["items"]) for each in value]
    return _fit_plain(value, kind, schema)


def _fit_record(value: Any, schema: Any) -> Record:
    names = {each["name"] for each in schema["fields"]}
    if not isinstance(value, dict) or set(value) - names:
        raise TypeError
    made = {}
    for each in schema["fields"]:
        if each["name"] not in value and "default" not in each:
            raise TypeError
        made[each["name"]] = _fit(value.get(each["name"], each.get("default")), each["type"])
    return made


def _fit_plain(value: Any, kind: Any, schema: Any) -> Any:
    wanted = {"string": str, "enum": str, "boolean": bool, "double": (int, float)}.get(kind, int)
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind != "boolean"):
        raise TypeError
    if kind == "string":
        value.encode("utf-8")
    if kind == "enum" and value not in schema["symbols"]:
        raise ValueError
    if kind == "double":
        value = float(value)
        if not math.isfinite(value):
            raise ValueError
    if (
        kind in ("int", "long")
        and not -(1 << {"int": 31, "long": 63}[kind]) <= value < 1 << {"int": 31, "long": 63}[kind]
    ):
        raise ValueError
    return value


def read_csv(data: bytes, contract: Any) -> Iterator[Record]:
    """The csv module, strictly, with the contract's header; then the fields' types."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names = [each["name"] for each in contract["fields"]]
    header = False
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            if not header:
                return
            continue
        if not header and row:
            if row != names:
                return
            header = True
        elif len(row) == len(names):
            yield from _fit_row(row, contract)


def _fit_row(row: list[str], contract: Any) -> Iterator[Record]:
    try:
        "".join(row).encode("utf-8")
        yield {each["name"]: _parse(text, each["type"]) for text, each in zip(row, contract["fields"], strict=True)}
    except (ValueError, ArithmeticError):
        return


def _parse(text: str, schema: Any) -> Any:
    if isinstance(schema, list):
        return None if text == "" else _parse(text, schema[1])
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "enum" and text not in schema["symbols"]:
        raise ValueError
    if kind in ("string", "enum"):
        return text
    return _LOGICAL[logical](text) if logical else _NUMBER[kind](text)


def _integer(text: str, bits: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text, re.ASCII) or not -(1 << bits) <= int(text) < 1 << bits:
        raise ValueError
    return int(text)


def _double(text: str) -> float:
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text, re.ASCII):
        raise ValueError
    if not math.isfinite(float(text)):
        raise ValueError
    return float(text)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text] if text in ("true", "false") else _refuse(text)  # type: ignore[func-returns-value]


def _day(text: str) -> date:
    return date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) else _refuse(text)  # type: ignore[func-returns-value]


def _moment(text: str) -> datetime:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z", text, re.ASCII):
        raise ValueError
    return datetime.fromisoformat(text).astimezone(UTC)


def _amount(text: str) -> Decimal:
    if not re.fullmatch(r"-?[0-9]{1,6}\.[0-9]{2}", text, re.ASCII):
        raise ValueError
    return Decimal(text)


_NUMBER = {
    "int": lambda text: _integer(text, 31),
    "long": lambda text: _integer(text, 63),
    "double": _double,
    "boolean": _boolean,
}
_LOGICAL = {"date": _day, "timestamp-millis": _moment, "decimal": _amount}


def read_parquet(data: bytes, contract: Any) -> Iterator[Record]:
    """Arrow with page checksums, where the whole file is valid and has the contract's columns."""
    names = [each["name"] for each in contract["fields"]]
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True, use_threads=False)
        table.validate(full=True)
        if table.schema.names == names and table.schema.types == parse_contract(json.dumps(contract)).schema.types:
            yield from (record for record in table.to_pylist() if record["tipo"] in ("FISICA", "JURIDICA"))
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return
