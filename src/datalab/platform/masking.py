"""Personal data as people may see it: fields that a contract tags are masked wherever rows are shown."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

MASK = "•••"


def mask_row(text: str | None, fields: Collection[str]) -> Any:
    """A row kept as JSON, with the values of `fields` (leaf names, at any depth) masked; the text if it is no JSON."""
    if text is None:
        return None
    try:
        return _masked(json.loads(text), {field.lower() for field in fields})
    except ValueError:
        return MASK if fields else text


def _masked(value: Any, fields: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK if key.lower() in fields and part is not None else _masked(part, fields)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_masked(part, fields) for part in value]
    return value
