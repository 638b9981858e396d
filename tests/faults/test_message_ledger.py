"""The checker of messages is checked: every planted defect must be found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from tests.faults.message_ledger import Finding, Messages, compare, gaps

KEYS = 3
ROWS = [(number % KEYS % 2, number, number) for number in range(12)]
BAD = np.array([4, 9])
GOOD = [row for row in ROWS if row[2] not in BAD]
ASIDE = [row for row in ROWS if row[2] in BAD]


def found(good, bad=ASIDE, ledger=ROWS):
    return compare(Messages.of(ledger), Messages.of(good), Messages.of(bad), BAD, KEYS)


def test_a_sound_lake_has_no_finding():
    assert found(GOOD) == []
    assert found(GOOD[::-1]) == []
    assert found([], [], []) == []


def moved(row, partition=0, offset=0):
    return (row[0] + partition, row[1] + offset, row[2])


@pytest.mark.parametrize(
    ("good", "bad", "kinds"),
    [
        (GOOD[1:], ASIDE, {"lost": 1}),
        (GOOD[:-1], ASIDE, {"lost": 1}),
        (GOOD, ASIDE[1:], {"lost": 1}),
        ([], [], {"lost": 12}),
        ([*GOOD, GOOD[0]], ASIDE, {"doubled": 1, "disordered": 1}),
        (GOOD, ASIDE * 2, {"doubled": 2, "disordered": 2}),
        ([*GOOD, ASIDE[0]], ASIDE, {"doubled": 1, "misjudged": 1, "disordered": 1}),
        ([*GOOD, ASIDE[0]], ASIDE[1:], {"misjudged": 1}),
        (GOOD[1:], [*ASIDE, GOOD[0]], {"misjudged": 1}),
        ([*GOOD, (0, 900, 900)], ASIDE, {"invented": 1}),
        ([*GOOD[:-1], moved(GOOD[-1], offset=1)], ASIDE, {"lost": 1, "invented": 1}),
        ([*GOOD[:-1], moved(GOOD[-1], partition=1)], ASIDE, {"lost": 1, "invented": 1}),
        ([(*GOOD[0][:2], GOOD[3][2]), *GOOD[1:3], (*GOOD[3][:2], GOOD[0][2]), *GOOD[4:]], ASIDE,
         {"altered": 2, "disordered": 1}),
        ([(*GOOD[0][:2], GOOD[1][2]), (*GOOD[1][:2], GOOD[0][2]), *GOOD[2:]], ASIDE,
         {"altered": 2, "disordered": 1}),
    ],
    ids=["first lost", "last lost", "not set aside", "nothing there", "doubled", "set aside twice", "in both",
         "bad one accepted", "good one refused", "invented", "off by one", "other partition", "swapped within a key",
         "swapped between keys"],
)  # fmt: skip
def test_a_planted_defect_is_found(good, bad, kinds):
    assert {each.kind: each.count for each in found(good, bad)} == kinds


def test_all_offsets_off_by_one_are_found():
    shifted = [moved(row, offset=1) for row in ROWS]
    assert {each.kind for each in found(shifted, [])} >= {"lost", "invented"}


def test_a_broker_that_changed_the_order_of_a_key_is_found():
    one, two = ROWS[0], ROWS[3]
    swapped = [(*two[:2], one[2]), *ROWS[1:3], (*one[:2], two[2]), *ROWS[4:]]
    assert found([row for row in swapped if row[2] not in BAD], ASIDE, swapped) == [Finding("disordered", 1)]


def test_commits_that_do_not_join_are_found():
    assert gaps([{"0": [0, 5], "1": [0, 2]}, {"0": [5, 9]}, {"1": [2, 2]}, {"1": [2, 3], "0": [9, 10]}]) == []
    assert gaps([{"0": [0, 5]}, {"0": [4, 9]}]) == ["0: 5 → 4"]
    assert gaps([{"0": [0, 5]}, {"0": [6, 9]}]) == ["0: 5 → 6"]
    assert gaps([{"0": [1, 5]}]) == ["0: 0 → 1"]
