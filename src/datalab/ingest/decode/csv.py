"""CSV: text columns in bulk by Arrow's reader, or by the csv module where quotes are out of place."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from datalab.ingest.avro_schema import MISSING, AvroType
from datalab.ingest.contracts import Contract
from datalab.ingest.decode.csv_records import Judge, Judged, well_placed_ends
from datalab.ingest.decode.lines import (
    Lines,
    contiguous,
    cut,
    end_of_line,
    not_text,
    start_of_text,
    too_long,
    within,
)
from datalab.ingest.decode.parts import Described, Part, refused, settle
from datalab.ingest.decode.spans import Span
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import WHOLE, Reason, Reject
from datalab.ingest.resolution import feeds

_MAX_HEADER = 1 << 20


@dataclass(frozen=True)
class _Table:
    """A CSV file under a contract; `columns` are its header's names, `renamed` the contract's names for them."""

    data: memoryview
    columns: tuple[str, ...]
    renamed: tuple[str, ...]
    record: AvroType
    limits: Limits
    delimiter: str
    start: int


def decode_csv(
    data: memoryview, contract: Contract, limits: Limits, span: Span | None = None, delimiter: str = ","
) -> Iterator[Part]:
    """The file's parts; a span counts records, the header is none. An empty file has no records."""
    csv.field_size_limit(limits.record_bytes)
    header, start = _header(data, delimiter)
    if header is None:
        yield refused(WHOLE, Reason.CORRUPT_FILE, "the header line is not CSV in UTF-8", data)
        return
    if not header:
        return
    wrong = _differences(header, contract.record)
    if wrong:
        yield refused(WHOLE, Reason.SCHEMA_MISMATCH, "; ".join(wrong), data)
        return
    fed = feeds(contract.record, frozenset(header))
    renamed = tuple(fed[name] for name in header)
    table = _Table(data, header, renamed, contract.record, limits, delimiter, start)
    for lines, judged in _records(table):
        yield from _decode(table, lines, judged, span)


def count_records(data: memoryview, limits: Limits, delimiter: str = ",") -> int:
    """How many records the file has."""
    return sum(len(lines.raw) for lines in _all_lines(data, limits, delimiter))


def describe_record(data: memoryview, limits: Limits, unit: int, delimiter: str = ",") -> Described:
    """One record's number and its text."""
    for lines in _all_lines(data, limits, delimiter):
        if len(lines.raw) and lines.rows[-1] >= unit:
            return unit, 1, lines.texts([unit - int(lines.rows[0])])[0]
    return unit, 1, b""


def _all_lines(data: memoryview, limits: Limits, delimiter: str) -> Iterator[Lines]:
    csv.field_size_limit(limits.record_bytes)
    header, start = _header(data, delimiter)
    if header:
        table = _Table(data, header, header, AvroType("record"), limits, delimiter, start)
        yield from (lines for lines, _ in _records(table))


def _header(data: memoryview, delimiter: str) -> tuple[tuple[str, ...] | None, int]:
    """The names in the first line that is not blank, and the offset behind it; None where it cannot be read."""
    at = start_of_text(data)
    while at < len(data):
        stop = _end_of_header(data, at)
        try:
            line = bytes(data[at:stop]).decode("utf-8").rstrip("\r\n")
            names = tuple(next(csv.reader([line], delimiter=delimiter, strict=True), ()))
        except (UnicodeDecodeError, csv.Error):
            return None, stop
        if names:
            return names, stop
        at = stop
    return (), at


def _end_of_header(data: memoryview, at: int) -> int:
    """The offset behind the first line, which may end with a return alone."""
    stop = end_of_line(data, at + 1)
    lone = bytes(data[at : min(stop, at + _MAX_HEADER)]).find(b"\r")
    return stop if lone < 0 or at + lone + 2 == stop else at + lone + 1


def _differences(header: Sequence[str], record: AvroType) -> tuple[str, ...]:
    counted = Counter(header)
    fed = feeds(record, counted)
    fields = set(fed.values())
    found = [f"{name[:60]!r}: not in the contract" for name in header if name not in fed]
    found += [f"{name[:60]}: twice in the header" for name in sorted(counted) if counted[name] > 1]
    found += [
        f"{each.name}: missing in the file, and without a default in the contract"
        for each in record.fields
        if each.default is MISSING and each.name not in fields
    ]
    return tuple(found)


def _records(table: _Table) -> Iterator[tuple[Lines, list[Judged] | None]]:
    """All records, numbered: in bulk where quotes are well placed, else as the csv module reads them."""
    judge = Judge(table.data, table.delimiter, len(table.columns))
    at, row = table.start, 0
    while at < len(table.data):
        stop = end_of_line(table.data, min(at + table.limits.chunk_bytes, len(table.data)))
        chunk = table.data[at:stop]
        ends = well_placed_ends(chunk, table.delimiter)
        judged = None
        if ends is not None and len(ends) and (stop < len(table.data) or int(ends[-1]) == len(chunk)):
            raw = _without_blanks(cut(chunk[: int(ends[-1])], ends))
            at += int(ends[-1])
        else:
            judged = list(judge.records(at, stop))
            raw = pa.array([bytes(table.data[each.start : each.stop]) for each in judged], pa.large_binary())
            at = max(stop, judged[-1].stop if judged else stop)
        yield Lines(raw, np.arange(row, row + len(raw), dtype=np.int64)), judged
        row += len(raw)


def _without_blanks(raw: pa.Array) -> pa.Array:
    short = np.flatnonzero(pc.less_equal(pc.binary_length(raw), 2).to_numpy(zero_copy_only=False))
    blank = [at for at in short.tolist() if not raw[at].as_py().strip(b"\r\n")]
    if not blank:
        return raw
    keep = np.ones(len(raw), dtype=bool)
    keep[blank] = False
    return raw.filter(pa.array(keep))


def _decode(table: _Table, lines: Lines, judged: list[Judged] | None, span: Span | None) -> Iterator[Part]:
    if judged is not None:
        yield from _decode_judged(table, lines, judged, span)
        return
    wanted = within(lines, span)
    if not len(wanted.raw):
        return
    short, long = too_long(wanted, table.limits.record_bytes)
    text, binary = not_text(short)
    yield from (part for part in (long, binary) if part.rejects)
    if len(text.raw):
        yield from _bulk(table, text)


def _bulk(table: _Table, lines: Lines) -> Iterator[Part]:
    data = contiguous(lines.raw)
    wrong: list[int] = []

    def note(row: pcsv.InvalidRow) -> str:
        wrong.append(row.number)
        return "skip"

    texts = pcsv.read_csv(
        io.BytesIO(data),
        read_options=pcsv.ReadOptions(use_threads=False, column_names=list(table.columns), block_size=len(data) + 1),
        parse_options=pcsv.ParseOptions(delimiter=table.delimiter, newlines_in_values=True, invalid_row_handler=note),
        convert_options=pcsv.ConvertOptions(
            column_types=dict.fromkeys(table.columns, pa.large_string()), strings_can_be_null=False
        ),
    )
    bad = [number - 1 for number in wrong]
    if bad:
        words = f"not {len(table.columns)} fields"
        raws = zip(bad, lines.texts(bad), strict=True)
        yield Part(rejects=tuple(Reject.of(int(lines.rows[at]), Reason.INVALID_CSV, words, raw) for at, raw in raws))
        keep = np.ones(len(lines.raw), dtype=bool)
        keep[bad] = False
        lines = lines.taken(keep)
    if texts.num_rows:
        yield _settle(table, [column.combine_chunks() for column in texts.columns], lines)


def _settle(table: _Table, columns: list[pa.Array], lines: Lines) -> Part:
    kinds = {each.name: each.type for each in table.record.fields}
    filled = [_nulled(column, kinds[name]) for column, name in zip(columns, table.renamed, strict=True)]
    wire = pa.StructArray.from_arrays(filled, names=list(table.renamed))
    return settle(wire, lines.rows, lines.texts, table.record)


def _nulled(column: pa.Array, kind: AvroType) -> pa.Array:
    """An empty field is null, quoted or not; only a required string can be empty."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if kind.kind == "string" and not kind.logical and not kind.nullable:
        return column
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def _decode_judged(table: _Table, lines: Lines, judged: list[Judged], span: Span | None) -> Iterator[Part]:
    good: list[int] = []
    rejects: list[Reject] = []
    for at, (each, row) in enumerate(zip(judged, lines.rows.tolist(), strict=True)):
        if span and not span.start <= row < span.stop:
            continue
        raw = bytes(table.data[each.start : each.stop]).rstrip(b"\r\n")
        if each.problem:
            rejects.append(Reject.of(row, Reason.INVALID_CSV, each.problem, raw))
        elif any(not _encodable(text) for text in each.fields):
            rejects.append(Reject.of(row, Reason.INVALID_UTF8, "the record is not UTF-8", raw))
        elif len(raw) > table.limits.record_bytes:
            words = f"the record is longer than {table.limits.record_bytes} bytes"
            rejects.append(Reject.of(row, Reason.TOO_LARGE, words, raw))
        else:
            good.append(at)
    if rejects:
        yield Part(rejects=tuple(rejects))
    if good:
        columns = zip(*(judged[at].fields for at in good), strict=True)
        keep = np.zeros(len(judged), dtype=bool)
        keep[good] = True
        yield _settle(table, [pa.array(column, pa.large_string()) for column in columns], lines.taken(keep))


def _encodable(text: str) -> bool:
    return text.isascii() or not any(0xDC80 <= ord(each) < 0xDD00 for each in text)
