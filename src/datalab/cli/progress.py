"""A progress bar on stderr, for people who wait more than a second: a listener to the events of the work."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from datalab.events import Bus, Event, Progress, RunStarted, StepFinished, StepStarted

PATIENCE = 1.0
_WORK = "steps"


class ProgressBar:
    """Shows the steps at work and the tasks in them; drawn once `show` is called."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Bar(*columns, TimeElapsedColumn(), console=console, transient=True)
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case RunStarted(steps=steps):
                self._update(_WORK, 0, steps)
            case StepStarted(target=target, kind=kind):
                self._update(target, 0, 0, f"{target} ({kind})")
            case StepFinished(target=target):
                self._remove(target)
            case Progress(task=task, done=done, total=total):
                self._update(task, done, total)

    def show(self) -> None:
        """Start drawing."""
        self._bar.start()

    def close(self) -> None:
        """Stop drawing and leave nothing behind."""
        self._bar.stop()

    def _update(self, name: str, done: int, total: int, description: str = "") -> None:
        with self._lock:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(description or name, total=None)
            self._bar.update(self._tasks[name], completed=done, total=total or None)

    def _remove(self, name: str) -> None:
        with self._lock:
            if name in self._tasks:
                self._bar.remove_task(self._tasks.pop(name))
            if _WORK in self._tasks:
                self._bar.advance(self._tasks[_WORK])


@contextmanager
def progress(bus: Bus, *, quiet: bool, patience: float = PATIENCE) -> Iterator[None]:
    """Show the work inside the block once it lasts longer than `patience` seconds, where stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    bar = ProgressBar(Console(stderr=True))
    unsubscribe = bus.subscribe(bar)
    timer = threading.Timer(patience, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        unsubscribe()
        bar.close()
