"""One way to answer: a table or a sentence for people on stdout, the same value as JSON for programs."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from datalab.cli.streams import json_line

_LONGEST_CELL = 200


@dataclass(frozen=True)
class Table:
    """Rows under named columns. `formats` has a format specification per column for people: {"rows": ","}.

    `exact`: cells tell NULL, an empty text and an empty array apart, as values of a table of the lake have to.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    title: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False

    @classmethod
    def of(
        cls,
        records: Sequence[Mapping[str, Any]],
        columns: Sequence[str] = (),
        title: str = "",
        formats: Mapping[str, str] | None = None,
        *,
        exact: bool = False,
    ) -> Table:
        """A table of mappings; without `columns`, those of the first record."""
        names = tuple(columns) if columns or not records else tuple(records[0])
        rows = tuple(tuple(record.get(name) for name in names) for record in records)
        return cls(names, rows, title, {} if formats is None else formats, exact)


def show(value: Any, *, as_json: bool) -> None:
    """Print an answer on stdout: a Table, a mapping, a sequence or a sentence."""
    if as_json:
        sys.stdout.write(json_line(jsonable(value), sys.stdout))
    elif isinstance(value, Table):
        _show_table(value)
    elif isinstance(value, Mapping):
        _show_table(Table(("", ""), tuple(value.items())))
    else:
        sys.stdout.write(f"{cell(value)}\n")


def show_lines(lines: Iterable[str]) -> None:
    """Print lines for people as they are, however long."""
    sys.stdout.writelines(f"{line}\n" for line in lines)


def note(sentence: str, *, quiet: bool) -> None:
    """Tell a person something that is not the answer, on stderr."""
    if not quiet:
        Console(stderr=True, soft_wrap=True).print(Text(sentence, style="dim"))


def to_json(value: Any) -> str:
    """One line of JSON. Tables become lists of objects; see `jsonable` for the values."""
    return json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False)


def jsonable(value: Any) -> Any:
    """The value with JSON's types only.

    Times are ISO 8601, durations seconds, decimals text (exact), bytes base64, NaN and infinities null.
    """
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, Table):
        return [jsonable(dict(zip(value.columns, row, strict=True))) for row in value.rows]
    if isinstance(value, Mapping):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, bytes):
        return [jsonable(part) for part in value]
    return _scalar(value)


def cell(value: Any, specification: str = "", *, exact: bool = False) -> str:
    """A value as people read it in one cell, on one line; `exact`: see Table."""
    if specification and isinstance(value, int | float | Decimal):
        return format(value, specification)
    text = " ".join((_exact_text(value) if exact else _text(value)).split())
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case datetime():
            return value.isoformat(sep=" ", timespec="milliseconds" if value.microsecond else "seconds")
        case list() | tuple():
            return ", ".join(map(_text, value))
        case Mapping():
            return to_json(value)
        case _:
            return str(value)


def _exact_text(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"[{', '.join(map(_exact_text, value))}]" if isinstance(value, list) else _text(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and "__str__" not in vars(type(value)):
        return jsonable({item.name: getattr(value, item.name) for item in dataclasses.fields(value)})
    return str(value)


def _show_table(table: Table) -> None:
    cells = [
        [cell(v, table.formats.get(c, ""), exact=table.exact) for c, v in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]
    if sys.stdout.isatty():
        _show_rich(table, cells)
    else:
        _show_plain(table, cells)


def _show_rich(table: Table, cells: list[list[str]]) -> None:
    drawn = RichTable(title=table.title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, right in zip(table.columns, _right_aligned(table), strict=True):
        drawn.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


def _show_plain(table: Table, cells: list[list[str]]) -> None:
    """Columns in line, never wrapped: for files, pipes and logs."""
    lines = [list(table.columns), *cells] if any(table.columns) else cells
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = _right_aligned(table)
    if table.title:
        sys.stdout.write(f"{table.title}\n")
    for line in lines:
        padded = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _right_aligned(table: Table) -> list[bool]:
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.columns)
    return [
        any(_is_number(value) for value in column) and all(value is None or _is_number(value) for value in column)
        for column in columns
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
