"""The library in C, as far as there is one; where there is none, what it does is done in Python."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from typing import Any

from datalab.ingest.native.build import LIBRARY

_SWITCH = "DATALAB_NATIVE"
_RECORDS_LAYOUT = 3  # of what is handed over, as records.c has it


def is_wanted() -> bool:
    """Whether it may be used: DATALAB_NATIVE=off in the environment asks for Python alone."""
    return os.environ.get(_SWITCH, "").lower() not in ("0", "off", "no", "false")


@lru_cache(maxsize=1)
def built() -> ctypes.CDLL | None:
    """The library; None where it was not built, or cannot be loaded."""
    try:
        return ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None


@lru_cache(maxsize=1)
def records_library() -> Any:
    """The same with the types of what records.c offers; None also where that is of another layout."""
    library, pointer, number = built(), ctypes.c_void_p, ctypes.c_int64
    try:
        if library is None or library.records_layout() != _RECORDS_LAYOUT:
            return None
        library.records_read.argtypes = [*(pointer,) * 4, number, pointer, number, ctypes.c_int, pointer, pointer]
        library.records_cut.argtypes = [*(pointer,) * 3, number, pointer, pointer]
        library.records_check.argtypes = [*(pointer,) * 3, number, pointer]
        library.records_schema.argtypes = [pointer, pointer, number]
        library.records_recurring.argtypes = [*(pointer,) * 3, number, number, pointer, pointer]
    except AttributeError:
        return None
    library.records_read.restype = library.records_check.restype = None
    library.records_cut.restype = ctypes.c_int
    library.records_recurring.restype = library.records_schema.restype = number
    return library
