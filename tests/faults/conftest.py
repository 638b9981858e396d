"""What several tests of this folder start with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.faults.observed import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """A process that forks one that strace watches for each operation."""
    started = Zygote()
    yield started
    started.close()
