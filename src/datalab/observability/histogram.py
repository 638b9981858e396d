"""Counts by upper bound: added up over processes, read as quantiles, written in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Self


class Histogram:
    """How many values are at most each bound, the last of which is infinity."""

    def __init__(self, bounds: Sequence[float], counts: Mapping[float, int] | None = None, total: float = 0.0) -> None:
        self.bounds = (*bounds, float("inf"))
        self.counts: Counter[float] = Counter(counts or {})
        self.sum = total

    def add(self, value: float) -> None:
        """One value."""
        self.counts[next(bound for bound in self.bounds if value <= bound)] += 1
        self.sum += value

    def add_counts(self, counts: Mapping[float, int]) -> None:
        """Many values by bound; each counts as its bound in the sum, those beyond the last as the last."""
        self.counts.update(counts)
        self.sum += sum(min(bound, self.bounds[-2]) * count for bound, count in counts.items())

    def quantile(self, share: float) -> float | None:
        """The value that this share of all does not exceed, evenly spread within a bound; None of nothing."""
        wanted, seen, lower = share * sum(self.counts.values()), 0, 0.0
        for bound in self.bounds:
            count = self.counts[bound]
            if count and seen + count >= wanted:
                upper = lower if bound == float("inf") else bound
                return lower + (upper - lower) * (wanted - seen) / count
            seen += count
            lower = bound
        return None

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its samples in Prometheus' text format; `labels` as they stand between braces."""
        total = 0
        for bound in self.bounds:
            total += self.counts[bound]
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{name}_bucket{{{labels},le="{shown}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self.sum:.3f}"
        yield f"{name}_count{{{labels}}} {total}"

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return {"counts": [self.counts[bound] for bound in self.bounds], "sum": self.sum}

    @classmethod
    def from_json(cls, bounds: Sequence[float], found: Mapping[str, object]) -> Self:
        """What `to_json` wrote, under the same bounds."""
        made = cls(bounds)
        counts = found.get("counts")
        if isinstance(counts, list) and len(counts) == len(made.bounds):
            made.counts.update(dict(zip(made.bounds, counts, strict=True)))
            made.sum = float(str(found.get("sum", 0.0)))
        return made
