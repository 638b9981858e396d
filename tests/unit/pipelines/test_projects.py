"""The example projects, when they are there: every file parses, every name is known, each gold view has its groups."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.declared import parse_files

from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.grouping import Grouping, grouping

EXAMPLES = Path(__file__).parents[3] / "examples"


def project(name: str) -> Graph:
    folder = EXAMPLES / name
    if not (folder / "datalab.yaml").exists():
        pytest.skip(f"examples/{name} is not there")
    sources = yaml.safe_load((folder / "datalab.yaml").read_text(encoding="utf-8")).get("sources") or {}
    known = [TableName.parse(source["into"]) for source in sources.values()]
    files = sorted(path for path in (folder / "pipelines").rglob("*") if path.suffix in (".sql", ".py"))
    return build_graph(parse_files(files, folder), known)


@pytest.mark.parametrize("name", ["agro", "stocks", "minimal"])
def test_the_project_has_a_graph(name: str) -> None:
    assert project(name).flows


@pytest.mark.parametrize(
    ("name", "view", "keys"),
    [
        ("agro", "gold.proponente_features_agro", ("proponente_id",)),
        ("agro", "gold.location_features_agro", ("localizacao_uf", "localizacao_municipio")),
        ("agro", "gold.risk_features_agro", ("faixa_risco_credito", "cultura_principal")),
        ("stocks", "gold.stocks_analytics", ("date",)),
    ],
)
def test_gold_views_are_recomputed_group_by_group(name: str, view: str, keys: tuple[str, ...]) -> None:
    (node,) = project(name).into(TableName.parse(view))
    found = grouping(node.query)
    assert isinstance(found, Grouping), found
    assert found.keys == keys


def test_the_examples_of_the_documentation_parse(tmp_path: Path) -> None:
    text = (EXAMPLES.parent / "docs" / "pipelines.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sql|python)\n(.*?)```", text, re.DOTALL)
    files = []
    for number, (language, code) in enumerate(blocks):
        files.append(tmp_path / f"{number}.{'py' if language == 'python' else 'sql'}")
        files[-1].write_text(code, encoding="utf-8")
    declared = parse_files(files, tmp_path)
    known = [TableName("bronze", "dados_produtores_agro"), TableName("bronze", "vendas")]
    names = {node.flow.name for node in build_graph(declared, known).flows}
    assert names == {"atualiza", "gold.proponentes", "silver.vendas", "gold.vendas_sp", "gold.vendas_mg"}
