"""Feature files: what they declare, and what is wrong with them, by file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from datalab.errors import FeatureError
from datalab.features.views import Definitions, read_definitions
from datalab.names import TableName

VIEW = "view: gold.clientes\nentity: [cliente]\ntimestamp: visto_em\n"
SET = "labels: SELECT 1\nmoment: quando\nlabel: pagou\nviews: {cliente: [cliente]}\n"


def read(folder: Path, **files: str) -> Definitions:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return read_definitions(folder.glob("*.yaml"), folder)


def test_a_view_and_a_training_set(tmp_path: Path) -> None:
    found = read(tmp_path, cliente=f"{VIEW}features: [gasto]\nttl: 90d\naccuracy: month\n", compra=f"{SET}seed: 7\n")
    view = found.view("cliente")
    assert (view.table, view.entity, view.features) == (TableName("gold", "clientes"), ("cliente",), ("gasto",))
    assert (view.ttl, view.accuracy, view.file) == (timedelta(days=90), "month", "cliente.yaml")
    made = found.training_set("compra")
    assert (made.views, made.seed, made.moment, made.label) == ({"cliente": ("cliente",)}, 7, "quando", "pagou")


def test_without_features_every_other_column_is_one(tmp_path: Path) -> None:
    view = read(tmp_path, cliente=VIEW).view("cliente")
    layout = view.layout(["cliente", "gasto", "visto_em", "cidade", "__deleted"])
    assert layout.features == ("gasto", "cidade")
    assert layout.ttl is None
    with pytest.raises(FeatureError, match=r"cliente.yaml: gold.clientes has no column visto_em"):
        view.layout(["cliente", "gasto"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "neither a feature view nor a training set"),
        ("view: [\n", "it is not YAML"),
        (f"{VIEW}labels: SELECT 1\n", "neither a feature view nor a training set"),
        (f"{VIEW}entidade: [x]\n", "'entidade' is no key here"),
        (VIEW.replace("[cliente]", "cliente"), "`entity` is not a list of columns"),
        (VIEW.replace("gold.clientes", "clientes"), "'clientes' is not a table name"),
        (VIEW.replace("visto_em", ""), "`timestamp` is missing"),
        (f"{VIEW}ttl: 0d\n", "ttl is '0d'"),
        (f"{VIEW}ttl: soon\n", "ttl is 'soon'"),
        (f"{VIEW}accuracy: year\n", "accuracy is 'year'"),
        (f"{VIEW}features: [visto_em]\n", "column visto_em is named twice"),
        (f"{VIEW}name: Big\n", "'Big' is not a name"),
        (SET.replace("[cliente]", "[]"), "`cliente` is not a list of columns"),
        (SET, "there is no feature view cliente"),
        (f"{SET}seed: sete\n", "seed is 'sete'"),
        (SET.replace("views: {cliente: [cliente]}", "views: []"), "`views` is missing"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FeatureError, match=rf"teste\.yaml: .*{problem.replace('[', '.')}"):
        read(tmp_path, teste=text)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="the name cliente is taken by cliente"):
        read(tmp_path, cliente=VIEW, outro=f"name: cliente\n{VIEW}")


def test_a_view_wants_all_its_entity_columns(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="view cliente has 1 entity columns, and 2 label columns are named"):
        read(tmp_path, cliente=VIEW, compra=SET.replace("[cliente]", "[cliente, uf]"))


def test_names_that_are_not_there_are_told_with_those_that_are(tmp_path: Path) -> None:
    found = read(tmp_path, cliente=VIEW, compra=SET)
    with pytest.raises(FeatureError, match="no feature view loja") as view:
        found.view("loja")
    with pytest.raises(FeatureError, match="no training set loja") as made:
        found.training_set("loja")
    assert ("cliente" in view.value.hint, "compra" in made.value.hint) == (True, True)
