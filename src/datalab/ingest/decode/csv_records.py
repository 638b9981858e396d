"""Where CSV records begin and end: by the parity of quotes where they are well placed, else by the csv module."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datalab.ingest.decode.lines import end_of_line

_QUOTE, _NEWLINE, _RETURN = ord('"'), ord("\n"), ord("\r")
_RESYNCS = 1_000
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # no other character that Unicode calls a line end
_Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """One record as the csv module reads it: its bytes from `start` to `stop`, its fields or what is wrong."""

    start: int
    stop: int
    fields: tuple[str, ...] = ()
    problem: str = ""


def well_placed_ends(chunk: memoryview, delimiter: str) -> _Positions | None:
    """The offset behind each complete record; None where quotes or returns stand where RFC 4180 has none.

    The last record counts as complete only where it ends with a line end; `chunk` begins with a record.
    """
    text = np.frombuffer(chunk, dtype=np.uint8)
    ends = np.flatnonzero(text == _NEWLINE)
    quotes = np.flatnonzero(text == _QUOTE)
    returns = np.flatnonzero(text == _RETURN)
    inside_return = np.searchsorted(quotes, returns) % 2 == 1
    follows = text[np.minimum(returns + 1, len(text) - 1)]
    if not (inside_return | ((follows == _NEWLINE) & (returns + 1 < len(text)))).all():
        return None
    if not _well_placed(text, quotes, ord(delimiter)):
        return None
    return np.asarray(ends[np.searchsorted(quotes, ends) % 2 == 0] + 1, dtype=np.int64)


def _well_placed(text: npt.NDArray[np.uint8], quotes: _Positions, delimiter: int) -> bool:
    """Opening quotes follow a border or a quote, closing ones are followed by a border or a quote."""
    opening, closing = quotes[0::2], quotes[1::2]
    before = text[np.maximum(opening - 1, 0)]
    after = text[np.minimum(closing + 1, len(text) - 1)]
    doubled_after = np.zeros(len(closing), dtype=bool)
    pairs = min(len(closing), len(opening) - 1)
    doubled_after[:pairs] = opening[1 : pairs + 1] == closing[:pairs] + 1
    doubled_before = np.zeros(len(opening), dtype=bool)
    doubled_before[1 : pairs + 1] = doubled_after[:pairs]
    starts = (opening == 0) | (before == delimiter) | (before == _NEWLINE) | doubled_before
    last = closing + 1 == len(text)
    stops = last | (after == delimiter) | (after == _NEWLINE) | (after == _RETURN) | doubled_after
    return bool(starts.all() and stops.all())


class Judge:
    """Reads records one by one with the csv module; a broken record that swallowed others gives them back."""

    def __init__(self, data: memoryview, delimiter: str, columns: int) -> None:
        self.data = data
        self.delimiter = delimiter
        self.columns = columns
        self.resyncs = 0

    def records(self, at: int, stop: int) -> Iterator[Judged]:
        """The records that begin from `at` up to `stop`; blank lines are none."""
        while at < stop:
            feed = _Feed(self.data, at)
            reader = csv.reader(feed, delimiter=self.delimiter, strict=True)
            for record in self._run(reader, feed, stop):
                yield record
                at = record.stop
            at = max(at, feed.resume)

    def _run(self, reader: Any, feed: _Feed, stop: int) -> Iterator[Judged]:
        while feed.at < stop:
            start, line = feed.at, feed.lines
            fields, problem = _next(reader)
            if not problem and not fields:
                continue
            if not problem and len(fields) != self.columns:
                problem = f"{len(fields)} fields, not {self.columns}"
            if problem and feed.lines > line + 1 and self.resyncs < _RESYNCS:
                self.resyncs += 1
                feed.resume = end_of_line(self.data, start + 1)
                yield Judged(start, feed.resume, (), problem)
                return
            yield Judged(start, feed.at, () if problem else tuple(fields), problem)
        feed.resume = feed.at


class _Feed:
    """Lines of the data as text, one at a time; `at` is the offset behind the last one that was taken."""

    def __init__(self, data: memoryview, at: int) -> None:
        self.data = data
        self.at = at
        self.lines = 0
        self.resume = at
        self._buffer: list[str] = []

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if not self._buffer:
            self._fill()
        line = self._buffer.pop()
        self.at += len(line.encode("utf-8", "surrogateescape"))
        self.lines += 1
        return line

    def _fill(self) -> None:
        if self.at >= len(self.data):
            raise StopIteration
        stop = end_of_line(self.data, min(self.at + (1 << 16), len(self.data)))
        text = bytes(self.data[self.at : stop]).decode("utf-8", "surrogateescape")
        self._buffer = _LINE.findall(text)[::-1]


def _next(reader: Any) -> tuple[Sequence[str], str]:
    try:
        return next(reader), ""
    except StopIteration:
        return (), ""
    except csv.Error as error:
        return (), str(error)
