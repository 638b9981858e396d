"""`python -m datalab` is the command line."""

from __future__ import annotations

from datalab.cli.app import main

if __name__ == "__main__":
    main()
