"""What a trace found, as trees of lines for people: table @ snapshot, counts, keys, file:row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from datalab.cli import output
from datalab.cli.trees import Node
from datalab.lineage.back import Reached
from datalab.lineage.scores import Features, ModelVersion, Score, TrainingSet
from datalab.lineage.tree import Read, Row

_TOLD_OF_A_SET = ("rows", "seed", "code", "content_hash")
_TOLD_OF_A_SCORE = ("scored_at", "score", "probability", "decision", "entity", "degraded")


def row_tree(row: Row) -> Node:
    """A row with all its columns, and what it was made from."""
    others = {name: value for name, value in row.values.items() if name not in row.keys}
    head = "  ".join(part for part in (_at(row.table, row.snapshot), _pairs(row.keys), row.position) if part)
    return Node(head, (*((Node(_pairs(others)),) if others else ()), *map(_read, row.reads)))


def reached_tree(found: Reached) -> Node:
    """A source record with all that it reached."""
    quarantined = tuple(Node(f"set aside for {entry['target']}: {_pairs(entry)}") for entry in found.quarantined)
    rows = tuple(
        Node(f"{_at(row.table, row.snapshot)}  {_named(row)}", tuple(map(_read, row.reads))) for row in found.rows
    )
    return Node(found.place, (*quarantined, *rows))


def score_tree(score: Score) -> Node:
    """A score with its model and its features."""
    told = {name: score.values[name] for name in _TOLD_OF_A_SCORE if score.values.get(name) not in (None, "", [], {})}
    notes = (Node(score.note),) if score.note else ()
    return Node(
        f"score {score.score_id}", (*notes, Node(_pairs(told)), _model(score.model), *map(_features, score.features))
    )


def _model(model: ModelVersion) -> Node:
    below: list[Node] = [Node(model.note)] if model.note else []
    below += [
        Node(_pairs({k: entry[k] for k in ("at", "action", "by", "why") if entry.get(k)})) for entry in model.history
    ]
    below += [_training_set(model.training_set)] if model.training_set else []
    return Node(f"model {model.name} version {model.version}", tuple(below))


def _training_set(used: TrainingSet) -> Node:
    notes = (Node(used.note),) if used.note else ()
    inputs = tuple(Node(f"from {_at(table, snapshot)}") for table, snapshot in used.inputs.items())
    told = {name: used.details[name] for name in _TOLD_OF_A_SET if name in used.details}
    return Node(f"trained on {_at(used.table, used.snapshot)}  {_pairs(told)}".rstrip(), (*notes, *inputs))


def _features(used: Features) -> Node:
    words = (f"features {used.view}:", _at(used.table, used.snapshot), _pairs(used.entity), used.timestamp)
    return Node(" ".join(word for word in words if word), tuple(_told(used)))


def _told(used: Features) -> Iterator[Node]:
    if used.note:
        yield Node(used.note)
    if used.differs:
        yield Node(f"used with other values than the table holds: {_pairs(used.differs)}")
    for row in used.rows:
        yield from map(_read, row.reads)


def _read(read: Read) -> Node:
    words = [f"{_at(read.table, read.snapshot)}:" if read.table else f"flow {read.flow}:"]
    if read.total is not None:
        words.append(f"{read.total:,} {'row' if read.total == 1 else 'rows'} by {', '.join(read.by)}")
    rest = (read.total or 0) - len(read.rows)
    more = (Node(f"… {rest:,} more (--limit)"),) if rest > 0 else ()
    return Node(" ".join(words), (*map(Node, read.notes), *map(_row, read.rows), *more))


def _row(row: Row) -> Node:
    return Node(_named(row), tuple(map(_read, row.reads)))


def _named(row: Row) -> str:
    return "  ".join(word for word in (row.position, _pairs(row.keys), row.status) if word)


def _at(table: str, snapshot: int | None) -> str:
    return table if snapshot is None else f"{table} @ {snapshot}"


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={output.cell(value)}" for name, value in values.items())
