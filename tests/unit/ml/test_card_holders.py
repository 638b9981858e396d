"""Real data: 30,000 card holders in Taiwan, 2005, and who defaulted (UCI, Yeh and Lien 2009). Not kept here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest

from datalab.ml.declaring import parse_model
from datalab.ml.training import TOLERANCE, train

CARDS = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "uci_credit_card.csv"
"""Beside the repository, where its copy is a shared folder's."""


@pytest.mark.skipif(not CARDS.exists(), reason="needs ../shared/data/uci_credit_card.csv")
def test_real_card_holders() -> None:
    """The data have no time; their order stands for it, so that split and holdout are as with any other model."""
    cards = pa.csv.read_csv(CARDS)
    label = next(name for name in cards.column_names if "DEFAULT" in name)
    numbers = [name for name in cards.column_names if name not in {"USER_ID", label}]
    lower = {name: name.lower() for name in numbers}
    start = datetime(2005, 10, 1, tzinfo=UTC)
    moments = pa.array([start + timedelta(seconds=row) for row in range(cards.num_rows)], pa.timestamp("us", tz="UTC"))
    table = pa.table(
        {
            **{lower[name]: cards.column(name) for name in numbers},
            "momento": moments,
            "inadimplente": cards.column(label).cast(pa.bool_()),
            "sexo": cards.column("SEX").cast(pa.string()),
        }
    )
    fields = "\n".join(f"  {name}: {{type: number}}" for name in lower.values())
    inputs = "\n".join(f"  {name}: {{}}" for name in lower.values() if name != "sex")
    model = parse_model(
        "training_set: cartoes\nlabel: inadimplente\nmoment: momento\nseed: 1\ngroups: [sexo]\n"
        "estimator: sklearn.ensemble.RandomForestClassifier\n"
        "params: {n_estimators: 80, min_samples_leaf: 20, max_features: 0.3, max_samples: 0.5}\n"
        f"thresholds: {{approve_below: 0.15, deny_from: 0.35}}\nrequest:\n{fields}\ninputs:\n{inputs}\n",
        "models/cartoes.yaml",
    )
    found = train(model, table, "cartoes@1")
    assert found.evaluation.figures["auc"] >= 0.76
    assert found.evaluation.figures["calibration_error"] < 0.03
    assert found.largest_difference <= TOLERANCE
