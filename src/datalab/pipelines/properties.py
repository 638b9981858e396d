"""The properties of a table that a declaration may set: ours are known by name and value, those of others pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches

from datalab.lake.layout import CLUSTER_KEY, FILE_ROWS_KEY, MARK_ROWS_KEY, MERGE_MODE_KEY, MERGE_MODES

_OWN = "datalab."
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
_KNOWN: dict[str, tuple[Callable[[str], object], str]] = {
    FILE_ROWS_KEY: (_COUNT.fullmatch, "a whole number of rows, 0 for files by their size"),
    MARK_ROWS_KEY: (_COUNT.fullmatch, "a whole number of rows, 0 for no marks"),
    MERGE_MODE_KEY: (lambda value: value.lower() in MERGE_MODES, " or ".join(MERGE_MODES)),
}
_SETTABLE = sorted(name for name in _KNOWN if name.startswith(_OWN))


def wrong_name(name: str) -> tuple[str, str] | None:
    """Message and hint where a property is of our namespace and none that a declaration sets; else None."""
    if name in _KNOWN or not name.lower().startswith(_OWN):
        return None
    if name.lower() == CLUSTER_KEY:
        return f"{name} is not set as a property", "write CLUSTER BY (columns)"
    near = get_close_matches(name.lower(), _SETTABLE, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"there is no property {name} to set", f"{meant}known are {', '.join(_SETTABLE)}"


def wrong_value(name: str, value: str) -> tuple[str, str] | None:
    """Message and hint where a property that we act on has a value that it cannot have; else None."""
    fits, wanted = _KNOWN.get(name, (bool, ""))
    return (f"{name} cannot be '{value}'", f"write {wanted}") if wanted and not fits(value) else None
