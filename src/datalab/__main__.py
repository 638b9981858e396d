"""The command line, as `datalab` and as `python -m datalab`: quiet also where it is interrupted while it loads."""

from __future__ import annotations

import importlib
import os
import sys


def main() -> None:
    """Entry point of the script."""
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy starts a thread per core, and each spins till then
    try:
        importlib.import_module("datalab.cli.app").main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
