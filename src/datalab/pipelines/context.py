"""What every step of a run shares."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from datalab.engine.base import Engine
from datalab.lake.lake import Lake

_LARGEST_SHARE = 0.05


@dataclass(frozen=True)
class Context:
    """What every step of a run shares; `now` is the run's current_timestamp().

    `keep`: views with at most so many groups per row of their input are kept up from changed rows alone.
    """

    lake: Lake
    engine: Engine
    run_id: str
    now: datetime
    keep: float = _LARGEST_SHARE


def new_context(lake: Lake, engine: Engine) -> Context:
    """A context with a fresh run id and the present moment."""
    now = datetime.now(UTC)
    return Context(lake, engine, f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}", now)
