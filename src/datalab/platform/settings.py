"""The configuration of a project: defaults, datalab.yaml, an environment's overlay, variables, explicit values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from datalab.errors import InvalidSetting, UnknownSetting
from datalab.platform.project import PROJECT_FILE
from datalab.platform.secrets import is_plain_credential, masked
from datalab.platform.settings_build import Builder, refuse_unknown_keys
from datalab.platform.settings_fields import documented
from datalab.platform.settings_layers import (
    Branch,
    Leaf,
    from_value,
    merge,
    read_file,
    read_variables,
    relabelled,
)
from datalab.platform.settings_schema import Settings

ENVIRONMENT_VARIABLE = "DATALAB_ENV"


@dataclass(frozen=True)
class Configuration:
    """The settings of a project in one environment, and where each of them came from, by dotted key."""

    folder: Path
    environment: str | None
    settings: Settings
    origins: Mapping[str, str] = field(repr=False)


def load(
    folder: Path,
    environment: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Configuration:
    """Read a project's configuration.

    Later layers win: defaults, datalab.yaml, the overlay of `environment` (or of DATALAB_ENV in `environ`),
    DATALAB__SECTION__KEY in `environ`, `overrides` (nested like the file). ConfigError and its kinds.
    """
    variables = {} if environ is None else environ
    name = variables.get(ENVIRONMENT_VARIABLE) if environment is None else environment
    base, overlays = _split(read_file(folder / PROJECT_FILE))
    layers = [base, _overlay(overlays, name), read_variables(variables), _given(overrides)]
    tree = Branch({}, PROJECT_FILE)
    for layer in (*layers, *overlays.values()):
        refuse_unknown_keys(Settings, layer)
    for layer in layers:
        tree = merge(tree, layer)
    builder = Builder(folder)
    return Configuration(folder, name or None, builder.build(Settings, tree), builder.origins)


def flattened(configuration: Configuration) -> dict[str, Any]:
    """Every setting as it may be shown, by dotted key, in the order of the file; credentials are masked."""
    return {key: masked(key, _at(configuration.settings, key)) for key in configuration.origins}


def described(key: str) -> str:
    """What a setting means, by the dotted key that it has in a project."""
    for setting in documented():
        if re.fullmatch(re.escape(setting.key).replace("<name>", "[^.]+").replace("<key>", ".+"), key):
            return setting.doc
    return ""


def plain_credentials(configuration: Configuration) -> tuple[str, ...]:
    """Keys that hold a credential as text where a secret reference belongs."""
    settings, origins = configuration.settings, configuration.origins
    return tuple(key for key in origins if is_plain_credential(key, _at(settings, key)))


def _split(tree: Branch) -> tuple[Branch, dict[str, Branch]]:
    """The file without its overlays, and the overlays by name."""
    items = dict(tree.items)
    found = items.get("environments", Leaf(None, tree.origin))
    if isinstance(found, Leaf) and found.value is not None:
        raise InvalidSetting(f"environments is not a mapping ({found.origin})", "write environments: {stack: {…}}")
    overlays = found.items if isinstance(found, Branch) else {}
    items["environments"] = Leaf(list(overlays), found.origin)
    return Branch(items, tree.origin), {name: _labelled(name, overlay) for name, overlay in overlays.items()}


def _labelled(name: str, overlay: Branch | Leaf) -> Branch:
    tree = relabelled(overlay, lambda origin: f"environments.{name} ({origin})")
    if isinstance(tree, Branch) and "environments" in tree.items:
        raise InvalidSetting(f"environments.{name} holds environments ({overlay.origin})", "overlays do not nest")
    if isinstance(tree, Branch):
        return tree
    if tree.value is not None:
        raise InvalidSetting(f"environments.{name} is not a mapping of settings ({overlay.origin})", "write {}")
    return Branch({}, tree.origin)


def _overlay(overlays: Mapping[str, Branch], name: str | None) -> Branch:
    if not name:
        return Branch({}, "default")
    if name not in overlays:
        near = get_close_matches(name, overlays, n=1)
        known = ", ".join(overlays) if overlays else "none"
        hint = f"did you mean '{near[0]}'?" if near else f"environments in {PROJECT_FILE}: {known}"
        raise UnknownSetting(f"no environment '{name}' in {PROJECT_FILE}", hint)
    return overlays[name]


def _given(overrides: Mapping[str, Any] | None) -> Branch:
    tree = from_value({} if overrides is None else overrides, "override")
    assert isinstance(tree, Branch)
    return tree


def _at(value: Any, key: str) -> Any:
    """The value under a dotted key; keys of open mappings may hold dots themselves."""
    while key:
        if isinstance(value, Mapping):
            name = max((name for name in value if f"{key}.".startswith(f"{name}.")), key=len)
        else:
            name = key.partition(".")[0]
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
        key = key[len(name) + 1 :]
    return value
