"""What stands in the pictures is data, whatever signs it is written with."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from datalab.ml.declaration import Thresholds
from datalab.ml.drift import compare
from datalab.ml.evaluation import evaluate
from datalab.ml.pictures import draw_drift, draw_evaluation

LEVELS = np.array(["R$_5 a R$^9", "日本橋", "$\\frac{$", "ação"], dtype=object)
PNG = b"\x89PNG\r\n\x1a\n"


def test_levels_and_groups_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    levels, chance = random.choice(LEVELS, 800), random.random(800)
    happened = random.random(800) < chance
    limits = Thresholds(0.1, 0.4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged = evaluate(chance, happened, limits, {"faixa": levels}, 1)
        one = draw_evaluation(tmp_path / "evaluation.png", judged, chance, happened, limits)
        other = draw_drift(tmp_path / "drift.png", compare({"faixa": levels}, {"faixa": levels[:200]}, 0.01, 0.1), 0.1)
    assert [path.read_bytes()[:8] for path in (one, other)] == [PNG, PNG]
