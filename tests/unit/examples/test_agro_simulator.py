"""The farmers' simulator: its files fit the contract but for the planned faults, and its ledger tells the truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import numpy as np
import pytest
from fastavro.validation import validate

PLAN = {"rows": 3000, "bad": 0.02, "late": 0.05, "duplicates": 0.04, "seed": 7, "files": 6}


@pytest.fixture(scope="module")
def batch(agro: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict]]:
    folder = tmp_path_factory.mktemp("agro")
    summary = agro.simulate(folder, folder / "ledger.jsonl", **PLAN)
    lines = (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    return folder, summary, [json.loads(line) for line in lines]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.avro"))}


def blocks_of(path: Path) -> tuple[list[list[dict]], int]:
    """Records of each block, [] where it cannot be decoded; and whether the file ended too early."""
    blocks: list[list[dict]] = []
    with path.open("rb") as file:
        reader = fastavro.block_reader(file)
        while True:
            try:
                block = next(reader)
            except StopIteration:
                return blocks, 0
            except EOFError:
                return blocks, 1
            try:
                blocks.append(list(block))
            except (EOFError, UnicodeDecodeError):
                blocks.append([])


def by_file(ledger: list[dict]) -> dict[str, list[dict]]:
    files = defaultdict(list)
    for line in ledger:
        files[line["file"]].append(line)
    return files


def test_the_same_plan_gives_the_same_bytes(agro: ModuleType, batch, tmp_path: Path) -> None:
    assert agro.simulate(tmp_path, **PLAN) == batch[1]
    assert files_of(tmp_path) == files_of(batch[0])


def test_another_seed_gives_other_records(agro: ModuleType, batch, tmp_path: Path) -> None:
    agro.simulate(tmp_path, **PLAN | {"seed": 8})
    ours, theirs = files_of(tmp_path), files_of(batch[0])
    assert ours.keys() == theirs.keys()
    assert all(ours[name] != theirs[name] for name in ours)


def test_a_second_batch_adds_files_about_the_same_farmers(agro: ModuleType, tmp_path: Path) -> None:
    agro.simulate(tmp_path, **PLAN)
    before = files_of(tmp_path)
    assert agro.simulate(tmp_path, **PLAN | {"rows": 500})["batch"] == 2
    after = files_of(tmp_path)
    assert before.items() < after.items()
    assert not list(tmp_path.rglob("*.tmp"))
    documents = defaultdict(set)
    for path in (tmp_path / "landing" / "dados_produtores").glob("lote-*-0*.avro"):
        for record in (record for block in blocks_of(path)[0] for record in block):
            documents[record["proponente_id"]].add(record["cpf_cnpj"])
    del documents[""]
    assert {len(each) for each in documents.values()} == {1}


def test_the_ledger_names_each_record_by_file_and_row(batch) -> None:
    folder, _, ledger = batch
    assert {line["file"] for line in ledger} == files_of(folder).keys()
    for name, lines in by_file(ledger).items():
        assert [line["row"] for line in lines] == list(range(len(lines)))
        if "danificado" in name:
            continue
        records = [record for block in blocks_of(folder / name)[0] for record in block]
        found = [(record["proponente_id"], record["data_solicitacao"]) for record in records]
        assert found == [(line["proponente_id"], line["data_solicitacao"]) for line in lines]


@pytest.mark.parametrize("source", ["dados_produtores", "desfechos_credito"])
def test_every_readable_record_fits_the_contract(agro: ModuleType, batch, source: str) -> None:
    contract = json.loads((agro.HERE / "contracts" / f"{source}.avsc").read_text(encoding="utf-8"))
    schema = fastavro.parse_schema(contract)
    for path in (batch[0] / "landing" / source).iterdir():
        with path.open("rb") as file:
            written = fastavro.reader(file).writer_schema
        assert fastavro.schema.to_parsing_canonical_form(written) == fastavro.schema.to_parsing_canonical_form(schema)
        assert all(validate(record, schema, strict=True) for block in blocks_of(path)[0] for record in block)


def test_a_damaged_record_is_alone_in_its_block(batch) -> None:
    folder, summary, ledger = batch
    (path,) = (folder / "landing" / "dados_produtores").glob("*danificado*")
    lines = by_file(ledger)[path.relative_to(folder).as_posix()]
    blocks, cut_off = blocks_of(path)
    assert [line["kind"] != "corrupt" for line in lines] == [bool(block) for block in blocks] + [False] * cut_off
    assert cut_off == 1
    assert lines[-1]["reason"] == "truncated"
    assert Counter(line["kind"] for line in lines)["corrupt"] == summary["corrupt"] == 12


def test_shares_are_as_asked(batch) -> None:
    _, summary, ledger = batch
    kinds = Counter(line["kind"] for line in ledger if line["file"].startswith("landing/dados_produtores"))
    assert kinds["bad"] + kinds["corrupt"] == 60
    assert kinds["late"] == 150
    assert kinds["duplicate"] == kinds["correction"] == 60
    assert kinds.total() == summary["records"] == 3120
    assert summary["outcomes"] == 3000 - 60


def test_each_bad_record_breaks_the_constraint_that_the_ledger_names(batch) -> None:
    folder, _, ledger = batch
    broken = {
        "proponente_informado": lambda record: record["proponente_id"] == "",
        "data_plausivel": lambda record: record["data_solicitacao"] < 0,
        "valor_plausivel": lambda record: record["valor_solicitado_credito"] <= 0,
        "score_possivel": lambda record: (record["fontes_dados_adicionais"]["serasa_score"] or 0) > 1000,
        "area_plausivel": lambda record: record["area_total_hectares"] <= 0,
        "local_no_brasil": lambda record: record["localizacao_propriedade"]["latitude"] > 6,
    }
    seen = set()
    for name, lines in by_file(ledger).items():
        if "danificado" in name or "desfechos" in name:
            continue
        records = [record for block in blocks_of(folder / name)[0] for record in block]
        for record, line in zip(records, lines, strict=True):
            reasons = {reason for reason, is_broken in broken.items() if is_broken(record)}
            assert reasons == ({line["reason"]} if line["kind"] == "bad" else set())
            seen |= reasons
    assert seen == broken.keys()


def test_late_records_come_in_a_later_file_than_their_time(batch) -> None:
    requests = [line for line in batch[2] if "dados_produtores/lote-0001-0" in line["file"]]
    newest: dict[str, int] = defaultdict(int)
    oldest: dict[str, int] = {}
    for line in (line for line in requests if line["kind"] == "good"):
        newest[line["file"]] = max(newest[line["file"]], line["data_solicitacao"])
        oldest[line["file"]] = min(oldest.get(line["file"], line["data_solicitacao"]), line["data_solicitacao"])
    late = [line for line in requests if line["kind"] == "late"]
    assert late
    assert all(line["data_solicitacao"] < oldest[line["file"]] for line in late)


def test_a_correction_has_a_later_event_time_and_the_true_amount(batch) -> None:
    folder, _, ledger = batch
    events: dict[tuple[str, int], list[tuple[int, float, str]]] = defaultdict(list)
    for name, lines in by_file(ledger).items():
        if "danificado" in name or "desfechos" in name:
            continue
        records = [record for block in blocks_of(folder / name)[0] for record in block]
        for record, line in zip(records, lines, strict=True):
            amount = record["valor_solicitado_credito"]
            events[line["proponente_id"], line["data_solicitacao"]].append((line["sequence"], amount, line["kind"]))
    corrected = [sorted(each) for each in events.values() if any(kind == "correction" for *_, kind in each)]
    assert corrected
    for first, last in (each for each in corrected if len(each) == 2):
        assert last[2] == "correction"
        assert first[0] < last[0]
        assert first[1] == 10 * last[1]


def test_outcomes_follow_their_requests_and_the_best_auc_is_known(batch) -> None:
    folder, summary, _ = batch
    outcomes = [
        record
        for path in (folder / "landing" / "desfechos_credito").iterdir()
        for block in blocks_of(path)[0]
        for record in block
    ]
    assert all(record["data_desfecho"] > record["data_solicitacao"] for record in outcomes)
    assert len({(record["proponente_id"], record["data_solicitacao"]) for record in outcomes}) == len(outcomes)
    assert 0.05 < summary["default_rate"] < 0.4
    assert 0.75 < summary["best_auc"] < 0.95


def test_auc_is_the_share_of_pairs_in_the_right_order(agro: ModuleType) -> None:
    happened = np.array([True, False, True, False])
    assert agro.auc(np.array([0.9, 0.1, 0.4, 0.5]), happened) == 0.75
    assert agro.auc(np.array([0.9, 0.1]), np.array([True, True])) is None


@pytest.mark.parametrize(
    ("base", "top", "number"), [("12ABC34501DE", 9, "12ABC34501DE35"), ("529982247", 11, "52998224725")]
)
def test_check_digits_are_those_of_the_revenue_service(agro: ModuleType, base: str, top: int, number: str) -> None:
    assert agro.with_check_digits(np.array([list(base.encode())]), top).tolist() == [number]


def test_companies_with_letters_in_their_cnpj_ask_only_since_these_exist(agro: ModuleType, batch) -> None:
    folder, _, _ = batch
    requests = [
        record
        for path in (folder / "landing" / "dados_produtores").glob("*-0*.avro")
        for block in blocks_of(path)[0]
        for record in block
    ]
    new = [record for record in requests if not record["cpf_cnpj"].isdigit()]
    assert new
    assert all(record["tipo_pessoa"] == "JURIDICA" for record in new)
    assert all(record["data_solicitacao"] >= agro.LETTERS_IN_CNPJ for record in new if record["data_solicitacao"] > 0)


@pytest.mark.parametrize("plan", [{"rows": 1}, {"rows": 40, "files": 1}, {"rows": 10, "files": 50, "bad": 1.0}])
def test_small_and_odd_plans_are_kept(agro: ModuleType, tmp_path: Path, plan: dict[str, Any]) -> None:
    summary = agro.simulate(tmp_path, **plan)
    assert summary["requests"] == plan["rows"]
    assert summary["files"] == len(files_of(tmp_path))


def test_a_word_that_is_no_part_of_a_plan_is_refused(agro: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="rwos"):
        agro.simulate(tmp_path, rwos=5)
