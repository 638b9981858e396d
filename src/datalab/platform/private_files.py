"""Small files of the platform's own that nobody else may read."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_private(path: Path, text: str) -> None:
    """Put a file of this text, readable by its owner alone, in the place of what is there, whole or not at all."""
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        with open(draft, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
