"""Single values to the contract's types, column by column: Avro's wire forms, text, and Arrow's own types."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.contracts import TIMESTAMP, arrow_type
from datalab.ingest.reasons import Reason

Mask = npt.NDArray[np.bool_]
Bad = tuple[Mask, Reason, str]
Leaf = tuple[pa.Array, list[Bad]]

_INTEGER = r"^[+-]?[0-9]{1,19}$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
_ZONED = r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
_DAYS = (-719_162, 2_932_896)  # 0001-01-01 and 9999-12-31, the dates that every reader of the lake knows
_MICROS = 86_400_000_000
_FINER = "finer than a microsecond"
_UNIT = {"timestamp-millis": 1_000, "timestamp-micros": 1, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}


def convert_leaf(array: pa.Array, reader: AvroType, writer: AvroType | None) -> Leaf:
    """A column of plain values in the reader's Arrow type; rows that do not fit are null there and listed."""
    if pa.types.is_dictionary(array.type):
        return _recurring(array, reader, writer)
    if reader.kind == "enum":
        return _enum(array, reader, writer)
    if reader.logical.startswith("timestamp"):
        return _timestamp(array, (writer.logical if writer else "") or reader.logical)
    special = {"date": _date, "decimal": _decimal}.get(reader.logical)
    if special:
        return special(array, reader)
    return _PLAIN[reader.kind](array, reader)


def _recurring(array: pa.DictionaryArray, reader: AvroType, writer: AvroType | None) -> Leaf:
    """Each different value once; a fault is of a row, so where there is any, all rows are looked at."""
    made, faults = convert_leaf(array.dictionary, reader, writer)
    if faults:
        return convert_leaf(array.dictionary_decode(), reader, writer)
    coded = pa.DictionaryArray.from_arrays(array.indices, made, safe=False)
    return (coded if pa.types.is_string(made.type) else coded.dictionary_decode()), []


def is_text(array: pa.Array) -> bool:
    """Whether a column holds strings."""
    return bool(pa.types.is_string(array.type) or pa.types.is_large_string(array.type))


def _is_binary(array: pa.Array) -> bool:
    return bool(pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type))


def _without(array: pa.Array, bad: Mask) -> pa.Array:
    return pc.if_else(pa.array(~bad), array, pa.scalar(None, array.type))


def _true(array: pa.Array) -> Mask:
    if not pc.any(array).as_py():  # as nearly always: bits need not become bytes
        return np.zeros(len(array), dtype=bool)
    return np.asarray(pc.fill_null(array, False).to_numpy(zero_copy_only=False), dtype=bool)


def _set_aside(array: pa.Array, bad: Mask, reason: Reason, words: str) -> Leaf:
    return (_without(array, bad), [(bad, reason, words)]) if bad.any() else (array, [])


def _matching(array: pa.Array, pattern: str, words: str) -> Leaf:
    """Text that does not match the pattern is set aside."""
    bad = _true(pc.invert(pc.match_substring_regex(array, pattern)))
    return _set_aside(array, bad, Reason.WRONG_TYPE, words)


def _cast(array: pa.Array, target: pa.DataType, reason: Reason, words: str) -> Leaf:
    """A checked cast; where it fails the rows at fault are searched by halves."""
    try:
        return pc.cast(array, target), []
    except pa.ArrowInvalid:
        bad = np.zeros(len(array), dtype=bool)
        _search(array, target, 0, bad)
        kept, faults = _set_aside(array, bad, reason, words)
        return pc.cast(kept, target), faults


def _search(array: pa.Array, target: pa.DataType, start: int, bad: Mask) -> None:
    try:
        pc.cast(array, target)
    except pa.ArrowInvalid:
        if len(array) == 1:
            bad[start] = True
            return
        half = len(array) // 2
        _search(array.slice(0, half), target, start, bad)
        _search(array.slice(half), target, start + half, bad)


def _boolean(array: pa.Array, _reader: AvroType) -> Leaf:
    wrong = (Reason.CORRUPT_RECORD, "a boolean byte other than 0 and 1")
    if pa.types.is_uint8(array.type):
        return _set_aside(pc.cast(array, pa.bool_()), _true(pc.greater(array, 1)), *wrong)
    if _is_binary(array):  # Avro's one byte, decoded as fixed(1)
        yes, no = pc.equal(array, b"\x01"), pc.equal(array, b"\x00")
        return _set_aside(yes, _true(pc.invert(pc.or_(yes, no))), *wrong)
    if is_text(array):
        kept, faults = _matching(array, r"^(?i:true|false)$", "not true or false")
        return pc.equal(pc.utf8_lower(kept), "true"), faults
    return array, []


def _integer(array: pa.Array, reader: AvroType) -> Leaf:
    faults: list[Bad] = []
    if is_text(array):
        array, faults = _matching(array, _INTEGER, "not an integer")
        array = pc.utf8_ltrim(array, "+")
    made, outside = _cast(array, arrow_type(reader), Reason.OUT_OF_RANGE, f"outside the range of {reader.kind}")
    return made, faults + outside


def _floating(array: pa.Array, reader: AvroType) -> Leaf:
    target = arrow_type(reader)
    if is_text(array):
        kept, faults = _matching(array, _NUMBER, "not a number")
        made, wrong = _cast(pc.utf8_ltrim(kept, "+"), pa.float64(), Reason.WRONG_TYPE, "not a number")
        bad = _true(pc.invert(pc.is_finite(made)))
        made, outside = _set_aside(made, bad, Reason.OUT_OF_RANGE, f"outside the range of {reader.kind}")
        narrowed, more = _narrow(made, target)
        return narrowed, faults + wrong + outside + more
    return _narrow(array, target)


def _narrow(array: pa.Array, target: pa.DataType) -> Leaf:
    made = pc.cast(array, target, safe=False)  # rounding to the nearest value is what a promotion means
    if target != pa.float32() or array.type != pa.float64():
        return made, []
    bad = _true(pc.and_(pc.is_finite(array), pc.invert(pc.is_finite(made))))
    return _set_aside(made, bad, Reason.OUT_OF_RANGE, "outside the range of float")


def _string(array: pa.Array, _reader: AvroType) -> Leaf:
    return _cast(array, pa.string(), Reason.INVALID_UTF8, "not UTF-8")


def _bytes(array: pa.Array, reader: AvroType) -> Leaf:
    made = pc.cast(array, pa.binary())
    if reader.kind != "fixed":
        return made, []
    bad = _true(pc.not_equal(pc.binary_length(made), reader.size))
    return _set_aside(made, bad, Reason.WRONG_TYPE, f"not {reader.size} bytes long")


def _enum(array: pa.Array, reader: AvroType, writer: AvroType | None) -> Leaf:
    faults: list[Bad] = []
    if pa.types.is_integer(array.type) and writer:
        symbols = pa.array(writer.symbols, pa.string())
        bad = _true(pc.or_(pc.less(array, 0), pc.greater_equal(array, len(symbols))))
        array, faults = _set_aside(array, bad, Reason.CORRUPT_RECORD, "not the index of a symbol")
        if set(writer.symbols) <= set(reader.symbols):
            return pa.DictionaryArray.from_arrays(pc.cast(array, pa.int32()), symbols, safe=False), faults
        array = symbols.take(array)
    made = pc.cast(array, pa.string())
    unknown = _true(pc.and_(pc.invert(pc.is_in(made, pa.array(reader.symbols))), pc.is_valid(made)))
    if writer and reader.fallback:  # only what Avro resolves has a default: in text an unknown word is a mistake
        made, unknown = pc.if_else(pa.array(unknown), reader.fallback, made), np.zeros(len(made), dtype=bool)
    kept, more = _set_aside(made, unknown, Reason.UNKNOWN_SYMBOL, "not a symbol of the contract")
    return kept, faults + more


def _date(array: pa.Array, _reader: AvroType) -> Leaf:
    if is_text(array):
        kept, faults = _matching(array, _DATE, "not a date (YYYY-MM-DD)")
        made, more = _cast(kept, pa.date32(), Reason.WRONG_TYPE, "not a date (YYYY-MM-DD)")
        days, outside = _within(pc.cast(made, pa.int32()), _DAYS, "outside the years 1 to 9999")
        return pc.cast(days, pa.date32()), faults + more + outside
    days = array if pa.types.is_integer(array.type) else pc.cast(pc.cast(array, pa.date32()), pa.int32())
    kept, faults = _within(days, _DAYS, "outside the years 1 to 9999")
    return pc.cast(pc.cast(kept, pa.int32()), pa.date32()), faults


def _within(array: pa.Array, bounds: tuple[int, int], words: str) -> Leaf:
    bad = _true(pc.or_(pc.less(array, bounds[0]), pc.greater(array, bounds[1])))
    return _set_aside(array, bad, Reason.OUT_OF_RANGE, words)


def _timestamp(array: pa.Array, logical: str) -> Leaf:
    words = "outside the years 1 to 9999"
    faults: list[Bad] = []
    if is_text(array):
        array, faults = _matching(array, _MOMENT, "not a timestamp (ISO 8601)")
        array = pc.cast(array, pa.string())
        zoned = pc.if_else(pc.match_substring_regex(array, _ZONED), array, pc.binary_join_element_wise(array, "Z", ""))
        array, wrong = _cast(zoned, TIMESTAMP, Reason.WRONG_TYPE, "not a timestamp (ISO 8601)")
        faults = faults + wrong
    if pa.types.is_struct(array.type):  # of parquet_int96.py
        micros, finer_there = array.flatten()
        array, faults = _set_aside(micros, _true(finer_there), Reason.OUT_OF_RANGE, _FINER)
        logical = "us"
    if pa.types.is_timestamp(array.type):
        logical = array.type.unit
        array, finer = _ticks(array)
        faults = faults + finer
    unit = _UNIT[logical]
    bounds = (_DAYS[0] * _MICROS // unit, (_DAYS[1] + 1) * _MICROS // unit - 1)
    kept, outside = _within(array, bounds, words)
    micros = pc.multiply(kept, pa.scalar(unit, pa.int64())) if unit > 1 else pc.cast(kept, pa.int64())
    return pc.cast(micros, TIMESTAMP), faults + outside


def _ticks(array: pa.Array) -> Leaf:
    """Timestamps as counts of their unit, whatever their zone claims to be; nanoseconds as microseconds."""
    ticks = array.view(pa.int64())
    if array.type.unit != "ns":
        return ticks, []
    micros = pc.divide(ticks, pa.scalar(1_000, pa.int64()))
    bad = _true(pc.not_equal(pc.multiply(micros, pa.scalar(1_000, pa.int64())), ticks))
    return _set_aside(micros, bad, Reason.OUT_OF_RANGE, _FINER)


def _decimal(array: pa.Array, reader: AvroType) -> Leaf:
    target, words = arrow_type(reader), f"does not fit decimal({reader.precision}, {reader.scale})"
    if _is_binary(array):
        whole, faults = _from_bytes(array, reader, words)
        return whole, faults
    if is_text(array):
        array, faults = _matching(array, _NUMBER, "not a number")
        made, more = _cast(pc.utf8_ltrim(array, "+"), target, Reason.OUT_OF_RANGE, words)
        return made, faults + more
    return _cast(array, target, Reason.OUT_OF_RANGE, words)


def _beyond_38_digits(whole: pa.Array) -> Mask:
    """16 bytes hold a little more than 38 digits."""
    most = pa.scalar(Decimal((0, (9,) * 38, -whole.type.scale)), whole.type)
    return _true(pc.greater(whole, most)) | _true(pc.less(whole, pc.negate(most)))


def _from_bytes(array: pa.Array, reader: AvroType, words: str) -> Leaf:
    """Big-endian two's complement of up to 16 bytes to decimals, a length at a time."""
    lengths = pc.fill_null(pc.binary_length(array), -1).to_numpy(zero_copy_only=False)
    wide = np.zeros((len(array), 16), dtype=np.uint8)
    for length in np.unique(lengths[(lengths > 0) & (lengths <= 16)]).tolist():
        rows = np.flatnonzero(lengths == length)
        taken = array.take(pa.array(rows)).cast(pa.binary(length))
        digits = np.frombuffer(taken.buffers()[1], dtype=np.uint8)[: len(rows) * length].reshape(-1, length)
        wide[rows, :length] = digits[:, ::-1]
        wide[rows, length:] = np.where(digits[:, :1] & 0x80, 0xFF, 0).astype(np.uint8)
    widest = pa.decimal128(38, reader.scale)
    whole = pa.Array.from_buffers(widest, len(array), [None, pa.py_buffer(wide.tobytes())])
    bad = (lengths > 16) | ((lengths == 16) & _beyond_38_digits(whole))
    made = pc.if_else(pa.array(lengths >= 0), whole, pa.scalar(None, widest))
    kept, faults = _set_aside(made, bad, Reason.OUT_OF_RANGE, words)
    narrowed, more = _cast(kept, arrow_type(reader), Reason.OUT_OF_RANGE, words)
    return narrowed, faults + more


_PLAIN: dict[str, Callable[[Any, AvroType], Leaf]] = {
    "boolean": _boolean,
    "int": _integer,
    "long": _integer,
    "float": _floating,
    "double": _floating,
    "string": _string,
    "bytes": _bytes,
    "fixed": _bytes,
}
