"""The documents are complete: every command, setting, error, event and exit code stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.architecture.source import ROOT

from datalab import errors, events
from datalab.cli.app import load_command
from datalab.cli.commands import COMMANDS
from datalab.cli.failures import EXIT_CODES
from datalab.platform.settings_fields import documented

DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
    else:
        for name, part in inner.items():
            yield from leaves(part, f"{path} {name}")


def subclasses(kind: type) -> Iterator[type]:
    for inner in kind.__subclasses__():
        if inner.__module__.startswith("datalab."):
            yield inner
            yield from subclasses(inner)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_and_option_is_documented(entry: Any) -> None:
    text = page("commands.md")
    for path, command in leaves(load_command(entry.name), f"datalab {entry.name}"):
        assert f"### {path}\n" in text
        section = text.split(f"### {path}\n", 1)[1].split("\n#", 1)[0]
        options = [param.opts[-1] for param in command.params if param.param_type_name == "option"]
        own = [name for name in options if name not in {"--env", "--project", "--json", "--quiet", "--debug", "--help"}]
        assert [name for name in own if name not in section] == [], path


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_the_line_in_the_help_is_the_commands_own(entry: Any) -> None:
    help_text = " ".join((load_command(entry.name).help or "").split())
    assert help_text.startswith(entry.summary.rstrip("."))


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    links = [
        (page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_setting_is_documented_with_its_meaning() -> None:
    text = page("configuration.md")
    missing = [item.key for item in documented() if f"`{item.key}`" not in text or item.doc not in text]
    assert missing == []


def test_every_setting_has_a_description() -> None:
    assert [item.key for item in documented() if not item.doc.endswith(".")] == []


def test_every_error_is_documented() -> None:
    text = page("errors.md")
    kinds = [kind for kind in subclasses(errors.DataLabError) if kind.__module__ == "datalab.errors"]
    assert [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in text] == []


def test_every_event_is_documented() -> None:
    text = page("events.md")
    assert [kind.__name__ for kind in subclasses(events.Event) if f"`{kind.__name__}`" not in text] == []


def test_every_exit_code_is_documented() -> None:
    text = page("commands.md")
    assert [kind.__name__ for kind, code, _ in EXIT_CODES if f"| {code} |" not in text] == []


def test_every_error_class_has_an_exit_code_on_purpose() -> None:
    mapped = tuple(kind for kind, _, _ in EXIT_CODES)
    assert [kind.__name__ for kind in subclasses(errors.DataLabError) if not issubclass(kind, mapped)] == []
