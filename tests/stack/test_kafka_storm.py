"""Three processes share a topic while everything fails that can: each record is once in bronze or in quarantine."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pytest
from tests.faults.message_ledger import Messages, compare, gaps
from tests.ports import free_port
from tests.stack.storm import KEYS, Crew, Gate, Sender, Watch, bad_numbers, number_of
from tests.stack.topics import SCHEMA, TARGET, Filled

from datalab.lake.lake import Lake, open_lake
from datalab.platform.lab import Lab
from datalab.platform.services.control import Control
from datalab.platform.settings import load

PARTITIONS = 6
CREW = 3
TOO_EARLY = (-signal.SIGTERM, 128 + signal.SIGTERM)  # asked to end before it followed anything


@dataclass(frozen=True)
class Storm:
    """So many messages at a rate, so many kills of ingest processes, one every few seconds."""

    messages: int
    rate: float
    kills: int
    pause: float = 0.0


QUICK = Storm(messages=60_000, rate=3_000, kills=4)
FULL = Storm(messages=1_000_000, rate=8_000, kills=30, pause=14.0)


@pytest.fixture
def gate(registry: Control) -> Gate:
    return Gate(free_port(), int(registry.addresses["url"].split(":")[2].split("/")[0]))


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_each_record_is_there_once_after_a_storm(tmp_path: Path, kafka: Control, registry: Control, gate: Gate) -> None:
    weather(QUICK, tmp_path, (kafka, registry, gate))


@pytest.mark.stack
@pytest.mark.full
@pytest.mark.timeout(0)
def test_a_million_records_are_there_once_after_a_long_storm(
    tmp_path: Path, kafka: Control, registry: Control, gate: Gate
) -> None:
    weather(FULL, tmp_path, (kafka, registry, gate))


def weather(storm: Storm, project: Path, servers: tuple[Control, Control, Gate]) -> None:
    kafka, registry, gate = servers
    topic = Filled(kafka.addresses["bootstrap"], registry.addresses["url"], f"t{uuid.uuid4().hex[:8]}")
    topic.make(PARTITIONS)
    describe(project, topic, gate)
    lake = open_lake("iceberg", str(project / "lake"))
    watch = Watch(topic, "datalab-p", PARTITIONS, lambda: stands(lake))
    sender = Sender(topic.bootstrap, (topic.name, PARTITIONS, topic.register(SCHEMA)), storm.messages, storm.rate)
    crew = Crew(project, CREW, random.Random(storm.kills))
    for each in (watch, sender):
        each.start()
    try:
        rage(storm, crew, (kafka, gate))
        sender.join()
        assert crew.dead() == [], crew.said()
        crew.end()
        shared = sum(stands(lake).values())
        until_lag_zero(project)
        watch.end()
    finally:
        crew.end()
    assert sender.failed == []
    assert shared > storm.messages / 10
    assert set(crew.codes) <= {0, *TOO_EARLY}, crew.said()
    assert (watch.ahead, watch.looks > storm.kills) == ([], True)
    good, bad = held(project)
    ledger = sender.ledger()
    sys.stdout.write(
        f"\n{len(ledger.numbers):,} messages, {len(good.numbers):,} in bronze, {len(bad.numbers):,} in quarantine, "
        f"{shared:,} offsets consumed by those who came and went, {watch.looks} looks at the group\n"
    )
    assert len(ledger.numbers) == storm.messages
    assert compare(ledger, good, bad, bad_numbers(storm.messages), KEYS) == []
    assert gaps(commits(lake)) == []


def rage(storm: Storm, crew: Crew, servers: tuple[Control, Gate]) -> None:
    """Kills every few seconds; in between one leaves, the broker dies, the registry refuses, one stands still."""
    kafka, gate = servers
    chance = random.Random(storm.kills + 1)
    marks = {storm.kills // 4: "broker", storm.kills // 2: "registry", 3 * storm.kills // 4: "pause"}
    for at in range(storm.kills):
        time.sleep(chance.uniform(2.0, 5.0))
        if at % 3 == 2:
            crew.leave()
        match marks.get(at):
            case "broker":
                pid = kafka.status().pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                time.sleep(1)
                kafka.start()
            case "registry":
                gate.shut()
                crew.kill()
                time.sleep(10)
                gate.open()
            case "pause" if storm.pause:
                crew.pause(storm.pause)
        crew.kill()


def describe(project: Path, topic: Filled, gate: Gate) -> None:
    (project / "c.avsc").write_text(json.dumps(SCHEMA))
    registry = topic.registry.split("/", 3)[3]
    (project / "datalab.yaml").write_text(
        "name: p\n"
        "ingest: {workers: 1}\n"
        f'kafka: {{bootstrap: "{topic.bootstrap}", registry: "http://127.0.0.1:{gate.port}/{registry}", '
        "commit_seconds: 1, patience: 10}\n"
        f"sources: {{pedidos: {{into: bronze.pedidos, contract: c.avsc, topic: {topic.name}}}}}\n"
    )


def stands(lake: Lake) -> dict[int, int]:
    state = lake.state(TARGET)
    if state is None or "pedidos" not in state.positions:
        return {}
    return {int(key): offset for key, offset in state.positions["pedidos"].offsets["partitions"].items()}


def until_lag_zero(project: Path) -> None:
    command = [sys.executable, "-m", "datalab", "ingest", "--until-lag-zero", "--project", str(project)]
    answer = subprocess.run(command, capture_output=True, timeout=300, check=False)
    assert answer.returncode == 0, answer.stderr.decode()


def held(project: Path) -> tuple[Messages, Messages]:
    """What lies in bronze and in quarantine."""
    with Lab(load(project, environ={})) as lab:
        places = "SELECT source_partition AS p, source_offset AS o"
        rows = lab.query(f"{places}, CAST(id AS BIGINT) AS n FROM bronze.pedidos").read_all()
        good = Messages(*(pc.cast(rows.column(name), "int64").to_numpy() for name in "pon"))
        aside = lab.query(f"{places}, raw FROM ops.quarantine").read_all().to_pylist()
    return good, Messages.of((row["p"], row["o"], number_of(row["raw"])) for row in aside)


def commits(lake: Lake) -> list[dict[str, list[int]]]:
    history = lake.history(lake.require(TARGET))
    return [each.provenance.details["offsets"] for each in history if each.provenance and each.provenance.details]
