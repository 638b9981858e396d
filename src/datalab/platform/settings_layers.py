"""Layers of settings as trees whose every leaf knows where it came from: a file and line, an overlay, a variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from datalab.errors import ConfigError, InvalidSetting

VARIABLE_PREFIX = "DATALAB__"


@dataclass(frozen=True)
class Leaf:
    """A value that is no mapping; `text` is how it was typed, for variables, where everything is text at first."""

    value: Any
    origin: str
    text: str | None = None


@dataclass(frozen=True)
class Branch:
    """A mapping of settings."""

    items: Mapping[str, Tree]
    origin: str


Tree = Leaf | Branch


def read_file(path: Path) -> Branch:
    """The tree of a YAML file; ConfigError names line and column of what is wrong."""
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        return Branch({}, path.name) if node is None else _root(node, loader, path.name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path.name}:{mark.line + 1}:{mark.column + 1}" if mark else path.name
        raise ConfigError(f"{place}: {error.problem}", "correct the YAML there") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path.name} cannot be read: {error}", "it must be a YAML file in UTF-8") from error


def read_variables(environ: Mapping[str, str]) -> Branch:
    """The tree of all DATALAB__SECTION__KEY variables; their values are YAML."""
    tree = Branch({}, "variables")
    for variable in sorted(name for name in environ if name.startswith(VARIABLE_PREFIX)):
        origin = f"variable {variable}"
        keys = variable.removeprefix(VARIABLE_PREFIX).lower().split("__")
        try:
            value = yaml.safe_load(environ[variable])
        except yaml.YAMLError as error:
            raise InvalidSetting(f"the value of {variable} is not YAML", "put text in quotes") from error
        tree = merge(tree, _nested(keys, from_value(value, origin, environ[variable]), origin))
    return tree


def from_value(value: Any, origin: str, text: str | None = None) -> Tree:
    """A tree of plain Python values, all of one origin."""
    if isinstance(value, Mapping):
        return Branch({str(key): from_value(part, origin) for key, part in value.items()}, origin)
    return Leaf(value, origin, text)


def merge(lower: Branch, upper: Branch) -> Branch:
    """`upper` over `lower`, key by key. Lists are replaced whole; an empty section changes nothing."""
    items = dict(lower.items)
    for key, tree in upper.items.items():
        below = items.get(key)
        if isinstance(below, Branch) and isinstance(tree, Branch):
            items[key] = merge(below, tree)
        elif not (isinstance(below, Branch) and isinstance(tree, Leaf) and tree.value is None):
            items[key] = tree
    return Branch(items, upper.origin if upper.items else lower.origin)


def relabelled(tree: Tree, label: Callable[[str], str]) -> Tree:
    """The same tree with other words for its origins."""
    if isinstance(tree, Leaf):
        return Leaf(tree.value, label(tree.origin), tree.text)
    return Branch({key: relabelled(part, label) for key, part in tree.items.items()}, label(tree.origin))


def _root(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Branch:
    tree = _from_node(node, loader, file)
    if not isinstance(tree, Branch):
        raise ConfigError(f"{file} is not a mapping of settings", "start it with: name: my_project")
    return tree


def _from_node(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Tree:
    origin = f"{file}:{node.start_mark.line + 1}"
    _refuse_duplicates(node, file)
    if not isinstance(node, yaml.MappingNode):
        return Leaf(loader.construct_object(node, deep=True), origin)
    return Branch({str(key.value): _from_node(value, loader, file) for key, value in node.value}, origin)


def _refuse_duplicates(node: yaml.Node, file: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            _refuse_duplicates(part, file)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise InvalidSetting(f"{file}:{line}: a key must be text", "write key: value")
        if key.value in lines:
            before = lines[key.value]
            raise InvalidSetting(f"{file}:{line}: '{key.value}' stands in line {before} already", "keep one of them")
        lines[key.value] = line
        if isinstance(value, yaml.SequenceNode):
            _refuse_duplicates(value, file)


def _nested(keys: list[str], tree: Tree, origin: str) -> Branch:
    key, *rest = keys
    return Branch({key: _nested(rest, tree, origin) if rest else tree}, origin)
