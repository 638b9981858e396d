"""Messages from the client's objects to Arrow: what the collector does meanwhile."""

from __future__ import annotations

import gc

import pytest

from datalab.ingest.sources.kafka_topic import unsearched


def test_no_search_for_circles_while_messages_are_made() -> None:
    with unsearched():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"), unsearched():
        raise ValueError("broken")
    assert gc.isenabled()


def test_who_wants_no_search_at_all_keeps_it_so() -> None:
    gc.disable()
    try:
        with unsearched():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
