"""The README's console is what a reader gets who types it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
CHANGING = re.compile(
    r"\d{8}T\d{6}-\w{6}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00| +[\d.]+(?=  (1 of 1|first run))"
)


def typed() -> Iterator[tuple[list[str], str]]:
    """Each command of the console blocks with what it prints."""
    for block in re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, printed = part.partition("\n")
            yield shlex.split(command), printed


def test_the_console_of_the_readme(datalab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: None) -> None:
    monkeypatch.chdir(tmp_path)
    commands = list(typed())
    assert len(commands) > 5
    for (name, *args), printed in commands:
        if name == "cd":
            monkeypatch.chdir(Path(os.curdir, *args))
            continue
        answer = datalab(*args)
        assert answer.code == 0, answer.err
        if args[0] != "init":
            assert CHANGING.sub("…", answer.out) == CHANGING.sub("…", printed)
