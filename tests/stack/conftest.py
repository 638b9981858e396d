"""Real servers for the tests of this folder: started once, on ports of their own, ended with the tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.stack.topics import Filled, World, world

from datalab.errors import ServiceError
from datalab.ingest.workers import Workers
from datalab.platform.services.control import Control
from datalab.platform.services.describe import find_service
from datalab.platform.services.fetch import require_programs


def server(name: str, folder: Path) -> Control:
    """A server with its state in `folder`; the tests are skipped, loudly, where its programs are missing."""
    service = find_service(name)
    try:
        require_programs(service)
    except ServiceError as error:
        pytest.skip(f"{error.message}: {error.hint}")
    return Control(service, folder, {port: free_port() for port in service.ports}, os.environ)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A broker that answers."""
    made = server("kafka", tmp_path_factory.mktemp("kafka"))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    """A schema registry that answers."""
    made = server("registry", tmp_path_factory.mktemp("registry"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def topic(kafka: Control, registry: Control) -> Filled:
    """A new topic of three partitions."""
    made = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    made.make(3)
    return made


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """Processes that decode."""
    with Workers(2, 1 << 30) as pool:
        yield pool


@pytest.fixture(params=["iceberg", "delta"])
def place(request: pytest.FixtureRequest, topic: Filled, tmp_path: Path, workers: Workers) -> Iterator[World]:
    """A lake of each format that takes the topic in."""
    with world(topic, tmp_path, workers, request.param) as made:
        yield made
