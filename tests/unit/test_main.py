"""What the entry point does before it loads anything."""

from __future__ import annotations

import os

import pytest

from datalab.__main__ import main


@pytest.mark.parametrize(("given", "found"), [(None, "4"), ("12", "12")])
def test_threads_of_numpy_sleep_where_nothing_else_is_said(
    monkeypatch: pytest.MonkeyPatch, given: str | None, found: str
) -> None:
    name = "OPENBLAS_THREAD_TIMEOUT"
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    monkeypatch.setattr("datalab.cli.app.main", lambda: None)
    main()
    assert os.environ[name] == found
