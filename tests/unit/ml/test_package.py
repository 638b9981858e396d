"""A package is taken whole and unchanged, or refused by name."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests import packages

from datalab.errors import ModelRefused
from datalab.ml.manifest import canonical
from datalab.ml.package import read_package, signing_key, write_package

KEY = b"k" * 32


def test_what_was_written_is_read(tmp_path: Path) -> None:
    package = packages.make_package(tmp_path / "credito" / "3", KEY, version=3)
    again = read_package(package.folder, KEY)
    assert again == package
    assert (again.name, again.version) == ("credito", 3)
    assert [path.name for path in package.folder.parent.iterdir()] == ["3"]


def test_the_known_model_answers_as_it_should(tmp_path: Path) -> None:
    package = packages.make_package(tmp_path / "m", KEY)
    session = onnxruntime.InferenceSession(package.model)
    answers = session.run(["probability"], packages.feeds(packages.PROBE))[0].ravel()
    assert np.allclose(answers, package.manifest["probe"]["probabilities"], atol=1e-6)


def _change_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["thresholds"]["approve_below"] = 0.4
    path.write_bytes(canonical(manifest))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "manifest changed": (_change_manifest, "signature"),
    "signature changed": (lambda folder: (folder / "manifest.sig").write_text("0" * 64), "signature"),
    "signature gone": (lambda folder: (folder / "manifest.sig").unlink(), "cannot be read"),
    "model gone": (lambda folder: (folder / "model.onnx").unlink(), "cannot be read"),
    "model cut": (lambda folder: (folder / "model.onnx").write_bytes(b"\x08"), "not the file"),
    "signature huge": (lambda folder: (folder / "manifest.sig").write_bytes(b"0" * 2000), "larger"),
    "bit flipped": (
        lambda folder: (folder / "model.onnx").write_bytes(
            bytes([(data := (folder / "model.onnx").read_bytes())[0] ^ 1]) + data[1:]
        ),
        "not the file",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused(tmp_path: Path, damage: str) -> None:
    package = packages.make_package(tmp_path / "m", KEY)
    harm, words = DAMAGE[damage]
    harm(package.folder)
    with pytest.raises(ModelRefused, match=words):
        read_package(package.folder, KEY)


def test_another_projects_model_is_refused(tmp_path: Path) -> None:
    package = packages.make_package(tmp_path / "m", KEY)
    with pytest.raises(ModelRefused, match="signature"):
        read_package(package.folder, b"x" * 32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"thresholds": {"approve_below": 0.6, "deny_from": 0.5}}, "thresholds"),
        ({"thresholds": {"approve_below": 0.6}}, "thresholds"),
        ({"probe": {"rows": [], "probabilities": [], "tolerance": 1e-5}}, "probe"),
        ({"probe": {"rows": [[1]], "probabilities": [0.5], "tolerance": 1e-5}}, "one value for each input"),
        ({"probe": {"rows": packages.PROBE, "probabilities": [2, 0, 0], "tolerance": 1e-5}}, "no probability"),
        ({"inputs": []}, "no inputs"),
        ({"inputs": [{"name": "a", "kind": "blob", "from": {"request": "uf"}}]}, "kind"),
        ({"inputs": [{"name": "a", "kind": "number", "from": {"view": "x", "feature": "y"}}]}, "not listed"),
        ({"request": {"fields": []}}, "not listed"),
        ({"version": "three"}, "version"),
    ],
)
def test_an_unsound_manifest_is_not_written(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ModelRefused, match=words):
        write_package(tmp_path / "m", b"onnx", {**packages.manifest(), **changes}, KEY)
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = signing_key(tmp_path, create=True)
    path = tmp_path / "keys" / "signing.key"
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing_key(tmp_path, create=True) == signing_key(tmp_path) == key
    assert [found.name for found in path.parent.iterdir()] == ["signing.key"]


def test_a_bad_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="cannot be read"):
        signing_key(tmp_path)
    signing_key(tmp_path, create=True)
    path = tmp_path / "keys" / "signing.key"
    path.chmod(0o644)
    with pytest.raises(ModelRefused, match="by others"):
        signing_key(tmp_path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ModelRefused, match="5 bytes"):
        signing_key(tmp_path)
