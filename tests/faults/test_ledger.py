"""The checker is checked: every planted defect must be found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.faults.ledger import Finding, Record, compare

LEDGER = [(Record("a.avro", row, f"p{row}", 100 + row), True) for row in range(5)] + [(Record("b.avro", 0), False)]
BRONZE = [record for record, good in LEDGER if good]
QUARANTINE = [{"source_file": "b.avro", "source_row": 0, "records": 1}]


def test_a_sound_lake_has_no_finding():
    assert compare(LEDGER, BRONZE, QUARANTINE) == []


@pytest.mark.parametrize(
    ("bronze", "quarantine", "finding"),
    [
        (BRONZE[:-1], QUARANTINE, Finding("lost", "a.avro", 4)),
        ([*BRONZE, BRONZE[0]], QUARANTINE, Finding("doubled", "a.avro", 0)),
        ([*BRONZE, Record("a.avro", 9)], QUARANTINE, Finding("invented", "a.avro", 9)),
        ([replace(BRONZE[0], sequence=1), *BRONZE[1:]], QUARANTINE, Finding("altered", "a.avro", 0)),
        (BRONZE, [], Finding("lost", "b.avro", -1)),
        (BRONZE, QUARANTINE * 2, Finding("doubled", "b.avro", -1)),
        (
            BRONZE,
            [*QUARANTINE, {"source_file": "a.avro", "source_row": 1, "records": 1}],
            Finding("doubled", "a.avro", -1),
        ),
    ],
    ids=["dropped", "doubled", "invented", "altered", "not set aside", "set aside twice", "in both"],
)
def test_a_planted_defect_is_found(bronze, quarantine, finding):
    assert compare(LEDGER, bronze, quarantine) == [finding]


def test_swapped_and_shifted_records_are_found():
    swapped = [replace(BRONZE[0], row=1), replace(BRONZE[1], row=0), *BRONZE[2:]]
    shifted = [replace(record, row=record.row + 1) for record in BRONZE]
    assert {finding.kind for finding in compare(LEDGER, swapped, QUARANTINE)} == {"altered"}
    assert {finding.kind for finding in compare(LEDGER, shifted, QUARANTINE)} == {"altered", "invented", "lost"}
