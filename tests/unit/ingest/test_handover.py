"""What is handed over to a worker arrives whole, and what lies in shared memory leaves the worker's with its user."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from datalab.ingest.handover import Shared, unpack

MEBI = 1 << 20
SIZES = [100, 5_000, 3 * MEBI, 4_096, 7_777, MEBI, 2 * MEBI, 9_999]


def mapped() -> int:
    """Bytes of shared memory that this process sees."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    borders = (line.split()[0].split("-") for line in lines if "memfd:datalab" in line)
    return sum(int(end, 16) - int(start, 16) for start, end in borders)


def arrays() -> list[np.ndarray]:
    return [np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8) for size in SIZES]


def test_buffers_of_all_sizes_arrive() -> None:
    shared = Shared()
    for value in (arrays(), [], arrays()[::-1]):
        found = unpack(shared.descriptor, shared.pack(value))
        assert [each.tobytes() for each in found] == [each.tobytes() for each in value]
    shared.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
def test_a_large_buffer_leaves_the_memory_with_its_user() -> None:
    shared, value = Shared(), arrays()
    found = unpack(shared.descriptor, shared.pack(value))
    before = mapped()
    found[2] = value[2]
    assert before - mapped() >= 3 * MEBI
    assert [each.tobytes() for each in found] == [each.tobytes() for each in value]
    shared.close()
