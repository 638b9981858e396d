"""Decoding processes that stay from command to command: each start of one costs a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datalab.ingest.limits import Limits
from datalab.ingest.workers import Workers
from datalab.platform import lab


class _Kept(Workers):
    def close(self) -> None:
        """Not yet: the next command will decode too."""


@pytest.fixture(scope="session")
def kept_workers() -> Iterator[Workers]:
    workers = _Kept(1, Limits().worker_memory)
    yield workers
    Workers.close(workers)


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch, kept_workers: Workers) -> None:
    """All commands of the test share the decoding processes."""
    monkeypatch.setattr(lab, "wire_workers", lambda _: kept_workers)
