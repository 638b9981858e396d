"""`python -m benchmarks`: every benchmark in fresh processes, tables on the screen, plain values in a file."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.features import features, online
from benchmarks.incremental import incremental
from benchmarks.ingest import ingest, pending
from benchmarks.kafka import RECORDS, kafka, kafka_servers
from benchmarks.nothing_new import nothing_new
from benchmarks.report import Result, machine, show
from benchmarks.scratch import Scratch
from benchmarks.serving import serving
from benchmarks.spine import spine
from benchmarks.trace import trace
from benchmarks.upsert import commits, upsert

BENCHMARKS = (
    "spine",
    "nothing-new",
    "ingest",
    "incremental",
    "upsert",
    "commits",
    "trace",
    "features",
    "online",
    "kafka",
    "serving",
)
SIZED: dict[str, Callable[[Scratch, str, int, int], Result]] = {
    "spine": spine,
    "nothing-new": nothing_new,
    "incremental": incremental,
    "upsert": upsert,
    "trace": trace,
    "features": features,
}
CHEAP_ROWS = 1_000_000


def main(arguments: list[str] | None = None) -> int:
    """1 where a goal was missed."""
    options = _parser().parse_args(arguments)
    about = machine()
    print("  ".join(f"{name} {value}" for name, value in about.items()))
    if options.scratch:
        results = _measured(options, Path(options.scratch).resolve())
    elif options.keep:
        folder = Path(tempfile.mkdtemp(prefix="datalab-bench-"))
        print(f"generated data stays in {folder}")
        results = _measured(options, folder)
    else:
        with tempfile.TemporaryDirectory(prefix="datalab-bench-") as made:
            results = _measured(options, Path(made))
    if options.json:
        values = {"machine": about, "results": [result.to_dict() for result in results]}
        Path(options.json).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return int(any(not goal.kept for result in results for goal in result.goals))


def _measured(options: argparse.Namespace, folder: Path) -> list[Result]:
    results = []
    for result in _results(options, Scratch(folder)):
        show(result)
        results.append(result)
    return results


def _results(options: argparse.Namespace, scratch: Scratch) -> Iterator[Result]:
    chosen = options.only or BENCHMARKS
    for rows in options.rows:
        repeat = options.repeat or (3 if rows <= CHEAP_ROWS else 1)
        for name in (name for name in chosen if name in SIZED):
            yield SIZED[name](scratch, options.format, rows, repeat)
    if "online" in chosen:
        yield online(scratch, options.repeat or 3)
    if "serving" in chosen:
        yield serving(scratch, options.requests)
    if "ingest" in chosen:
        yield ingest(scratch, options.format, options.repeat or 3, options.records)
        yield pending(scratch, options.format, options.repeat or 3, options.files)
    if "kafka" in chosen and kafka_servers():
        yield kafka(scratch, options.format, options.repeat or 3, options.messages)
    if "commits" in chosen:
        yield commits(scratch, options.format)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=_numbers, default=(1_000_000, 10_000_000), help="sizes of bronze: 1000000,…")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="this benchmark; may be repeated")
    parser.add_argument("--format", choices=("iceberg", "delta"), default="iceberg", help="table format")
    parser.add_argument("--repeat", type=int, help="rounds; by default 3 up to a million rows, else 1")
    parser.add_argument("--records", type=int, default=1_000_000, help="Avro records to take in")
    parser.add_argument("--messages", type=int, default=RECORDS, help="messages of a topic to take in")
    parser.add_argument("--requests", type=int, default=4000, help="requests to the scoring server in a round")
    parser.add_argument("--files", type=int, default=10_000, help="consumed files among which to look for news")
    parser.add_argument("--json", metavar="FILE", help="write what was measured to a file")
    parser.add_argument("--scratch", metavar="DIR", help="folder for generated data, which stays there")
    parser.add_argument("--keep", action="store_true", help="keep the generated data")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part.replace("_", "")) for part in text.split(","))


if __name__ == "__main__":
    sys.exit(main())
