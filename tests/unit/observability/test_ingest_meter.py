"""What ingest did, counted: quantiles, rates, Prometheus' text, and the pages that show it."""

from __future__ import annotations

import re
import socket
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest

from datalab.errors import InvalidSetting
from datalab.events import BatchLanded, Bus, SourceLooked, SourcePaused, SourceResumed
from datalab.ingest.produced import Produced
from datalab.observability.histogram import Histogram
from datalab.observability.ingest_meter import AGE_BOUNDS, IngestMeter, metrics_text
from datalab.observability.pages import served


def landed(read: int = 100, quarantined: int = 1, ages: dict[float, int] | None = None) -> BatchLanded:
    return BatchLanded("s", "bronze.t", read, read - quarantined, quarantined, 0.04, 7, ages or {3.0: read})


def test_quantiles_lie_within_their_bounds() -> None:
    made = Histogram((1.0, 2.0, 5.0))
    assert made.quantile(0.5) is None
    for value in (0.5, 1.5, 1.6, 4.0, 99.0):
        made.add(value)
    assert 1.0 < (made.quantile(0.5) or 0) <= 2.0
    assert made.quantile(0.99) == 5.0
    again = Histogram.from_json((1.0, 2.0, 5.0), made.to_json())
    assert (again.counts, again.sum) == (made.counts, made.sum)
    assert list(again.lines("x", 'a="b"'))[-3:] == [
        'x_bucket{a="b",le="+Inf"} 5',
        'x_sum{a="b"} 106.600',
        'x_count{a="b"} 5',
    ]


def test_ages_of_a_sample_are_those_of_all() -> None:
    now = 1_800_000_000.0
    ages = np.random.default_rng(3).exponential(2.0, 40_000)
    produced, exact = Produced(), Histogram(AGE_BOUNDS)
    for part in np.split(ages, [10, 9_000, 20_000]):
        produced.add(pa.array(((now - part) * 1_000).astype("int64")))
    produced.add(pa.array([-1, -1], pa.int64()))  # a broker that has no time for them
    made = Histogram(AGE_BOUNDS, dict(produced.ages(now)))
    for age in ages:
        exact.add(age)
    assert sum(made.counts.values()) == pytest.approx(40_000, rel=0.001)
    for share in (0.5, 0.99):
        assert made.quantile(share) == pytest.approx(exact.quantile(share), rel=0.15)


def test_a_meter_follows_the_bus() -> None:
    meter, bus = IngestMeter([("s", "bronze.t")]), Bus()
    bus.subscribe(meter)
    (before,) = meter.records()
    assert (before["lag"], before["commits"], before["committed_at"]) == (None, 0, None)
    bus.emit(SourceLooked("s", 200))
    assert meter.records()[0]["lag"] == 200
    bus.emit(landed())
    bus.emit(landed(50, 0))
    bus.emit(SourcePaused("s", "no broker"))
    (found,) = meter.records()
    assert not bus.failures
    assert (found["read"], found["written"], found["quarantined"], found["commits"], found["lag"]) == (
        150,
        149,
        1,
        2,
        7,
    )
    assert found["rate"] > 0
    assert (found["paused"], bool(found["paused_at"])) == ("no broker", True)
    bus.emit(SourceResumed("s", 2.0))
    assert meter.records()[0]["paused"] == ""


def test_the_text_is_prometheus_own() -> None:
    meter = IngestMeter()
    meter(landed())
    meter(SourcePaused("s", "x"))
    text = metrics_text(meter.records())
    sample = re.compile(r'[a-z_]+\{source="s"(,[a-z]+="[^"]+")?\} [0-9.]+')
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in text.splitlines())
    for line in ('datalab_ingest_lag_records{source="s"} 7', 'datalab_ingest_paused{source="s"} 1',
                 'datalab_ingest_records_total{source="s",to="quarantine"} 1',
                 'datalab_ingest_age_seconds_bucket{source="s",le="3"} 100',
                 'datalab_ingest_commit_seconds_count{source="s"} 1'):  # fmt: skip
        assert line in text.splitlines()


def test_pages_on_loopback() -> None:
    with served(0, {"/a": lambda: (200, "yes\n"), "/b": lambda: (503, "no\n")}) as port:
        with urlopen(f"http://127.0.0.1:{port}/a", timeout=5) as answer:
            assert answer.read() == b"yes\n"
        for path, status in (("/b", 503), ("/c", 404)):
            with pytest.raises(HTTPError) as caught:
                urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
            assert caught.value.code == status
            caught.value.close()
        with pytest.raises(InvalidSetting, match="cannot be listened on"), served(port, {}):
            pass
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_who_connects_and_says_nothing_is_let_go() -> None:
    with served(0, {}) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
        began = time.monotonic()
        assert silent.recv(10) == b""
        assert time.monotonic() - began < 15
