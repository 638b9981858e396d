"""Counts of the server in the text format of Prometheus. No label holds anything that a client sent."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Requests by route and status, their seconds, decisions and degraded answers."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.decisions: Counter[str] = Counter()
        self.degraded: Counter[str] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.requests[route, status] += 1
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(_BOUNDS) + 1)
        buckets[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """All of it; `gauges` are further values by name, with their help."""
        return "\n".join([*self._lines(), *_gauges(gauges), ""])

    def _lines(self) -> Iterator[str]:
        yield from _family("datalab_requests_total", "counter", "Answered requests.")
        for (route, status), count in sorted(self.requests.items()):
            yield f'datalab_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _family("datalab_request_seconds", "histogram", "Seconds from the request's head to its answer.")
        for route, buckets in sorted(self._buckets.items()):
            yield from self._histogram(route, buckets)
        yield from _family("datalab_decisions_total", "counter", "Decisions answered.")
        for decision, count in sorted(self.decisions.items()):
            yield f'datalab_decisions_total{{decision="{decision}"}} {count}'
        yield from _family("datalab_degraded_total", "counter", "Scores answered without all features, by reason.")
        for reason, count in sorted(self.degraded.items()):
            yield f'datalab_degraded_total{{reason="{reason}"}} {count}'

    def _histogram(self, route: str, buckets: list[int]) -> Iterator[str]:
        total = 0
        for bound, count in zip((*_BOUNDS, "+Inf"), buckets, strict=True):
            total += count
            yield f'datalab_request_seconds_bucket{{route="{route}",le="{bound}"}} {total}'
        yield f'datalab_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}'
        yield f'datalab_request_seconds_count{{route="{route}"}} {total}'


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _gauges(gauges: Mapping[str, tuple[str, float]]) -> Iterable[str]:
    for name, (text, value) in gauges.items():
        yield from _family(name, "counter" if name.endswith("_total") else "gauge", text)
        yield f"{name} {value:g}"
