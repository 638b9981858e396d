"""Kafka and kills: an ingest process that dies again and again, several at once, a ledger that lies outside."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from tests.stack.topics import SCHEMA, Filled, encoded, record

from datalab.platform.lab import Lab
from datalab.platform.settings import load

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
KILLS = int(os.environ.get("DATALAB_KILLS", "4"))


@pytest.fixture
def project(topic: Filled, tmp_path: Path) -> Path:
    (tmp_path / "c.avsc").write_text(json.dumps(SCHEMA))
    (tmp_path / "datalab.yaml").write_text(
        "name: p\n"
        f'kafka: {{bootstrap: "{topic.bootstrap}", registry: "{topic.registry}", commit_seconds: 1, patience: 5}}\n'
        f"sources: {{pedidos: {{into: bronze.pedidos, contract: c.avsc, topic: {topic.name}}}}}\n"
    )
    return tmp_path


def values(topic: Filled, first: int, count: int) -> list[bytes | None]:
    """Good ones, every 200th of them damaged."""
    schema_id = topic.register(SCHEMA)
    made = [encoded(record(at), SCHEMA, schema_id) for at in range(first, first + count)]
    return [each[:-1] if at % 200 == 7 else each for at, each in enumerate(made)]


def ingesting(project: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "datalab", "ingest", *options, "--project", str(project)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


Place = tuple[int, int, str]


def taken_in(project: Path) -> Iterator[Place]:
    """The places of all rows of bronze, with their ids, and of quarantine."""
    with Lab(load(project, environ={})) as lab:
        for table, key in (("bronze.pedidos", "id"), ("ops.quarantine", "''")):
            if table in map(str, lab.tables()):
                query = f"SELECT source_partition AS p, source_offset AS o, {key} AS id FROM {table}"
                yield from ((row["p"], row["o"], row["id"]) for row in lab.query(query).read_all().to_pylist())


def acknowledged(topic: Filled) -> Iterator[Place]:
    """What the ledger says must be there."""
    schema = fastavro.parse_schema(SCHEMA)
    for place, value in topic.ledger.items():
        try:
            yield *place, fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), schema, None)["id"]
        except (EOFError, IndexError):
            yield *place, ""


def same(project: Path, topic: Filled) -> bool:
    return Counter(taken_in(project)) == Counter(acknowledged(topic))


def ended(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    return out.decode()


def test_killed_at_random_moments(project: Path, topic: Filled) -> None:
    chance = random.Random(KILLS)
    sent = 0
    for _ in range(KILLS):
        topic.send(values(topic, sent, 1_500))
        sent += 1_500
        process = ingesting(project, "--follow")
        time.sleep(chance.uniform(1.0, 8.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    ended(ingesting(project, "--until-lag-zero"))
    assert same(project, topic)
    group = topic.group_offsets("datalab-p")
    ends = Counter[int]()
    for partition, offset in topic.ledger:
        ends[partition] = max(ends[partition], offset + 1)
    assert all(offset <= ends[partition] for partition, offset in group.items())


def test_three_processes_share_the_topic(project: Path, topic: Filled) -> None:
    processes = [ingesting(project, "--follow", "--json") for _ in range(3)]
    for first in range(0, 9_000, 1_500):
        topic.send(values(topic, first, 1_500))
        time.sleep(1)
    until(lambda: len(list(taken_in(project))) == 9_000, lambda: None)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    read = [json.loads(ended(process))[0]["read"] for process in processes]
    assert sum(read) == 9_000
    assert min(read) > 0
    assert same(project, topic)


def test_a_signal_ends_it_soon_and_the_last_commit_stands(project: Path, topic: Filled) -> None:
    process = ingesting(project, "--follow", "--json")
    until(lambda: bool(list(taken_in(project))), lambda: topic.send(values(topic, 0, 20)))
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    (row,) = json.loads(ended(process))
    assert time.monotonic() - began < 30
    assert row["read"] == len(list(taken_in(project)))
    ended(ingesting(project, "--until-lag-zero"))
    assert same(project, topic)


def until(done: Callable[[], bool], step: Callable[[], Any]) -> None:
    for _ in range(60):
        step()
        if done():
            return
        time.sleep(1)
    raise AssertionError("it never happened")


def test_the_comparison_finds_planted_faults(project: Path, topic: Filled) -> None:
    topic.send(values(topic, 0, 300))
    ended(ingesting(project, "--once"))
    assert same(project, topic)
    (one, two, *_), value = sorted(topic.ledger), topic.ledger
    plants: list[Callable[[], Any]] = [
        lambda: value.pop(one),
        lambda: value.update({(one[0], 10_000): value[one]}),
        lambda: value.update({one: value[two], two: value[one]}),
        lambda: value.update({(two[0], two[1] + 20_000): value.pop(two)}),
    ]
    for plant in plants:
        kept = dict(value)
        plant()
        assert not same(project, topic)
        value.clear()
        value.update(kept)
    assert same(project, topic)
