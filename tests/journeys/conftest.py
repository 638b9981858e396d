"""Decoding processes that stay from command to command, each start of one costs a second; a project of orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.pedidos import Pedidos

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


@pytest.fixture(params=["iceberg", "delta"])
def pedidos(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    datalab: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    warm: None,
) -> Pedidos:
    """A project of orders, without data, in each table format."""
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", request.param)
    return Pedidos(tmp_path, datalab).create()
