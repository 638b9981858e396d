"""When records came into being: enough of it to say, once they are queryable, how old they are by then."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from datalab.observability.ingest_meter import AGE_BOUNDS

_SAMPLE = 500


class Produced:
    """Moments of records, of large batches an even sample: reading millions must not cost more for it."""

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[np.int64], float]] = []

    def add(self, millis: pa.Array) -> None:
        """Records that came into being at these milliseconds since 1970; none below zero, which is unknown."""
        step = max(1, len(millis) // _SAMPLE)
        if len(millis):
            moments = millis.to_numpy(zero_copy_only=False)
            sample = moments[::step].copy()  # which must not hold on to all of them
            self._parts.append((sample, len(millis) / len(sample)))

    def ages(self, now: float) -> Mapping[float, int]:
        """About how many records are how old (upper bound in seconds; infinity for the rest) at `now`, since 1970."""
        counts = np.zeros(len(AGE_BOUNDS) + 1)
        for moments, weight in self._parts:
            known = moments[moments >= 0]
            counts += weight * np.bincount(np.searchsorted(AGE_BOUNDS, now - known / 1_000), minlength=len(counts))
        bounds = (*AGE_BOUNDS, float("inf"))
        return {bound: round(count) for bound, count in zip(bounds, counts.tolist(), strict=True) if round(count)}
