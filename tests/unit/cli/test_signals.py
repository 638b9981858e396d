"""A command that is told to end ends, says nothing, and answers the signal's exit code, whatever it was doing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BETWEEN = """
import os, sys, time
from datalab.cli import app

class Kept:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

def work(*_args, **_options):
    Kept()
    time.sleep(20)

app.root_command = lambda: type("Command", (), {"main": staticmethod(work)})
app.main()
"""
QUERY = """
import signal, sys
import duckdb
from datalab.cli import app
from datalab.engine.faults import translated

def work(*_args, **_options):
    signal.signal(signal.SIGALRM, signal.getsignal(int(sys.argv[1])))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with translated("flow.sql:1"):
        duckdb.sql("SELECT sum(a.i % b.i) FROM range(1, 300000) a(i), range(1, 300000) b(i)").fetchall()

app.root_command = lambda: type("Command", (), {"main": staticmethod(work)})
app.main()
"""


MISTAKEN = """
import os, sys
from datalab.cli import app

def work(*_args, **_options):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        sys.exit("never reached")
    except BaseException:
        raise ImportError("initialization failed")

app.root_command = lambda: type("Command", (), {"main": staticmethod(work)})
app.main()
"""


def run(*line: str, path: str = "") -> subprocess.CompletedProcess[str]:
    folders = os.pathsep.join(filter(None, [path, *sys.path]))
    env = {**os.environ, "PYTHONPATH": folders}
    return subprocess.run([sys.executable, *line], check=False, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_meets_a_finaliser_is_not_lost(number: int) -> None:
    found = run("-c", BETWEEN, str(int(number)))
    assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_error_that_a_library_made_of_a_signal_is_not_told(number: int) -> None:
    found = run("-c", MISTAKEN, str(int(number)))
    assert (found.returncode, found.stdout, found.stderr) == (128 + number, "", "")


def test_an_interrupted_query_is_no_error() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        found = run("-c", QUERY, str(int(number)))
        assert found.returncode == 128 + signal.SIGALRM  # which stands in for it here
        assert (found.stdout, found.stderr) == ("", "")


def test_an_interruption_while_the_command_line_is_loaded_is_quiet(tmp_path: Path) -> None:
    tmp_path.joinpath("typer.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    found = run("-P", "-m", "datalab", "plan", path=str(tmp_path))
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")
