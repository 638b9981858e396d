"""Features at a moment are the gold query's over the rows that had happened before it: shown by brute force."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from tests.unit.features.gold import BY_CLIENT, BY_SHOP, SILVER, asked_of, definition, gold, moment, past, silver

from datalab.engine.base import Engine
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import FeatureError
from datalab.features import derivation
from datalab.features.derivation import Definition
from datalab.features.past import view_at

PROPERTY = settings(
    max_examples=6, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.reuse, Phase.generate]
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["ana", "bia", None]),
        st.sampled_from([1, 2]),
        st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.1, 0.2, 1e12]),
        st.sampled_from([None, 0, 1, 7]),
        st.sampled_from(["café", "soja", None]),
        st.sampled_from([True, False, None]),
        st.integers(0, 1500),
        st.integers(0, 1500),
    ),
    max_size=30,
)
ASKED = st.lists(
    st.tuples(st.sampled_from(["ana", "bia", None, "zoe"]), st.integers(0, 1500)), min_size=1, max_size=4, unique=True
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = DuckDBEngine(memory_limit="1GB", threads=2, temp_directory=tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def close(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, float):
        return math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-4) or (math.isnan(found) and math.isnan(wanted))
    return bool(found == wanted)


def same(found: dict[str, Any] | None, wanted: dict[str, Any] | None) -> bool:
    if found is None or wanted is None:
        return found is wanted
    return found.keys() == wanted.keys() and all(close(found[name], wanted[name]) for name in wanted)


def before(rows: pa.Table, when: datetime, arrived: str = "") -> pa.Table:
    kept = pc.less(rows.column("quando"), pa.scalar(when, pa.timestamp("us", "UTC")))
    if arrived:
        kept = pc.and_(kept, pc.less(rows.column(arrived), pa.scalar(when, pa.timestamp("us", "UTC"))))
    return rows.filter(kept)


def start_of(accuracy: str, when: datetime) -> datetime:
    day = when.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = {"event": when, "day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}
    return starts[accuracy]


@pytest.mark.parametrize("accuracy", ["event", "day", "week", "month"])
@given(rows=ROWS, asked=ASKED)
@PROPERTY
def test_by_brute_force(engine: Engine, accuracy: str, rows: list[Any], asked: list[tuple[Any, int]]) -> None:
    wanted, table = definition(accuracy=accuracy), silver(rows)
    moments = list(dict.fromkeys((who, start_of(accuracy, moment(hour))) for who, hour in asked))
    found = asked_of(engine, table, wanted, moments)
    for (who, when), features in zip(moments, found, strict=True):
        truth = gold(engine, before(table, when), wanted).get((who,))
        assert same(features, truth), (who, when, features, truth)


# A huge value that comes later must not take digits from the spread of earlier ones.
LATER = [("ana", 1, 3.5, 1, "soja", True, 100, 100), ("ana", 1, 0.2, 1, "soja", True, 200, 100)]
LATER += [("ana", 1, None, 1, "soja", True, 50, 50), ("ana", 1, 1e12, 1, "soja", True, 90, 900)]


@example(rows=LATER, asked=[("ana", 250), ("ana", 950)])
@given(rows=ROWS, asked=ASKED)
@PROPERTY
def test_what_arrived_later_does_not_count(engine: Engine, rows: list[Any], asked: list[tuple[Any, int]]) -> None:
    wanted, table = definition(arrived="chegou"), silver(rows)
    moments = [(who, moment(hour)) for who, hour in asked]
    for (who, when), features in zip(moments, asked_of(engine, table, wanted, moments), strict=True):
        assert same(features, gold(engine, before(table, when, "chegou"), wanted).get((who,)))


@given(rows=ROWS, hours=st.lists(st.integers(0, 1500), min_size=1, max_size=3, unique=True))
@PROPERTY
def test_two_keys_with_row_wise_parts_above_and_having(engine: Engine, rows: list[Any], hours: list[int]) -> None:
    wanted, table = (
        definition(BY_SHOP.replace("upper(produto) AS artigo", "produto"), ("loja", "produto")),
        silver(rows),
    )
    moments = [(shop, product, moment(hour)) for hour in hours for shop in (1, 2) for product in ("café", None)]
    for (*entity, when), features in zip(moments, asked_of(engine, table, wanted, moments), strict=True):
        assert same(features, gold(engine, before(table, when), wanted).get(tuple(entity)))


@given(rows=ROWS, order=st.randoms(use_true_random=False))
@PROPERTY
def test_the_order_of_rows_changes_no_bit(engine: Engine, rows: list[Any], order: Any) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)
    asked = [("ana", moment(1500)), ("bia", moment(700))]
    one, other = (asked_of(engine, silver(part), definition(), asked) for part in (rows, shuffled))
    assert repr(one) == repr(other)


def test_values_that_are_not_finite_stay_so(engine: Engine) -> None:
    rows = silver([("ana", 1, value, 1, "a", True, 1, 1) for value in (1.0, math.inf, 2.0)]
                  + [("bia", 1, math.nan, 1, "a", True, 1, 1), ("zoe", 1, 0.1, 1, "a", True, 1, 1)])  # fmt: skip
    query = "SELECT cliente, sum(valor) AS total, avg(valor) AS media, max(quando) AS visto_em FROM silver.pedidos"
    asked = [(who, moment(9)) for who in ("ana", "bia", "zoe")]
    ana, bia, zoe = asked_of(engine, rows, definition(f"{query} GROUP BY cliente"), asked)
    assert repr(asked_of(engine, rows, definition(f"{query} GROUP BY ALL"), asked)) == repr([ana, bia, zoe])
    assert ana["total"] == math.inf
    assert math.isnan(bia["media"])
    assert zoe["media"] == zoe["total"] == 0.1


def test_equal_values_have_no_spread(engine: Engine) -> None:
    """Differences that cancel must cancel wholly, far from zero and beside much larger values."""
    rows = silver([("ana", 1, 123456.7, 1, "a", True, 1, 1)] * 7 + [("bia", 1, 1e12, 1, "a", True, 1, 1)])
    (ana,) = asked_of(engine, rows, definition(), [("ana", moment(9))])
    assert (ana["desvio"], ana["variancia"], ana["perfil"]) == (0.0, 0.0, "CALMO")
    assert math.isclose(ana["media"], 123456.7, rel_tol=1e-15)


def knows_the_outcome(engine: Engine, feature: str) -> bool:
    """Whether a feature at the moment of a row changes when that row and all later ones turn out otherwise."""
    query = f"SELECT cliente, {feature} AS sabe, max(quando) AS visto_em FROM silver.pedidos GROUP BY cliente"
    rows = [("ana", 1, float(hour), 1, "a", False, hour, hour) for hour in range(8)]
    otherwise = [(*row[:2], -1.0, 7, "z", True, *row[6:]) if row[6] >= 5 else row for row in rows]
    asked = [("ana", moment(5))]
    one, other = (asked_of(engine, silver(part), definition(query), asked) for part in (rows, otherwise))
    return one != other


OUTCOMES = ("max(pago)", "count_if(pago)", "count(*)", "max_by(valor, quando)", "sum(valor)", "max(itens)")


@pytest.mark.parametrize("feature", OUTCOMES)
def test_no_feature_knows_its_own_row_or_later_ones(engine: Engine, feature: str) -> None:
    assert not knows_the_outcome(engine, feature)


def test_a_planted_leak_is_caught(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With <= in place of <, as a careless join has it, the label's own row is in its features."""
    monkeypatch.setattr(derivation.exp, "LT", derivation.exp.LTE)
    caught = [feature for feature in OUTCOMES if knows_the_outcome(engine, feature)]
    assert caught == [feature for feature in OUTCOMES if feature != "count(*)"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT cliente, valor, quando AS visto_em FROM silver.pedidos", "it has no GROUP BY"),
        (BY_CLIENT.replace("max(quando) AS visto_em", "min(quando) AS visto_em"), r"is MIN\(quando\), not max"),
        (BY_CLIENT.replace("max(quando) AS visto_em", "max(itens) AS visto_em"), "is of type int32, not a moment"),
        (BY_CLIENT.replace("median(valor)", "first(valor)"), r"FIRST\(valor\) may depend on the order of rows"),
        (BY_CLIENT.replace("sum(valor) AS total", "sum(DISTINCT valor) AS total"), "may depend on the order of rows"),
        (BY_SHOP.replace("upper(produto) AS artigo", "produto AS cliente"),
         "it groups by loja, cliente, and the entity is cliente"),
        (BY_CLIENT.replace("median(valor)", "rand()"), "changes by itself"),
        ("SELECT p.cliente, max(p.quando) AS visto_em FROM silver.pedidos p JOIN silver.pedidos q USING (cliente) "
         "GROUP BY p.cliente", "it reads several tables"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_refused_with_the_reason(engine: Engine, query: str, reason: str) -> None:
    with pytest.raises(FeatureError, match=rf"^features/cliente.yaml: the features of gold.clientes .*{reason}"):
        asked_of(engine, silver([]), definition(query), [("ana", moment(1))])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arrived": "nunca"}, r"reads no column nunca \(arrived\)"),
        ({"arrived": "valor"}, "its time of arrived is of type double"),
        ({"features": ("nada",)}, "it has no column nada"),
        ({"timestamp": "nada"}, "its timestamp nada is no column of it"),
    ],
)
def test_what_a_view_asks_wrongly_is_said(engine: Engine, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(FeatureError, match=reason):
        view_at(past(engine, silver([])), definition(**changes))


def test_labels_of_another_type_are_refused(engine: Engine) -> None:
    shop = definition("SELECT loja, max(quando) AS visto_em FROM silver.pedidos GROUP BY loja", ("loja",))
    other = Definition(**{**vars(shop), "entity": ("cliente",)})
    with pytest.raises(FeatureError, match="it groups by loja"):
        view_at(past(engine, silver([])), other)
    assert view_at(past(engine, silver([])), shop).table == SILVER
    assert moment(0).tzinfo is UTC
