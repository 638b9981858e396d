"""Each reference project holds together: settings, contracts, pipelines and the names that its readers rely on."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from sqlglot import parse_one
from sqlglot.expressions import Table
from tests.declared import parse_files

from datalab.errors import MissingExtra
from datalab.ingest.contracts import read_contract
from datalab.names import TableName
from datalab.pipelines.graph import build_graph
from datalab.pipelines.grouping import Grouping, grouping
from datalab.platform.settings import load

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PROJECTS = ("agro", "stocks")

REQUEST = (
    "proponente_id data_solicitacao cpf_cnpj nome_razao_social tipo_pessoa renda_bruta_anual_declarada "
    "valor_solicitado_credito finalidade_credito localizacao_propriedade area_total_hectares cultura_principal "
    "possui_experiencia_atividade anos_experiencia fontes_dados_adicionais metadata_evento"
)
COLUMNS = {
    "silver.silver_dados_produtores_agro": (
        "proponente_id data_solicitacao cpf_cnpj tipo_pessoa valor_solicitado_credito finalidade_credito "
        "localizacao_latitude localizacao_longitude localizacao_municipio localizacao_uf area_total_hectares "
        "cultura_principal anos_experiencia serasa_score ibama_autuacoes_ativas classificacao_propriedade "
        "faixa_risco_credito registro_valido processed_at"
    ),
    "gold.proponente_features_agro": (
        "proponente_id total_solicitacoes valor_medio_solicitado serasa_score_medio ultima_solicitacao "
        "dias_entre_primeira_ultima taxa_autuacoes_ibama perfil_frequencia perfil_volatilidade feature_timestamp"
    ),
    "gold.location_features_agro": (
        "localizacao_uf localizacao_municipio total_proponentes valor_medio_solicitado area_media_hectares "
        "cultura_dominante taxa_risco_elevado densidade_proponentes feature_timestamp"
    ),
    "gold.risk_features_agro": (
        "faixa_risco_credito cultura_principal total_solicitacoes valor_mediano serasa_score_medio "
        "taxa_pessoa_juridica score_risco_ajustado volatilidade_credito feature_timestamp"
    ),
    "gold.proponente_perfil_agro": (
        "proponente_id localizacao_uf localizacao_municipio cultura_principal area_total_hectares anos_experiencia "
        "serasa_score ibama_autuacoes_ativas feature_timestamp"
    ),
    "gold.uf_features_agro": (
        "localizacao_uf total_solicitacoes valor_medio_solicitado area_media_hectares serasa_score_medio "
        "taxa_risco_elevado taxa_autuacoes_ibama taxa_pessoa_juridica feature_timestamp"
    ),
    "silver.stocks_cleaned": "date symbol open high low close volume z_score data_quality_score processed_at",
    "gold.stocks_analytics": (
        "date record_count avg_price max_price min_price price_volatility total_volume median_price price_range "
        "volume_price_ratio volatility_category"
    ),
}


def graph_of(project: str):
    folder = EXAMPLES / project
    sources = load(folder).settings.sources
    declarations = parse_files(sorted((folder / "pipelines").glob("*.sql")), folder)
    return declarations, build_graph(declarations, [source.into for source in sources.values()])


@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.parametrize("environment", [None, "local", "stack"])
def test_settings_are_valid_and_name_files_that_exist(project: str, environment: str | None) -> None:
    settings = load(EXAMPLES / project, environment).settings
    assert settings.name == project
    for source in settings.sources.values():
        read_contract(source.contract)
    assert all(path.is_file() for path in (settings.simulate, settings.report) if path)
    assert settings.simulate is not None


def test_the_contract_of_a_request_has_every_field_and_marks_personal_data() -> None:
    contract = read_contract(EXAMPLES / "agro" / "contracts" / "dados_produtores.avsc")
    assert [field.name for field in contract.record.fields] == REQUEST.split()
    personal = dict(contract.personal)
    assert personal["cpf_cnpj"] == "cpf_cnpj"
    assert personal["nome_razao_social"] == "name"
    assert personal["fontes_dados_adicionais.numero_matricula_imovel"] == "document"


@pytest.mark.parametrize("table", COLUMNS)
def test_every_table_has_exactly_its_columns_in_order(table: str) -> None:
    declarations, _ = graph_of("stocks" if "stocks" in table else "agro")
    views = {dataset.view: dataset for dataset in declarations.datasets}
    flow = next(flow for flow in declarations.flows if flow.target == TableName.parse(table))
    query = flow.query
    if query.named_selects == ["*"]:
        query = views[query.find(Table).name].query
    left_out = flow.cdc.except_columns if flow.cdc else ()
    assert [name for name in query.named_selects if name not in left_out] == COLUMNS[table].split()


def test_each_gold_view_is_recomputed_by_group() -> None:
    nodes = [node for project in PROJECTS for node in graph_of(project)[1].flows]
    gold = [node for node in nodes if node.flow.target.layer == "gold"]
    assert len(gold) == 6
    assert all(isinstance(grouping(node.query), Grouping) for node in gold)


def test_the_producers_time_decides_which_event_of_a_request_counts() -> None:
    _, graph = graph_of("agro")
    (node,) = graph.into(TableName("silver", "silver_dados_produtores_agro"))
    assert node.flow.cdc is not None
    assert node.flow.cdc.keys == ("proponente_id", "data_solicitacao")
    assert node.flow.cdc.sequence_by.sql() == "timestamp_geracao_evento"


def test_cleaning_waits_for_the_gate() -> None:
    _, graph = graph_of("stocks")
    (node,) = graph.into(TableName("silver", "stocks_cleaned"))
    assert TableName("silver", "stocks_gate") in {each.table for each in node.inputs}
    gate = graph.datasets[TableName("silver", "stocks_gate")]
    assert {(each.name, each.action) for each in gate.constraints} == {("min_rows", "fail"), ("no_null_key", "fail")}


def test_three_questions_read_gold_alone() -> None:
    questions = yaml.safe_load((EXAMPLES / "agro" / "questions.yaml").read_text(encoding="utf-8"))
    assert len(questions) == 3
    for question in questions:
        tables = {f"{table.db}.{table.name}" for table in parse_one(question["sql"], read="spark").find_all(Table)}
        assert question["title"].endswith("?")
        assert tables <= COLUMNS.keys()


def test_the_report_names_the_extra_that_it_needs(
    stocks_report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    series = pa.table({"date": [], "avg_price": []})
    with pytest.raises(MissingExtra, match="report needs the optional dependencies 'report'"):
        stocks_report.report(lambda _: series, tmp_path)
