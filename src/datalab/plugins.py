"""Adapters and commands by name: loaded from where they are declared, only when they are used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datalab.errors import MissingExtra, NotSupported


@dataclass(frozen=True)
class Adapter:
    """Where an adapter is defined, as `module:attribute`, and the extra that brings its dependencies."""

    target: str
    extra: str = ""


def load(target: str) -> Any:
    """The object at `module:attribute`; the module is imported now."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class _Deferred:
    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


def deferred(module: str) -> Any:
    """A module that is imported once something in it is asked for: of libraries and parts that a command may not need.

    For type checkers the same name is imported beside it, under TYPE_CHECKING.
    """
    return _Deferred(module)


def adapter(port: str, name: str, builtin: Mapping[str, Adapter]) -> Any:
    """The adapter called `name` of a port: one of `builtin`, or of an installed package's entry point.

    Entry points stand in the group `datalab.<port>`. NotSupported where there is none of that name, MissingExtra
    where its dependencies are not installed.
    """
    known = builtin[name] if name in builtin else _installed(port, name, builtin)
    try:
        return load(known.target)
    except ModuleNotFoundError as error:
        if not known.extra or (error.name or "").startswith("datalab"):
            raise
        raise MissingExtra(f"{port} '{name}'", known.extra) from error


def _installed(port: str, name: str, builtin: Mapping[str, Adapter]) -> Adapter:
    entry_points = load("importlib.metadata:entry_points")  # slow to load, and seldom asked
    found = {point.name: point for point in entry_points(group=f"datalab.{port}")}
    if name not in found:
        known = ", ".join(sorted({*builtin, *found}))
        raise NotSupported("this installation", f"the {port} '{name}'", f"known here: {known}")
    return Adapter(found[name].value)
