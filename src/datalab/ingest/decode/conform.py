"""Decoded columns to the contract's types: what does not fit becomes a fault of its record, never a silent change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.avro_schema import MISSING, AvroType
from datalab.ingest.contracts import arrow_type
from datalab.ingest.decode.leaves import Mask, convert_leaf
from datalab.ingest.defaults import default_value
from datalab.ingest.reasons import Reason
from datalab.ingest.resolution import name_of, source_of

Conformed = tuple[pa.Array, list["Fault"]]


@dataclass(frozen=True)
class Fault:
    """Rows (a boolean mask over records) that have the same thing wrong with them."""

    rows: Mask
    reason: Reason
    detail: str


def conform(records: pa.StructArray, reader: AvroType, writer: AvroType | None = None) -> Conformed:
    """Records as decoded -> a struct array of the contract's types, and the faults of its rows.

    Texts that came as dictionaries stay so, and enums become some.

    `writer` is the schema that an Avro file was written with; without it children are matched by name or alias.
    Faulty rows hold nulls where their values could not be kept.
    """
    return _record(records, reader, writer, "")


def first_faults(faults: Sequence[Fault], rows: int) -> dict[int, Fault]:
    """Row -> the first fault found in it."""
    found: dict[int, Fault] = {}
    for fault in faults:
        for row in np.flatnonzero(fault.rows[:rows]).tolist():
            found.setdefault(row, fault)
    return found


def _value(array: pa.Array, present: Mask, kinds: tuple[AvroType, AvroType | None], path: str) -> Conformed:
    """One column; `present` marks rows whose parent exists."""
    reader, writer = kinds
    faults: list[Fault] = []
    if not reader.nullable and array.null_count:
        absent = _mask(array.is_null()) & present
        if absent.any():
            faults.append(Fault(absent, Reason.NULL_IN_REQUIRED, f"{path}: null in a required field"))
    nested = {"record": _record, "array": _list, "map": _map}.get(reader.kind)
    if nested:
        made, inner = nested(array, reader, writer, path)
        return made, faults + inner
    made, bad = convert_leaf(array, reader, writer)
    faults.extend(Fault(rows, reason, f"{path}: {words}") for rows, reason, words in bad)
    return made, faults


def _record(array: pa.Array, reader: AvroType, writer: AvroType | None, path: str) -> Conformed:
    present = ~_mask(array.is_null()) if array.null_count else np.ones(len(array), dtype=bool)
    children = dict(zip((each.name for each in array.type), array.flatten(), strict=True))
    made: list[pa.Array] = []
    faults: list[Fault] = []
    for wanted in reader.fields:
        source = source_of(wanted, writer) if writer else None
        name = source.name if source else None if writer else name_of(wanted, children)
        inner = f"{path}.{wanted.name}" if path else wanted.name
        if name is None or name not in children:
            default = None if wanted.default is MISSING else default_value(wanted.default, wanted.type)
            made.append(_constant(default, len(array), arrow_type(wanted.type)))
            continue
        kinds = (wanted.type, source.type if source else None)
        column, found = _value(children[name], present, kinds, inner)
        made.append(column)
        faults.extend(found)
    names = [each.name for each in reader.fields]
    mask = pa.array(~present) if array.null_count else None
    return pa.StructArray.from_arrays(made, names=names, mask=mask), faults


def _constant(value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    return pa.array([value], kind).take(pa.array(np.zeros(rows, dtype=np.int64)))


def _list(array: pa.Array, reader: AvroType, writer: AvroType | None, path: str) -> Conformed:
    values = array.flatten()
    present = np.ones(len(values), dtype=bool)
    kinds = (reader.element, writer.element if writer else None)
    made, faults = _value(values, present, kinds, f"{path}[]")
    offsets, mask = _offsets(array)
    return pa.ListArray.from_arrays(offsets, made, mask=mask), _lift(faults, array)


def _map(array: pa.Array, reader: AvroType, writer: AvroType | None, path: str) -> Conformed:
    pairs = (
        array.cast(pa.large_list(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
        if (pa.types.is_map(array.type))
        else array
    )
    keys, values = pairs.flatten().flatten()
    keys = keys.cast(pa.string())
    kinds = (reader.element, writer.element if writer else None)
    made, faults = _value(values, np.ones(len(values), dtype=bool), kinds, f"{path}[]")
    faults.extend(_repeated(keys, pairs, path))
    offsets, mask = _offsets(pairs)
    return pa.MapArray.from_arrays(offsets, keys, made, mask=mask), _lift(faults, pairs)


def _repeated(keys: pa.Array, pairs: pa.Array, path: str) -> list[Fault]:
    codes = keys.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    joined = _parents(pairs) * (codes.max(initial=0) + 1) + codes
    unique, first = np.unique(joined, return_index=True)
    if len(unique) == len(joined):
        return []
    again = np.ones(len(joined), dtype=bool)
    again[first] = False
    return [Fault(again, Reason.DUPLICATE_KEY, f"{path}: the same key twice in a map")]


def _offsets(array: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets, pa.int32()), array.is_null() if array.null_count else None


def _parents(array: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.asarray(pc.list_parent_indices(array).to_numpy(zero_copy_only=False), dtype=np.int64)


def _lift(faults: list[Fault], array: pa.Array) -> list[Fault]:
    """Faults of elements as faults of the rows that hold them."""
    if not faults:
        return faults
    parents = _parents(array)
    lifted = []
    for fault in faults:
        rows = np.zeros(len(array), dtype=bool)
        rows[parents[fault.rows]] = True
        lifted.append(Fault(rows, fault.reason, fault.detail))
    return lifted


def _mask(array: pa.Array) -> Mask:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)
