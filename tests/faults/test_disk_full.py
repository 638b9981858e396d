"""The disk fills up at every stage: a typed error, tables that can be read, and going on once there is space again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.faults.operations import AFTER, BEFORE, OPERATIONS, TABLE, Place, prepare
from tests.faults.server import Server, make_project
from tests.journeys.pedidos import Pedidos, order
from tests.unit.serving.models import REQUEST

from datalab.errors import StorageFull
from datalab.platform.lab import Lab
from datalab.platform.score_log import flush_logs
from datalab.platform.settings import load

SIZE = 48 << 20
QUICK = (0, 8, 24, 48, 96)  # KiB that are left
FULL = range(0, 400, 4)


def _may_mount() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = _may_mount() and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode == 0  # fmt: skip
    if not mounted:
        pytest.skip("NOT TESTED: a disk that is full needs a tmpfs, which only root may mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(disk: Path, left: int) -> Path:
    """Leave so many KiB."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free.f_bavail * free.f_frsize - left * 1024, 1))
    return filler


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_an_operation_on_a_full_disk_is_undone_or_done(small_disk: Path, table_format: str, operation: str) -> None:
    assert _sweep(small_disk, table_format, operation, QUICK) > 0 or operation == "expire"


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_an_operation_with_any_space_left_is_undone_or_done(
    small_disk: Path, table_format: str, operation: str
) -> None:
    assert _sweep(small_disk, table_format, operation, FULL) > 0 or operation == "expire"


def _sweep(disk: Path, table_format: str, operation: str, spaces: Any) -> int:
    """How often the disk was too full."""
    first = Place.open(table_format, disk / "lake")
    prepare(first)
    first.engine.close()
    shutil.copytree(disk / "lake", disk.parent / "base")
    return sum(_operate(disk, table_format, operation, space) for space in spaces)


def _operate(disk: Path, table_format: str, operation: str, space: int) -> bool:
    shutil.rmtree(disk / "lake")
    shutil.copytree(disk.parent / "base", disk / "lake")
    place = Place.open(table_format, disk / "lake")
    filler = _fill(disk, space)
    failed = _is_too_full(operation, place)
    assert place.rows() == (BEFORE if failed else AFTER[operation]), (operation, space)
    fresh = Place.open(table_format, disk / "lake") if not failed else place
    assert fresh.rows() == place.rows()
    filler.unlink()
    OPERATIONS[operation](place)
    assert place.rows() == AFTER[operation]
    assert all(Path(file.path).exists() for file in place.lake.files(place.lake.require(TABLE)).files)
    place.engine.close()
    fresh.engine.close()
    return failed


def _is_too_full(operation: str, place: Place) -> bool:
    try:
        OPERATIONS[operation](place)
    except StorageFull:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_a_project_on_a_full_disk_goes_on_when_there_is_space(
    small_disk: Path, table_format: str, datalab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALAB__LAKE__FORMAT", table_format)
    monkeypatch.setenv("DATALAB__RUN__RETRIES", "0")
    pedidos = Pedidos(small_disk, datalab).create()
    pedidos.deliver("d0", *(order(f"0-{number}") for number in range(50)))
    pedidos.run()
    failed = 0
    for day, left in enumerate((0, 16, 40, 80, 160, 300), 1):
        pedidos.deliver(f"d{day}", *(order(f"{day}-{number}") for number in range(50)))
        filler = _fill(small_disk, left)
        answer = datalab("run", "--json", "--project", small_disk)
        assert answer.code in (0, 6, 8), answer.err
        assert answer.code == 0 or "no space left" in answer.err.lower(), answer.err
        failed += answer.code != 0
        assert len(pedidos.rows("SELECT * FROM bronze.pedidos")) >= 50 * day
        filler.unlink()
        pedidos.run()
        assert len(pedidos.rows("SELECT * FROM silver.pedidos")) == 50 * (day + 1)
        assert pedidos.run().json["status"] == "nothing_to_do"
    assert failed


@pytest.mark.slow
def test_a_server_whose_log_is_on_a_full_disk_is_not_ready_and_says_so(small_disk: Path, tmp_path: Path) -> None:
    """Nothing is answered that is not recorded; with space it goes on by itself."""
    folder, errors = tmp_path / "fazenda", tmp_path / "errors.txt"
    key = make_project(folder)
    (small_disk / "serving").mkdir(mode=0o700)
    (folder / ".datalab" / "serving").symlink_to(small_disk / "serving")
    server = Server(folder, key, errors, "--no-flush")
    answered = []
    with closing(server.connect()) as connection:
        filler = _fill(small_disk, 8)
        while (answer := server.ask("POST", "/v1/credit-score", REQUEST, connection))[0] == 200:
            answered.append(json.loads(answer[1])["id_score"])
        assert answer[0] == server.ask("GET", "/ready", connection=connection)[0] == 503
        time.sleep(2.5)
        assert server.ask("GET", "/ready", connection=connection)[0] == 503, "probed meanwhile"
        filler.unlink()
        server.wait_until_ready()
        answered.append(json.loads(server.ask("POST", "/v1/credit-score", REQUEST, connection)[1])["id_score"])
    assert server.stop() == 0
    told = [json.loads(line)["event"] for line in errors.read_text().splitlines() if line.startswith("{")]
    assert [event for event in told if event.startswith("ScoreLog")] == ["ScoreLogFailing", "ScoreLogResumed"]
    with Lab(load(folder), {}) as lab:
        flush_logs(lab)
        rows = lab.query("SELECT score_id FROM ops.scores").read_all().column(0).to_pylist()
    assert sorted(rows) == sorted(answered)
