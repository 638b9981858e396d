"""Listeners: events as JSON lines and as sentences."""

from __future__ import annotations

import io
import json

import pytest

from datalab.events import (
    Bus,
    CommitLanded,
    ConstraintViolated,
    Event,
    RunStarted,
    SourceFileIgnored,
    StepFinished,
    StepRetried,
)
from datalab.observability.console import Narrator, sentence
from datalab.observability.logs import JsonLog


def test_each_event_is_one_line_of_json() -> None:
    stream, bus = io.StringIO(), Bus()
    bus.subscribe(JsonLog(stream))
    bus.emit(StepFinished("r1", "silver.pedidos", "ok", 0.5, {"read": 3, "written": 2}))
    bus.emit(RunStarted("r2", 0))
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["event"] == "StepFinished"
    assert first["counts"] == {"read": 3, "written": 2}
    assert first["at"].endswith("+00:00")
    assert second["run_id"] == "r2"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            StepFinished("r", "silver.x", "ok", 1.25, {"written": 1204, "quarantined": 0}),
            "silver.x ok, written 1,204 (1.2 s)",
        ),
        (StepFinished("r", "silver.x", "failed", 1.0, error="no space"), "silver.x failed: no space"),
        (StepRetried("r", "silver.x", 2, "overtaken"), "silver.x is tried again (attempt 2): overtaken"),
        (ConstraintViolated("silver.x", "valor", 3, "drop"), "silver.x: 3 rows broke valor (drop)"),
        (SourceFileIgnored("pedidos", "a.csv", "it changed"), "pedidos: a.csv was not taken: it changed"),
        (CommitLanded("silver.x", 7), ""),
        (RunStarted("r", 1), ""),
    ],
)
def test_sentences(event: Event, text: str) -> None:
    assert sentence(event) == text


def test_a_lost_answer_is_told() -> None:
    said: list[str] = []
    narrator = Narrator(said.append)
    narrator(CommitLanded("silver.x", 7, resolved=True))
    narrator(CommitLanded("silver.x", 8))
    assert len(said) == 1
    assert "snapshot 7 landed" in said[0]
