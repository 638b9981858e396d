"""Manifests never change: what was read once is not read again, by reads nor by commits."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.manifest import ManifestFile
from tests.contracts.formats_files import PEDIDOS, SCHEMA, change, ids, pedidos, write

from datalab.lake.lake import open_lake
from datalab.lake.table import TableSpec


def test_a_commit_that_takes_files_away_reads_no_manifest_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = open_lake("iceberg", str(tmp_path))
    lake.define(PEDIDOS, TableSpec(SCHEMA))
    for number in (1, 2, 3):
        state = lake.require(PEDIDOS)
        lake.commit(state, change(write(state, pedidos(number, number))))
    state = lake.require(PEDIDOS)
    first, *_ = lake.files(state).files
    read: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def noting(manifest, io, discard_deleted=True):
        read.append(manifest.manifest_path)
        return fetch(manifest, io, discard_deleted)

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", noting)
    after = lake.commit(state, change(write(state, pedidos(4, 4)), remove=(first,)))
    assert read == []
    left = {file.path for file in lake.files(after).files}
    assert len(left) == 3
    assert first.path not in left
    assert len(read) == len(set(read))
    assert len(ids(open_lake("iceberg", str(tmp_path)).files(after))) == 3
