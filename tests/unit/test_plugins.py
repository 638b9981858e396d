"""Adapters by name: built in, installed beside, or missing with a word on how to get them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from datalab.errors import MissingExtra, NotSupported
from datalab.plugins import Adapter, adapter, load

BUILTIN = {
    "text": Adapter("json:dumps"),
    "gone": Adapter("no_such_library_anywhere:Format", "delta"),
    "broken": Adapter("datalab.no_such_module:Format", "delta"),
}


def test_an_adapter_is_loaded_when_it_is_asked_for() -> None:
    assert adapter("format", "text", BUILTIN)({"a": 1}) == '{"a": 1}'


def test_a_missing_library_names_adapter_extra_and_command() -> None:
    with pytest.raises(MissingExtra) as raised:
        adapter("format", "gone", BUILTIN)
    assert raised.value.message == "format 'gone' needs the optional dependencies 'delta'"
    assert raised.value.hint == "pip install 'datalab[delta]'"


def test_our_own_missing_module_is_a_defect_and_not_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError):
        adapter("format", "broken", BUILTIN)


def test_an_unknown_adapter_lists_the_known_ones() -> None:
    with pytest.raises(NotSupported, match="does not support the format 'hudi'") as raised:
        adapter("format", "hudi", BUILTIN)
    assert "broken, gone, text" in raised.value.hint


def test_another_package_may_bring_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints([EntryPoint("hudi", "json:loads", "datalab.format")])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: points.select(group=group))
    assert adapter("format", "hudi", BUILTIN)("[1]") == [1]


def test_load_imports_the_named_object() -> None:
    assert load("datalab.errors:NotSupported") is NotSupported
