"""The progress bar: only for people who wait, and never in the way of the work."""

from __future__ import annotations

import io
import sys
import time

import pytest
from rich.console import Console

from datalab.cli.progress import ProgressBar, progress
from datalab.events import Bus, Progress, RunStarted, StepFinished, StepStarted


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(bus: Bus) -> None:
    bus.emit(RunStarted("r", 2))
    bus.emit(StepStarted("r", "silver.pedidos", "append", "3 rows"))
    bus.emit(Progress("bronze.pedidos", 3, 10))
    bus.emit(StepFinished("r", "silver.pedidos", "ok", 0.1))


def test_the_bar_shows_steps_and_tasks() -> None:
    screen = io.StringIO()
    bar = ProgressBar(Console(file=screen, force_terminal=True, width=100))
    bus = Bus()
    bus.subscribe(bar)
    bar.show()
    work(bus)
    bar.close()
    assert "bronze.pedidos" in screen.getvalue()
    assert bus.failures == []


def test_nothing_is_drawn_where_no_person_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, quiet, patience in ((io.StringIO(), False, 0.0), (Terminal(), True, 0.0), (Terminal(), False, 60.0)):
        monkeypatch.setattr(sys, "stderr", stream)
        bus = Bus()
        with progress(bus, quiet=quiet, patience=patience):
            work(bus)
        assert stream.getvalue() == ""


def test_the_bar_appears_when_patience_ends_and_leaves_with_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    bus = Bus()
    with progress(bus, quiet=False, patience=0.0):
        while not screen.getvalue():
            time.sleep(0.01)
        work(bus)
    assert bus.failures == []
