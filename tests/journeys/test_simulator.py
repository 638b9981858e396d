"""From simulated files through each project's SQL to gold, in the engine: what the ledger says is what gold shows."""

from __future__ import annotations

import csv
import importlib.util
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
import yaml
from sqlglot import exp, parse_one
from tests.declared import parse_files

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.ingest.contracts import bronze_schema, read_contract
from datalab.lake.table import Relation
from datalab.pipelines.graph import FlowNode, build_graph
from datalab.platform.settings import load

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
REAL_PRICES = ROOT.parent / "shared" / "data" / "amazon_stock.csv"
NOW = datetime(2026, 8, 1, tzinfo=UTC)
AGRO = {"rows": 3000, "bad": 0.02, "late": 0.05, "duplicates": 0.04, "seed": 5, "files": 4}
STOCKS = {"rows": 2000, "bad": 0.01, "late": 0.02, "duplicates": 0.02, "seed": 5, "files": 4}

Tables = dict[str, pa.Table]


def simulate(project: str, folder: Path, **plan: Any) -> list[dict[str, Any]]:
    spec = importlib.util.spec_from_file_location(project, EXAMPLES / project / "simulator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.simulate(folder, folder / "ledger.jsonl", **plan)
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def avro_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        try:
            for block in fastavro.block_reader(file):
                try:
                    yield from list(block)
                except (EOFError, UnicodeDecodeError):
                    continue
        except EOFError:
            return


def bronze(folder: Path, source: str) -> pa.Table:
    schema = bronze_schema(read_contract(EXAMPLES / "agro" / "contracts" / f"{source}.avsc"))
    rows = [row for path in sorted((folder / "landing" / source).iterdir()) for row in avro_rows(path)]
    return pa.Table.from_pylist(rows, schema=schema)


def ask(engine: DuckDBEngine, tables: Tables, query: exp.Query) -> pa.Table:
    relations = {name: Relation(schema=table.schema, memory=table) for name, table in tables.items()}
    return engine.read(Query(query, relations, NOW)).read_all()


def newest(rows: pa.Table, node: FlowNode) -> pa.Table:
    """What AUTO CDC must leave, done the plain way."""
    assert node.flow.cdc is not None
    sequence, keys = node.flow.cdc.sequence_by.sql(), node.flow.cdc.keys
    best: dict[tuple[Any, ...], tuple[Any, int]] = {}
    values = zip(*(rows[key].to_pylist() for key in keys), rows[sequence].to_pylist(), strict=True)
    for number, (*key, order) in enumerate(values):
        best[tuple(key)] = max(best.get(tuple(key), (order, number)), (order, number))
    kept = rows.take([number for _, number in best.values()])
    return kept.drop_columns(list(node.flow.cdc.except_columns))


def run(project: str, tables: Tables, engine: DuckDBEngine) -> tuple[Tables, Counter[str]]:
    """Every table of a project, and how many rows broke each constraint."""
    folder = EXAMPLES / project
    declarations = parse_files(sorted((folder / "pipelines").glob("*.sql")), folder)
    graph = build_graph(declarations, [source.into for source in load(folder).settings.sources.values()])
    made, broken = dict(tables), Counter[str]()
    for node in graph.flows:
        rows = ask(engine, made, node.query)
        rows = newest(rows, node) if node.flow.cdc else rows
        for check in node.dataset.constraints:
            passed = exp.select("*").from_("rows").where(check.condition)
            kept = ask(engine, {"rows": rows}, passed)
            broken[check.name] += rows.num_rows - kept.num_rows
            rows = rows if check.action == "warn" else kept
        made[str(node.flow.target)] = rows
    return made, broken


@pytest.fixture(scope="module")
def engine() -> Iterator[DuckDBEngine]:
    engine = DuckDBEngine(threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def farmers(engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("agro")
    ledger = [line for line in simulate("agro", folder, **AGRO) if "dados_produtores" in line["file"]]
    sources = {
        "bronze.dados_produtores_agro": bronze(folder, "dados_produtores"),
        "bronze.desfechos_credito": bronze(folder, "desfechos_credito"),
    }
    tables, broken = run("agro", sources, engine)
    return {"ledger": ledger, "sources": sources, "tables": tables, "broken": broken}


def test_bronze_has_every_record_that_is_not_corrupt(farmers: dict[str, Any]) -> None:
    wanted = Counter(
        (line["proponente_id"], line["data_solicitacao"]) for line in farmers["ledger"] if line["kind"] != "corrupt"
    )
    table = farmers["sources"]["bronze.dados_produtores_agro"]
    found = zip(table["proponente_id"].to_pylist(), table["data_solicitacao"].to_pylist(), strict=True)
    assert Counter(found) == wanted


def test_silver_has_every_true_request_once_and_each_bad_one_breaks_its_constraint(farmers: dict[str, Any]) -> None:
    good = {
        (line["proponente_id"], line["data_solicitacao"])
        for line in farmers["ledger"]
        if line["kind"] not in {"bad", "corrupt"}
    }
    silver = farmers["tables"]["silver.silver_dados_produtores_agro"].to_pylist()
    keys = [(row["proponente_id"], round(row["data_solicitacao"].timestamp() * 1000)) for row in silver]
    assert len(keys) == len(good)
    assert set(keys) == good
    reasons = Counter(line["reason"] for line in farmers["ledger"] if line["kind"] == "bad")
    assert {name: farmers["broken"][name] for name in reasons} == reasons
    assert farmers["broken"]["registro_completo"] == sum(not row["registro_valido"] for row in silver) > 0


def test_gold_does_not_depend_on_the_order_of_arrival(farmers: dict[str, Any], engine: DuckDBEngine) -> None:
    source = farmers["sources"]["bronze.dados_produtores_agro"]
    order = list(range(source.num_rows))
    random.Random(1).shuffle(order)
    shuffled, _ = run("agro", farmers["sources"] | {"bronze.dados_produtores_agro": source.take(order)}, engine)
    for name in (name for name in shuffled if name.startswith("gold.")):
        keys = shuffled[name].column_names[:2]
        ours, theirs = (
            sorted(table.to_pylist(), key=lambda row: tuple(map(str, (row[key] for key in keys))))
            for table in (shuffled[name], farmers["tables"][name])
        )
        assert ours == theirs


def test_gold_says_what_silver_holds(farmers: dict[str, Any]) -> None:
    tables = farmers["tables"]
    silver = tables["silver.silver_dados_produtores_agro"].to_pylist()
    people = tables["gold.proponente_features_agro"].to_pylist()
    assert Counter({row["proponente_id"]: row["total_solicitacoes"] for row in people}) == Counter(
        row["proponente_id"] for row in silver
    )
    assert {row["perfil_frequencia"] for row in people} == {"NOVO", "OCASIONAL", "RECORRENTE"}
    assert {row["perfil_volatilidade"] for row in people} == {"INDEFINIDO", "CONSISTENTE", "VOLATIL"}
    for place in tables["gold.location_features_agro"].to_pylist():
        here = [row for row in silver if row["localizacao_municipio"] == place["localizacao_municipio"]]
        crops = Counter(row["cultura_principal"] for row in here)
        most = max(crops.values())
        assert place["cultura_dominante"] == min(crop for crop, count in crops.items() if count == most)
        assert place["total_proponentes"] == len({row["proponente_id"] for row in here})
    risks = tables["gold.risk_features_agro"].to_pylist()
    assert sum(row["total_solicitacoes"] for row in risks) == len(silver)
    for row in risks:
        assert (row["score_risco_ajustado"] is None) == (row["serasa_score_medio"] is None)
        assert 0 <= (row["score_risco_ajustado"] or 0) <= (row["serasa_score_medio"] or 0)


def test_the_questions_have_answers(farmers: dict[str, Any], engine: DuckDBEngine) -> None:
    for question in load_questions():
        rows = ask(engine, farmers["tables"], parse_one(question["sql"], read="spark"))
        assert 0 < rows.num_rows <= 5


def load_questions() -> list[dict[str, str]]:
    questions: list[dict[str, str]] = yaml.safe_load((EXAMPLES / "agro" / "questions.yaml").read_text(encoding="utf-8"))
    return questions


def test_prices_are_cleaned_and_summed_up(engine: DuckDBEngine, tmp_path: Path) -> None:
    ledger = simulate("stocks", tmp_path, **STOCKS)
    contract = read_contract(EXAMPLES / "stocks" / "contracts" / "stocks.avsc")
    schema = bronze_schema(contract)
    rows = [row for path in sorted((tmp_path / "landing" / "stocks").iterdir()) for row in csv_rows(path, tmp_path)]
    tables, broken = run("stocks", {"bronze.stocks": pa.Table.from_pylist(rows, schema=schema)}, engine)
    reasons = Counter(line["reason"] for line in ledger if line["kind"] == "bad")
    assert broken["positive_close"] == reasons["positive_close"] > 0
    assert broken["within_three_sigma"] >= reasons["within_three_sigma"] > 0
    assert broken["min_rows"] == broken["no_null_key"] == 0
    cleaned = tables["silver.stocks_cleaned"].to_pylist()
    refused = broken["positive_close"] + broken["within_three_sigma"]
    unreadable = reasons["wrong_type"] + reasons["missing_fields"]
    assert len({(row["date"], row["symbol"]) for row in cleaned}) == len(cleaned) == 2000 - refused - unreadable
    assert {row["symbol"] for row in cleaned} == {"CAFE", "CANA", "GADO", "MILHO", "SOJA"}
    assert len({row["data_quality_score"] for row in cleaned}) > 1
    gold = tables["gold.stocks_analytics"].to_pylist()
    assert sum(row["record_count"] for row in gold) == len(cleaned)
    for row in gold:
        spread = row["price_volatility"]
        assert row["volatility_category"] == ("Low" if spread < 5 else "Medium" if spread < 15 else "High")


def test_the_gate_refuses_too_few_rows(engine: DuckDBEngine) -> None:
    schema = bronze_schema(read_contract(EXAMPLES / "stocks" / "contracts" / "stocks.avsc"))
    _, broken = run("stocks", {"bronze.stocks": schema.empty_table()}, engine)
    assert broken["min_rows"] == 1


@pytest.mark.skipif(not REAL_PRICES.exists(), reason="the real prices are not at hand")
def test_real_prices_go_from_file_to_report(datalab: Any, tmp_path: Path) -> None:
    project = tmp_path / "prices"
    assert datalab("init", project, "--template", "stocks").code == 0
    simulate("stocks", project, rows=0, source=REAL_PRICES)
    assert datalab("run", "--project", project).code == 0
    gold = datalab("query", "SELECT * FROM gold.stocks_analytics", "--limit", "0", "--project", project, "--json").json
    with REAL_PRICES.open(encoding="utf-8", newline="") as file:
        closes = {row["date"][:10]: float(row["close"]) for row in csv.DictReader(file)}
    assert {row["date"]: row["avg_price"] for row in gold} == closes
    assert {(row["record_count"], row["price_volatility"], row["volatility_category"]) for row in gold} == {
        (1, 0, "Low")
    }
    assert "2012-05-21" in (project / "reports" / "stocks.md").read_text(encoding="utf-8")


def csv_rows(path: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The readable lines of a file, typed as the contract says."""
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if row["volume"] is None or row["close"] == "n/a":
                continue
            prices = {name: float(row[name]) for name in ("open", "high", "low", "close")}
            volume = int(row["volume"]) if row["volume"] else None
            place = {"source_file": path.relative_to(folder).as_posix(), "source_row": number}
            yield {
                "date": date.fromisoformat(row["date"]),
                "symbol": row["symbol"],
                "volume": volume,
                **prices,
                **place,
            }
