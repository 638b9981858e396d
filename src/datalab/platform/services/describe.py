"""What is known of a server: a YAML file in `stack/`, read and checked, and its words filled in for one project."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from datalab.errors import ConfigError
from datalab.platform.project import shipped

_WORD = re.compile(r"@([a-z_]+(?:\.[a-z_]+)?)@")
_KNOWN = frozenset({
    "title", "memory", "programs", "java", "maven", "ports", "secrets", "files", "prepare", "run", "environment",
    "health", "addresses", "start_seconds", "stop_seconds",
})  # fmt: skip


@dataclass(frozen=True)
class Maven:
    """What comes from a Maven repository: jars with all they need at run time, archives that are unpacked."""

    jars: tuple[str, ...] = ()
    archives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepare:
    """A command that runs before the first start, unless the file `unless` is in the service's folder."""

    unless: str
    run: tuple[str, ...]


@dataclass(frozen=True)
class Service:
    """A server as its file describes it. Words such as @state@, @files@, @port.broker@ stand for values of a project.

    `programs` names the Debian package that brings each program; `java` is the lowest version of Java, 0 for none.
    """

    name: str
    title: str
    run: tuple[str, ...]
    memory: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)
    java: int = 0
    maven: Maven = Maven()
    ports: Mapping[str, int] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    health: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)
    start_seconds: int = 60
    stop_seconds: int = 20


def known_services() -> dict[str, Service]:
    """All servers that can be run, by name."""
    return {path.stem: read_service(path) for path in sorted(shipped("stack").glob("*.yaml"))}


def find_service(name: str) -> Service:
    """The server of that name; ConfigError with the nearest ones."""
    known = known_services()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise ConfigError(f"no service '{name}'", f"did you mean {near[0]}?" if near else "datalab services list")
    return known[name]


def read_service(path: Path) -> Service:
    """A description; ConfigError for keys that mean nothing."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    unknown = sorted(set(found) - _KNOWN)
    if unknown:
        raise ConfigError(f"{path.name}: '{unknown[0]}' means nothing here", f"known: {', '.join(sorted(_KNOWN))}")
    prepare = found.pop("prepare", None)
    maven = found.pop("maven", {})
    return Service(
        name=path.stem,
        run=tuple(found.pop("run")),
        prepare=Prepare(prepare["unless"], tuple(prepare["run"])) if prepare else None,
        maven=Maven(tuple(maven.get("jars", ())), tuple(maven.get("archives", ()))),
        **found,
    )


def filled(text: str, words: Mapping[str, str]) -> str:
    """The text with every @word@ replaced; ConfigError for one that has no value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in words:
            raise ConfigError(f"@{match[1]}@ has no value in a service's description", "correct its file in stack/")
        return words[match[1]]

    return _WORD.sub(value, text)
