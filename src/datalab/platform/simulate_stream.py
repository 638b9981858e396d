"""Test data for topics: the project's simulator writes aside, and a client of Kafka sends what it wrote."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datalab.errors import ConfigError
from datalab.events import Bus
from datalab.platform.project import STATE_FOLDER
from datalab.platform.settings import Configuration
from datalab.platform.simulate import Shares, simulate_project
from datalab.platform.topics import client_options, registry_access
from datalab.plugins import Adapter, adapter

_KAFKA = {"kafka": Adapter("datalab.platform.simulate_kafka:send", "kafka")}
_MARKS = "simulated"


@dataclass(frozen=True)
class Stream:
    """A source's topic, its contract file, and the pattern of the files that the simulator writes for it."""

    topic: str
    contract: Path
    files: str


@dataclass(frozen=True)
class Simulated:
    """What the simulator wrote: a folder, and its own ledger, a line per record in the order of files and rows."""

    folder: Path
    lines: Path


@dataclass(frozen=True)
class Cluster:
    """How Kafka and its schema registry are reached; `options` are librdkafka's, `access` is that of the registry."""

    bootstrap: str
    registry: str
    options: Mapping[str, Any]
    access: Mapping[str, Any]


@dataclass(frozen=True)
class Pace:
    """Records a second (0: as fast as they are taken), from which share on the schema has evolved, partitions."""

    rate: int = 0
    evolve_at: float | None = None
    partitions: int = 4


@dataclass(frozen=True)
class Wanted:
    """Records to make, and how fast they are sent: a second (0: at once); `evolve_at` is a share of the records."""

    rows: int
    shares: Shares
    seed: int
    rate: int = 0
    evolve_at: float | None = None
    partitions: int = 4


def simulate_to_kafka(
    configuration: Configuration, wanted: Wanted, ledger: Path | None, environ: Mapping[str, str], bus: Bus
) -> dict[str, Any]:
    """Send a batch of simulated records to the topics of the project's sources; answers the simulator's summary.

    As with files, each batch goes on where the last one ended. ConfigError, SourceError.
    """
    send = adapter("simulation target", "kafka", _KAFKA)
    settings = configuration.settings
    streams = tuple(
        Stream(source.topic, source.contract, source.files)
        for source in settings.sources.values()
        if source.topic is not None and source.files is not None
    )
    if not streams:
        raise ConfigError(
            "no source of this project has a topic and files", "--env stack, or sources: {NAME: {topic: …}}"
        )
    options = client_options(configuration, environ)
    cluster = Cluster(*_addresses(configuration), options, registry_access(configuration, environ))
    marks = configuration.folder / STATE_FOLDER / _MARKS
    with TemporaryDirectory(prefix="datalab-simulate-") as scratch:
        folder = Path(scratch)
        if marks.is_dir():
            shutil.copytree(marks, folder, dirs_exist_ok=True)
        lines = folder / "ledger.jsonl"
        summary = simulate_project(
            configuration, wanted.rows, wanted.shares, wanted.seed, {"ledger": lines}, folder=folder
        )
        pace = Pace(wanted.rate, wanted.evolve_at, wanted.partitions)
        sent = send(streams, Simulated(folder, lines), cluster, pace, ledger, bus)
        _mark(folder, marks)
    return {**summary, "sent": sent}


def _addresses(configuration: Configuration) -> tuple[str, str]:
    chosen = configuration.settings.kafka
    if chosen.bootstrap is None or chosen.registry is None:
        missing = "kafka.bootstrap" if chosen.bootstrap is None else "kafka.registry"
        raise ConfigError(f"{missing} is not set", "--env stack, or kafka: {bootstrap: …, registry: …} in datalab.yaml")
    return chosen.bootstrap, chosen.registry


def _mark(folder: Path, marks: Path) -> None:
    """Keep the names of the files, empty: by them the simulator knows which batch comes next."""
    for path in folder.glob("landing/**/*"):
        if path.is_file():
            mark = marks / path.relative_to(folder)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
