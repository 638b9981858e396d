"""Simulated daily prices as CSV files, with bad, late, repeated and untidy rows among them; real prices too.

Each symbol's price is a random walk of its own that depends on the seed alone: the same plan for the same days gives
the same bytes, and a later batch goes on where the folder's last file ends.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng

SYMBOLS = {"CAFE": 48.0, "CANA": 46.0, "GADO": 52.0, "MILHO": 50.0, "SOJA": 54.0}  # and their first prices
FIRST_DAY = np.datetime64("2022-01-03")
HEADER = ("date", "symbol", "open", "high", "low", "close", "volume")
CLOSE = HEADER.index("close")

Row = tuple[Any, ...]

# What a bad row looks like, by the constraint that refuses it; the first two cannot be read at all.
FAULTS = {
    "wrong_type": lambda row: (*row[:CLOSE], "n/a", *row[CLOSE + 1 :]),
    "missing_fields": lambda row: row[:CLOSE],
    "within_three_sigma": lambda row: (*row[:CLOSE], round(row[CLOSE] * 50, 2), *row[CLOSE + 1 :]),
    "positive_close": lambda row: (*row[:CLOSE], -row[CLOSE], *row[CLOSE + 1 :]),
}


class Plan(NamedTuple):
    """What to simulate: rows, which share of them is bad, late or delivered again, and into how many files."""

    rows: int = 5000
    bad: float = 0.005
    late: float = 0.02
    duplicates: float = 0.01
    seed: int = 1
    files: int = 12


class Delivery(NamedTuple):
    """One line of a file."""

    kind: str
    reason: str
    values: Row


def simulate(folder: Path, ledger: Path | None = None, source: Path | None = None, **plan: Any) -> dict[str, Any]:
    """Write the next days' prices under `folder`/landing/stocks; `plan` has the fields of Plan. Answers a summary.

    `source` is a CSV file of Amazon's real prices (date, open, high, low, close, adj_close, volume), taken over once
    as symbol AMZN. `ledger` gets one JSON line per row written: file, row (from 0), date, symbol, kind, reason.
    """
    asked = Plan(**plan)
    landing = folder / "landing" / "stocks"
    landing.mkdir(parents=True, exist_ok=True)
    first = next_day(landing)
    days = prices(asked, first)
    written = deliver(default_rng([2, asked.seed, first]), asked, days)
    if source and not (landing / "amzn.csv").exists():
        written["amzn.csv"] = [Delivery("good", "", row) for row in amazon(source)]
    for name, lines in written.items():
        write(landing / name, lines)
    if ledger:
        ledger.write_text("".join(ledger_lines(written)), encoding="utf-8")
    kinds = Counter(line.kind for lines in written.values() for line in lines)
    shares = {name: kinds[name] for name in ("bad", "late", "duplicate", "correction")}
    return {"files": len(written), "days": len(days), "records": kinds.total(), **shares}


def next_day(landing: Path) -> int:
    """The number of the first business day after the last file, from 0."""
    names = (re.match(r"precos_.*_(\d{4}-\d\d-\d\d)\.csv", path.name) for path in landing.glob("precos_*"))
    ends = [np.datetime64(name[1]) for name in names if name]
    return int(np.busday_count(FIRST_DAY, max(ends))) + 1 if ends else 0


def prices(plan: Plan, first: int) -> list[list[Row]]:
    """So many rows from that day on, day by day."""
    count = -(-plan.rows // len(SYMBOLS))
    dates = np.busday_offset(FIRST_DAY, np.arange(first, first + count)).astype(str).tolist()
    walks = [walk(default_rng([1, plan.seed, number]), name, first + count) for number, name in enumerate(SYMBOLS)]
    days = [[(date, *path[first + number]) for path in walks] for number, date in enumerate(dates)]
    surplus = count * len(SYMBOLS) - plan.rows
    return [*days[:-1], days[-1][: len(SYMBOLS) - surplus]] if days else []


def walk(rng: Generator, symbol: str, days: int) -> list[Row]:
    """A symbol's days from the very first: symbol as somebody typed it, open, high, low, close, volume or nothing."""
    noise = rng.normal(size=(days, 6))
    close = SYMBOLS[symbol] * np.exp(np.cumsum(0.0002 + 0.013 * noise[:, 0]))
    opening = np.concatenate([close[:1], close[:-1]]) * np.exp(0.004 * noise[:, 1])
    high = np.maximum(opening, close) * (1 + 0.005 * np.abs(noise[:, 2]))
    low = np.minimum(opening, close) * (1 - 0.005 * np.abs(noise[:, 3]))
    volume = np.exp(13 + 0.4 * noise[:, 4]).astype(int).astype(object)
    volume[noise[:, 5] > 2.5] = None
    names = np.where(noise[:, 5] < -2.3, f" {symbol.lower()} ", symbol)
    table = [names, *(np.round(column, 2) for column in (opening, high, low, close)), volume]
    return list(zip(*(column.tolist() for column in table), strict=True))


def deliver(rng: Generator, plan: Plan, days: list[list[Row]]) -> dict[str, list[Delivery]]:
    """Lines by file name. A file holds the rows of its days, rows that are one to three files late, and repeats.

    Half of the repeats are the same as the first delivery, half correct its closing price.
    """
    files = min(plan.files, len(days))
    rows = [(number * files // len(days), row) for number, day in enumerate(days) for row in day]
    order = rng.permutation(len(rows)).tolist()
    ends = np.cumsum([round(len(rows) * share) for share in (plan.bad, plan.duplicates)]).tolist()
    bad, again = order[: ends[0]], order[ends[0] : ends[1]]
    early = [number for number in order[ends[1] :] if rows[number][0] < files - 1 or files == 1]
    late, corrected = set(early[: round(len(rows) * plan.late)]), set(again[1::2])
    reasons = dict(zip(bad, cycle(FAULTS), strict=False))
    lines: list[list[Delivery]] = [[] for _ in range(files)]
    for number, (file, row) in enumerate(rows):
        delay = int(rng.integers(1, 4)) if number in late else 0
        kind = "bad" if number in reasons else "late" if number in late else "good"
        change = FAULTS[reasons[number]] if number in reasons else slip if number in corrected else tuple
        lines[min(file + delay, files - 1)].append(Delivery(kind, reasons.get(number, ""), change(row)))
    for number in again:
        file = min(rows[number][0] + int(rng.integers(1, 4)), files - 1)
        lines[file].append(Delivery("correction" if number in corrected else "duplicate", "", rows[number][1]))
    return dict(zip(file_names(days, files), lines, strict=True))


def slip(row: Row) -> Row:
    """The row with its closing price mistyped."""
    return *row[:CLOSE], round(row[CLOSE] * 10, 2), *row[CLOSE + 1 :]


def file_names(days: list[list[Row]], files: int) -> list[str]:
    """precos_2022-01-03_2022-06-30.csv: the days that a file is for."""
    parts: list[list[str]] = [[] for _ in range(files)]
    for number, day in enumerate(days):
        parts[number * files // len(days)].append(day[0][0])
    return [f"precos_{dates[0]}_{dates[-1]}.csv" for dates in parts]


def amazon(source: Path) -> list[Row]:
    """The real prices in this project's columns; the adjusted close is left out."""
    with source.open(encoding="utf-8", newline="") as file:
        return [
            (row["date"][:10], "AMZN", *(float(row[name]) for name in HEADER[2:6]), int(float(row["volume"])))
            for row in csv.DictReader(file)
        ]


def write(path: Path, lines: list[Delivery]) -> None:
    """Write a file under a temporary name, then give it its own."""
    with path.with_suffix(".tmp").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(line.values for line in lines)
    path.with_suffix(".tmp").rename(path)


def ledger_lines(written: dict[str, list[Delivery]]) -> Iterator[str]:
    """One JSON line per row written."""
    for name, lines in written.items():
        for number, line in enumerate(lines):
            place = {"file": f"landing/stocks/{name}", "row": number, "date": line.values[0], "symbol": line.values[1]}
            yield json.dumps(place | {"kind": line.kind, "reason": line.reason}) + "\n"
