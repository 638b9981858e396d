"""Processes that follow sources tell how they are, and are missed when they end without a word."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datalab.events import BatchLanded, Bus, SourceLooked, SourcePaused, SourceResumed
from datalab.names import TableName
from datalab.platform.pulse import beating, problems, pulses, status_rows
from datalab.platform.settings import Configuration, load

FEEDS = [("s", TableName("bronze", "t"))]
OTHER = """
import sys, time
from pathlib import Path
from datalab.events import Bus
from datalab.names import TableName
from datalab.platform.pulse import beating
from datalab.platform.settings import load
with beating(load(Path(sys.argv[1]), environ={}), Bus(), [("s", TableName("bronze", "t"))], None):
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def project(tmp_path: Path) -> Configuration:
    (tmp_path / "datalab.yaml").write_text("name: p\n")
    return load(tmp_path, environ={})


def until(done: Callable[[], Any]) -> Any:
    for _ in range(100):
        if found := done():
            return found
        time.sleep(0.1)
    raise AssertionError("it never happened")


def test_what_is_told_is_shown(project: Configuration, tmp_path: Path, datalab: Callable[..., Any]) -> None:
    bus = Bus()
    with beating(project, bus, FEEDS, None):
        bus.emit(SourceLooked("s", 12))
        bus.emit(BatchLanded("s", "bronze.t", 100, 99, 1, 0.04, 3, {4.0: 100}))
        until(lambda: [row for row in status_rows(pulses(project)) if row["commits"]])
        (row,) = datalab("platform", "status", "--json", "--project", tmp_path).json
        assert (row["source"], row["table"], row["state"], row["pid"]) == ("s", "bronze.t", "follows", os.getpid())
        assert (row["lag"], row["read"], row["quarantined"], row["commits"]) == (3, 100, 1, 1)
        assert 3 < row["age_p50"] < row["age_p99"] <= 4
        assert 0 < row["commit_p99"] <= 0.05
        assert datalab("platform", "health", "--project", tmp_path).out == "well\n"
        bus.emit(SourcePaused("s", "the broker does not answer"))
        until(lambda: problems(pulses(project)))
        answer = datalab("platform", "health", "--json", "--project", tmp_path)
        assert (answer.code, answer.json["well"]) == (1, False)
        assert "the broker does not answer" in answer.json["problems"][0]
        assert status_rows(pulses(project))[0]["state"] == "waits"
        bus.emit(SourceResumed("s", 1.0))
        until(lambda: not problems(pulses(project)))
    assert pulses(project) == ()
    assert "no process follows" in datalab("platform", "status", "--project", tmp_path).out


def test_who_is_killed_is_missed_until_another_takes_over(project: Configuration, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", OTHER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    until(lambda: pulses(project))
    assert problems(pulses(project)) == ()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "ended without a word" in problems(pulses(project))[0]
    assert status_rows(pulses(project))[0]["state"] == "gone"
    (path,) = (tmp_path / ".datalab" / "ingest").glob("*.json")
    said = json.loads(path.read_text())
    said["told_at"] = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    path.write_text(json.dumps(said))
    with beating(project, Bus(), FEEDS, None):
        until(lambda: [each.alive for each in pulses(project)] == [True])
        assert problems(pulses(project)) == ()


def test_who_lives_and_says_nothing_is_not_well(project: Configuration, tmp_path: Path) -> None:
    with beating(project, Bus(), FEEDS, None):
        until(lambda: pulses(project))
    path = tmp_path / ".datalab" / "ingest" / "other.json"
    said = {"pid": os.getpid(), "born": "x", "host": "elsewhere", "sources": []}
    path.write_text(json.dumps({**said, "told_at": datetime.now(UTC).isoformat()}))
    assert problems(pulses(project)) == ()
    path.write_text(json.dumps({**said, "told_at": (datetime.now(UTC) - timedelta(seconds=20)).isoformat()}))
    assert "ended without a word" in problems(pulses(project))[0]
    path.write_text("{half")
    assert pulses(project) == ()
