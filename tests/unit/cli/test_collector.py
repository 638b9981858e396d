"""How often a command's process searches for circles, and that it ends as it found the collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from datalab.cli.collector import seldom


@pytest.fixture(autouse=True)
def _thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_the_first_search_leaves_what_is_loaded_out_and_the_next_ones_come_as_usual() -> None:
    usual = gc.get_threshold()
    with seldom():
        assert gc.get_threshold()[0] > usual[0]
        gc.collect()
        assert gc.get_threshold() == usual
        assert gc.get_freeze_count() > 0
        gc.set_threshold(1_000)
        gc.collect()
        assert gc.get_threshold()[0] == 1_000
        gc.set_threshold(*usual)


def test_thresholds_that_a_command_sets_before_the_first_search_stay() -> None:
    usual = gc.get_threshold()
    with seldom():
        gc.set_threshold(1_000, 20, 20)
        gc.collect()
        assert gc.get_threshold() == (1_000, 20, 20)
    assert gc.get_threshold() == (1_000, 20, 20)
    gc.set_threshold(*usual)


def test_a_command_that_fails_leaves_the_collector_as_it_was() -> None:
    usual, callbacks = gc.get_threshold(), [*gc.callbacks]
    with pytest.raises(SystemExit), seldom():
        raise SystemExit(3)
    assert gc.get_threshold() == usual
    assert gc.callbacks == callbacks
