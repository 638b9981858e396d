"""JSON lines: chunks by Arrow's strict reader; what it does not take for certain is judged line by line."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from datalab.ingest.avro_schema import AvroType
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.judge_json import BadLine, has_map, json_type, judge_line
from datalab.ingest.decode.lines import Lines, chunks_of_lines, contiguous, cut, line_ends, not_text, too_long, within
from datalab.ingest.decode.parts import Described, Part, Rows, settle
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject

_FEW = 64


def decode_jsonl(data: memoryview, contract: Contract, limits: Limits, span: Span | None = None) -> Iterator[Part]:
    """The file's parts; a span counts records, that is lines that are not blank."""
    for lines in _lines(data, limits.chunk_bytes):
        wanted = within(lines, span)
        if not len(wanted.raw):
            continue
        short, long = too_long(wanted, limits.record_bytes)
        text, binary = not_text(short)
        yield from (part for part in (long, binary) if part.rejects)
        yield from _decode(text, contract.record)


def count_lines(data: memoryview, limits: Limits) -> int:
    """How many records the file has."""
    return sum(len(lines.raw) for lines in _lines(data, limits.chunk_bytes))


def describe_line(data: memoryview, limits: Limits, unit: int) -> Described:
    """One record's number and its line."""
    for lines in _lines(data, limits.chunk_bytes):
        if len(lines.raw) and lines.rows[-1] >= unit:
            return unit, 1, lines.texts([unit - int(lines.rows[0])])[0]
    return unit, 1, b""


def _lines(data: memoryview, size: int) -> Iterator[Lines]:
    row = 0
    for chunk in chunks_of_lines(data, size):
        raw = cut(chunk, line_ends(chunk))
        if _maybe_blank(chunk):
            blank = np.fromiter((not each.as_py().strip(b" \t\r\n") for each in raw), dtype=bool, count=len(raw))
            raw = raw.filter(pa.array(~blank))
        yield Lines(raw, np.arange(row, row + len(raw), dtype=np.int64))
        row += len(raw)


def _maybe_blank(chunk: memoryview) -> bool:
    """Whether some line has nothing but white space: then it does not end in a brace."""
    ends = line_ends(chunk)
    starts = np.concatenate([[0], ends[:-1]])
    return bool((np.frombuffer(chunk, dtype=np.uint8)[starts] <= ord(" ")).any())


def _decode(lines: Lines, record: AvroType) -> Iterator[Part]:
    if not len(lines.raw):
        return
    wires: list[pa.StructArray] = []
    rows: list[Rows] = []
    doubtful: list[npt.NDArray[np.int64]] = []
    for at, wire in _pieces(lines, record):
        doubt = np.ones(at[1] - at[0], dtype=bool) if wire is None else _doubts(wire, record)
        doubtful.append(np.flatnonzero(doubt) + at[0])
        if wire is not None:
            wires.append(wire.filter(pa.array(~doubt)) if doubt.any() else wire)
            rows.append(np.arange(*at, dtype=np.int64)[~doubt])
    judged = np.concatenate(doubtful)
    if len(judged):
        wire, good, rejects = _judge(lines, judged, record)
        wires.append(wire)
        rows.append(good)
        if rejects:
            yield Part(rejects=rejects)
    yield _settle(lines, wires, rows, record)


def _settle(lines: Lines, wires: Sequence[pa.StructArray], rows: Sequence[Rows], record: AvroType) -> Part:
    at = np.concatenate(rows)
    wire = pa.concat_arrays(wires)
    if len(wires) > 1:
        order = np.argsort(at, kind="stable")
        at, wire = at[order], wire.take(pa.array(order))
    return settle(wire, lines.rows[at], lambda bad: lines.texts([int(at[i]) for i in bad]), record)


def _pieces(lines: Lines, record: AvroType) -> Iterator[tuple[tuple[int, int], pa.StructArray | None]]:
    """Ranges of lines with their decoded records; None where a range is to be judged."""
    open_ranges = [(0, len(lines.raw))]
    bulk = not has_map(record)
    schema = pa.schema(list(json_type(record)))
    while open_ranges:
        start, stop = open_ranges.pop()
        wire = _bulk(lines.raw.slice(start, stop - start), schema) if bulk else None
        if wire is not None or stop - start <= _FEW or not bulk:
            yield (start, stop), wire
            continue
        half = (start + stop) // 2
        open_ranges += [(half, stop), (start, half)]


def _bulk(raw: pa.Array, schema: pa.Schema) -> pa.StructArray | None:
    """The records of the lines, or None unless each line is certain to be one record of this schema."""
    text = pc.utf8_trim(raw.cast(pa.large_string()), " \t\r\n")
    if not pc.all(pc.and_(pc.starts_with(text, "{"), pc.ends_with(text, "}"))).as_py():
        return None
    data = contiguous(raw)
    try:
        table = pj.read_json(
            io.BytesIO(data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pj.ParseOptions(schema, False, "error"),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    if table.num_rows != len(raw):
        return None
    records = table.combine_chunks().to_struct_array()
    return records.combine_chunks() if isinstance(records, pa.ChunkedArray) else records


def _doubts(wire: pa.StructArray, record: AvroType) -> npt.NDArray[np.bool_]:
    """Rows that the bulk reader may have understood in another way than the contract does.

    A null that may be a missing key (unless null is what a missing key stands for), and NaN or infinity.
    """
    found = np.zeros(len(wire), dtype=bool)
    children = dict(zip((each.name for each in wire.type), wire.flatten(), strict=True))
    present = ~_mask(wire.is_null())
    for each in record.fields:
        child = children[each.name]
        if child.null_count and not (each.type.nullable and each.default is None):
            found |= _mask(child.is_null()) & present
        found |= _doubts_within(child, each.type)
    return found


def _doubts_within(array: pa.Array, kind: AvroType) -> npt.NDArray[np.bool_]:
    if kind.kind == "record":
        return _doubts(array, kind)
    if kind.kind in ("float", "double"):
        return _mask(pc.fill_null(pc.invert(pc.is_finite(array)), False))
    found = np.zeros(len(array), dtype=bool)
    if kind.kind == "array":
        parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        found[parents[_doubts_within(array.flatten(), kind.element)]] = True
    return found


def _mask(array: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)


def _judge(
    lines: Lines, judged: npt.NDArray[np.int64], record: AvroType
) -> tuple[pa.StructArray, Rows, tuple[Reject, ...]]:
    good: list[object] = []
    rows: list[int] = []
    rejects: list[Reject] = []
    for index, raw in zip(judged.tolist(), lines.texts(judged.tolist()), strict=True):
        try:
            good.append(judge_line(raw, record))
            rows.append(index)
        except BadLine as bad:
            rejects.append(Reject.of(int(lines.rows[index]), bad.reason, bad.detail, raw))
    return pa.array(good, json_type(record)), np.array(rows, dtype=np.int64), tuple(rejects)
