"""The library in C, as far as there is one; where there is none, what it does is done in Python."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache

from datalab.ingest.native.build import LIBRARY

_SWITCH = "DATALAB_NATIVE"


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
