"""Standard streams that take whatever is written to them, also where they are closed or know few characters."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from typing import Any, TextIO


def prepare() -> None:
    """Put /dev/null in the place of streams that are closed; what a stream's encoding lacks becomes a question mark.

    The next file that is opened would get the number of a closed one, and whatever a library prints.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(number, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def json_line(value: Any, stream: TextIO) -> str:
    """A line of JSON; characters are escaped where the stream does not write UTF-8, which JSON is in."""
    return json.dumps(value, ensure_ascii=not _is_utf8(stream), allow_nan=False) + "\n"


def _nowhere(number: int, mode: str) -> Any:
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor == number:
        os.set_inheritable(descriptor, True)
    return open(descriptor, mode, encoding="utf-8", closefd=False)


def _is_utf8(stream: TextIO) -> bool:
    return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"
