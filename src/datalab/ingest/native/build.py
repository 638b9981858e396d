"""Compiles the parts in C, where there is a compiler. Without it everything works, only slower. Also a program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = tuple(Path(__file__).with_name(name) for name in ("messages.c", "records.c"))
LIBRARY = Path(__file__).with_name("native.so")
_FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-fPIC", "-shared")


def build() -> str:
    """Make LIBRARY anew. Answers why there is none, in words; empty where there is."""
    LIBRARY.unlink(missing_ok=True)
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if sys.platform == "win32" or compiler is None:
        return "no C compiler was found"
    made = LIBRARY.with_suffix(".part")
    command = [*compiler.split(), *_FLAGS, "-o", str(made), *map(str, SOURCES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{compiler} cannot be run: {error}"
    if done.returncode:
        made.unlink(missing_ok=True)
        return f"{compiler} failed: {done.stderr.strip()}"
    made.replace(LIBRARY)  # never half of it, and never into one that is in use
    return ""


if __name__ == "__main__":
    sys.exit(build() or 0)
