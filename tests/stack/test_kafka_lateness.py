"""How late messages are, and what a process that follows says of itself while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.stack.follower import Follower, until
from tests.stack.test_kafka_faults import same, taken_in, values
from tests.stack.topics import TARGET, Filled

from datalab.lake.lake import open_lake
from datalab.platform.lab import Lab
from datalab.platform.services.control import Control
from datalab.platform.settings import load

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
INTERVAL = 3  # seconds between commits
SENT, RATE = 3_000, 200


@pytest.fixture
def follower(tmp_path: Path, topic: Filled) -> Iterator[Follower]:
    made = Follower(tmp_path, topic, INTERVAL)
    yield made
    made.kill()


def ages(project: Path, first: int) -> np.ndarray:
    """Seconds from the timestamps of messages, from an offset on, to the snapshots that made them queryable."""
    lake = open_lake("iceberg", str(project / "lake"))
    landed: dict[tuple[int, int], float] = {}
    for each in lake.history(lake.require(TARGET)):
        for partition, (start, stop) in (each.provenance.details.get("offsets", {}) if each.provenance else {}).items():
            landed.update({(int(partition), offset): each.at.timestamp() for offset in range(start, stop)})
    query = "SELECT source_partition AS p, source_offset AS o, source_timestamp AS t FROM bronze.pedidos "
    query += f"WHERE source_offset >= {first}"
    with Lab(load(project, environ={})) as lab:
        rows = lab.query(query).read_all().to_pylist()
    return np.array([landed[row["p"], row["o"]] - row["t"].timestamp() for row in rows])


def test_a_follower_says_how_late_messages_were(
    follower: Follower, topic: Filled, tmp_path: Path, datalab: Callable[..., Any]
) -> None:
    topic.send(values(topic, 0, 200))
    until(lambda: len(list(taken_in(tmp_path))) == 200)  # it is up: its start is not what is measured
    made, began = values(topic, 200, SENT), time.monotonic()
    for at in range(0, SENT, 20):
        topic.send(made[at : at + 20])
        time.sleep(max(0.0, at / RATE - (time.monotonic() - began)))
    until(lambda: len(list(taken_in(tmp_path))) == 200 + SENT)
    found = ages(tmp_path, 100)
    until(lambda: status(datalab, tmp_path)["read"] == 200 + SENT)  # told after the commit, from time to time
    row = status(datalab, tmp_path)
    assert (row["lag"], row["quarantined"], row["state"]) == (0, (200 + SENT) // 200, "follows")
    assert row["age_p50"] == pytest.approx(float(np.quantile(found, 0.5)), abs=1.0)
    assert row["commit_p50"] > 0
    landed = f'datalab_ingest_records_total{{source="pedidos",to="bronze"}} {row["read"] - row["quarantined"]}'
    assert landed in follower.metrics().splitlines()
    assert follower.health() == (200, "well\n")
    began = time.monotonic()
    follower.end()
    (half, late), ended = np.quantile(found, [0.5, 0.99]).tolist(), time.monotonic() - began
    sys.stdout.write(
        f"\nqueryable after {half:.2f} s (p50), {late:.2f} s (p99); ended {ended:.1f} s after it was told\n"
    )
    assert same(tmp_path, topic)


def status(datalab: Callable[..., Any], project: Path) -> dict[str, Any]:
    (row,) = datalab("platform", "status", "--json", "--project", project).json
    found: dict[str, Any] = row
    return found


def test_a_broker_that_is_away_turns_health_red(
    follower: Follower, topic: Filled, tmp_path: Path, kafka: Control
) -> None:
    topic.send(values(topic, 0, 50))
    until(lambda: len(list(taken_in(tmp_path))) == 50)
    kafka.stop()
    try:
        until(lambda: follower.health()[0] == 503, 90)
        assert "does not answer" in follower.health()[1]
        assert 'datalab_ingest_paused{source="pedidos"} 1' in follower.metrics()
    finally:
        kafka.start()
    topic.send(values(topic, 50, 50))
    until(lambda: len(list(taken_in(tmp_path))) == 100)
    until(lambda: follower.health()[0] == 200)
    said = follower.end()
    assert "pedidos waits: " in said
    assert "pedidos goes on after" in said
    assert same(tmp_path, topic)
