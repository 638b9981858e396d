"""A process that has imported everything, and has a copy of itself do one operation for each line that it reads.

The copy stops itself first, so that it can be taken under observation. Where the operation is refused, the copy says
so and tries again. Answers `PID`, each refusal, that it is done, then how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.faults.operations import OPERATIONS, Place

from datalab import plugins
from datalab.errors import DataLabError

ATTEMPTS = 3


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def work(name: str, table_format: str, warehouse: str) -> None:
    place = Place.open(table_format, Path(warehouse))
    place.lake.names()
    os.kill(os.getpid(), signal.SIGSTOP)
    for _ in range(ATTEMPTS):
        try:
            OPERATIONS[name](place)
        except (DataLabError, OSError) as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            say(f"refused {words} | {getattr(error, 'hint', '')}")
        else:
            say("done")
            break
    os._exit(0)


if __name__ == "__main__":
    plugins.load("datalab.lake.formats.iceberg:open_format")
    plugins.load("datalab.lake.formats.delta:open_format")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(*line.rstrip("\n").split("\t"))
        os.waitpid(child, os.WUNTRACED)
        say(str(child))
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        say(f"killed by {os.WTERMSIG(status)}" if killed else f"exit {os.WEXITSTATUS(status)}")
