"""A process that has imported everything, and has a copy of itself do one operation for each line that it reads.

The copy stops itself first, so that it can be taken under observation. Answers `PID`, then how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.faults.operations import OPERATIONS, Place

from datalab import plugins


def work(name: str, table_format: str, warehouse: str) -> None:
    place = Place.open(table_format, Path(warehouse))
    place.lake.names()
    os.kill(os.getpid(), signal.SIGSTOP)
    OPERATIONS[name](place)
    sys.stdout.write("done\n")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    plugins.load("datalab.lake.formats.iceberg:open_format")
    plugins.load("datalab.lake.formats.delta:open_format")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            work(*line.rstrip("\n").split("\t"))
        os.waitpid(child, os.WUNTRACED)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        ended = f"killed by {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        sys.stdout.write(f"{ended}\n")
        sys.stdout.flush()
