"""The server's process: what it loads, how it ends, and what becomes of the process beside it."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.server import Server, make_project
from tests.unit.serving.models import REQUEST

HEAVY = {"sklearn", "mlflow", "pyiceberg", "duckdb", "sqlalchemy", "pandas", "joblib", "skl2onnx", "onnx", "deltalake"}


@pytest.mark.slow
def test_the_server_loads_nothing_that_only_training_or_the_lake_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    folder, errors = tmp_path / "fazenda", tmp_path / "errors.txt"
    server = Server(folder, make_project(folder), errors, "--no-flush")
    for path, body in (("/v1/credit-score", REQUEST), ("/v1/credit-score/batch", {"propostas": [REQUEST] * 3})):
        assert server.ask("POST", path, body)[0] == 200
    for path in ("/docs", "/openapi.json", "/metrics", "/v1/model-info"):
        assert server.ask("GET", path)[0] == 200
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert server.stop() == 0
    loaded = {match[1] for match in re.finditer(r"^import time:.*\| +([\w.]+)$", errors.read_text(), re.MULTILINE)}
    assert {"onnxruntime", "fastapi", "datalab.serving.guard"} <= loaded
    assert HEAVY & {name.partition(".")[0] for name in loaded} == set()
    assert [name for name in HEAVY if f"site-packages/{name}/" in mapped] == []


@pytest.mark.slow
def test_the_process_beside_the_server_is_started_again_and_ends_with_it(tmp_path):
    folder, errors = tmp_path / "fazenda", tmp_path / "errors.txt"
    server = Server(folder, make_project(folder, flush_seconds=1), errors)
    (first,) = server.children()
    os.kill(first, signal.SIGKILL)
    assert _until(lambda: server.children() not in ([], [first]))
    (second,) = server.children()
    assert server.ask("POST", "/v1/credit-score", REQUEST)[0] == 200
    server.kill(flusher=False)
    assert _until(lambda: not _runs(second)), "it ends when the server is gone"
    assert "FlusherRestarted" in errors.read_text()
    assert list((folder / ".datalab" / "serving" / "scores").glob("*.jsonl")) == [], "and takes the rest first"


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_so(tmp_path, datalab):
    folder, errors = tmp_path / "fazenda", tmp_path / "errors.txt"
    server = Server(folder, make_project(folder), errors, "--no-flush")
    answer = datalab("serve", "--project", folder, "--port", str(server.port), "--no-flush")
    assert server.stop() == 0
    assert answer.code == 8
    assert f"cannot listen on 127.0.0.1:{server.port}" in answer.err
    assert "/docs" not in answer.err + answer.out
    assert f"http://127.0.0.1:{server.port}/docs\n" in errors.read_text()


def test_no_address_is_told_where_the_keys_are_damaged(tmp_path, datalab):
    folder = tmp_path / "fazenda"
    make_project(folder)
    (folder / ".datalab" / "keys" / "api.json").write_text("{", encoding="utf-8")
    answer = datalab("serve", "--project", folder, "--no-flush")
    assert answer.code != 0
    assert "api.json" in answer.err
    assert "/docs" not in answer.err + answer.out


def test_an_unsafe_address_is_refused(tmp_path, datalab):
    folder = tmp_path / "fazenda"
    make_project(folder)
    answer = datalab("serve", "--project", folder, "--host", "0.0.0.0", "--no-flush")
    assert (answer.code, "without TLS" in answer.err) == (8, True)


def _until(holds, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False
