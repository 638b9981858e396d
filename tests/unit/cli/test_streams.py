"""A command does its work where streams are closed, or cannot write every character."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DATALAB = f"{sys.executable} -m datalab"


def shell(line: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "DATALAB": DATALAB, **variables}
    return subprocess.run(["/bin/sh", "-c", line], cwd=folder, env=environment, capture_output=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_ends_no_command(tmp_path: Path, closed: str) -> None:
    assert shell(f"$DATALAB init fazenda {closed}", tmp_path).returncode == 0
    assert (tmp_path / "fazenda" / "datalab.yaml").exists()
    assert shell(f"$DATALAB data list --json --project fazenda {closed}", tmp_path).returncode == 0
    assert shell(f"$DATALAB data list --json --project nowhere {closed}", tmp_path).returncode == 4


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    found = shell("$DATALAB init 'fazenda é ☃' --json", tmp_path, PYTHONIOENCODING=encoding)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["project"] == str(tmp_path / "fazenda é ☃")
    failed = shell("$DATALAB data list --json --project 'é ☃'", tmp_path, PYTHONIOENCODING=encoding)
    assert "é ☃" in json.loads(failed.stderr)["error"]["message"]


def test_what_a_terminal_cannot_show_is_a_question_mark(tmp_path: Path) -> None:
    found = shell("$DATALAB init 'é ☃'", tmp_path, PYTHONIOENCODING="latin-1")
    assert (found.returncode, found.stdout.decode("latin-1").startswith("é ? holds")) == (0, True)
    helped = shell("$DATALAB run --help", tmp_path, PYTHONIOENCODING="ascii", COLUMNS="20")
    assert helped.returncode == 0, helped.stderr
