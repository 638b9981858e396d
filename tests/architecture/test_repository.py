"""What is kept in the repository: text only, without traces of the machines it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.architecture.source import ROOT

TEXT = {
    "", ".avsc", ".c", ".cfg", ".csv", ".ini", ".json", ".jsonl", ".lock", ".md", ".py", ".sh", ".sql", ".toml", ".txt",
    ".typed", ".yaml", ".yml",
}  # fmt: skip
MACHINE = re.compile(r"(?<![\w.$}])/(?:home|root|work|Users|tmp)/\w|pypi\.org|pythonhosted\.org|artifactory|jfrog\.io")


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_only_text_is_kept(tracked: list[Path]) -> None:
    odd = [str(path.relative_to(ROOT)) for path in tracked if path.suffix not in TEXT or b"\0" in path.read_bytes()]
    assert odd == []


def test_no_file_is_large(tracked: list[Path]) -> None:
    large = [path.name for path in tracked if path.stat().st_size > 200_000 and path.name != "constraints.txt"]
    assert large == []


def test_no_file_names_a_machine_or_a_registry(tracked: list[Path]) -> None:
    own = Path(__file__).resolve()
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in tracked
        if path != own and (match := MACHINE.search(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_constraints_pin_everything_with_hashes_and_name_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert [block.split()[0] for block in blocks if "==" not in block or "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "index" not in text


def test_the_makefile_stays_short() -> None:
    assert len((ROOT / "Makefile").read_text(encoding="utf-8").splitlines()) < 80
