"""A run of a project in a process of its own, ready to be killed: imports first, then waits for a line, then runs."""

from __future__ import annotations

import sys

from datalab import plugins
from datalab.cli.app import execute

if __name__ == "__main__":
    for module in (
        "datalab.cli.run:app",
        "datalab.engine.duckdb:DuckDBEngine",
        f"datalab.lake.formats.{sys.argv[2]}:open_format",
    ):
        plugins.load(module)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.exit(execute(["run", "--project", sys.argv[1], "--json"]))
