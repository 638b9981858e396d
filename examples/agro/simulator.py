"""Simulated farmers: months of credit requests as Avro files, their outcomes, and bad, late and repeated records.

The same plan for the same batch gives the same bytes. Outcomes are drawn from a hidden risk, so the best AUC that
any model can reach is known; it stands in the summary.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from datalab.ingest.avro_writing import container, framed, writer_of

Array = NDArray[Any]
Columns = dict[str, Array]

HERE = Path(__file__).parent
SYNC = b"datalab/examples"  # a fixed marker between blocks: the same seed gives the same bytes
CHUNK = 4096
FARMERS_PER_REQUEST = 0.2
FIRST_MONTH = np.datetime64("2025-08")
LETTERS_IN_CNPJ = np.datetime64("2026-07-01", "ms").astype(int)
HOUR, DAY = 3_600_000, 86_400_000

NAMES = ["Ana", "Antônio", "Beatriz", "Carlos", "Cláudia", "Edson", "Fernanda", "Francisco", "Helena", "Ivo", "João",
         "José", "Luíza", "Marcos", "Maria", "Neusa", "Osvaldo", "Paula", "Raimundo", "Teresa"]  # fmt: skip
SURNAMES = ["Almeida", "Araújo", "Barbosa", "Bianchi", "Carvalho", "Conceição", "Ferreira", "Gonçalves", "Kowalski",
            "Lima", "Moreira", "Müller", "Nakamura", "Nascimento", "Oliveira", "Pereira", "Ribeiro", "Santos",
            "Silva", "Teixeira"]  # fmt: skip
COMPANIES = ["Agropecuária", "Cooperativa", "Fazenda", "Grupo", "Sementes"]
PURPOSES = ["CUSTEIO", "INVESTIMENTO", "COMERCIALIZACAO", "INDUSTRIALIZACAO"]
CHANNELS = ["PORTAL", "APLICATIVO", "AGENCIA", "COOPERATIVA"]
CROP_RISK = {"ALGODAO": -0.2, "ARROZ": 0.3, "CACAU": 0.3, "CANA_DE_ACUCAR": -0.3, "FEIJAO": 0.2, "MANDIOCA": 0.4}

# Records that fit the contract and cannot be true: the constraint of silver that refuses each, and what it looks like.
VIOLATIONS = (
    ("proponente_informado", "proponente_id", ""),
    ("data_plausivel", "data_solicitacao", -1),
    ("valor_plausivel", "valor_solicitado_credito", -5000.0),
    ("score_possivel", "serasa_score", 1500),
    ("area_plausivel", "area_total_hectares", 0.0),
    ("local_no_brasil", "latitude", 91.5),
)
# Records that cannot be decoded. Each is a block of its own, so that it is known which record is lost.
DAMAGES = {
    "": lambda data: data,
    "invalid_text": lambda data: data[:1] + b"\xff" + data[2:],
    "negative_length": lambda data: b"\x01" + data[1:],
    "cut_record": lambda data: data[: len(data) // 2],
    "truncated": lambda data: data,
}


class Plan(NamedTuple):
    """What to simulate: requests, which share of them is bad, late or delivered again, and into how many files."""

    rows: int = 5000
    bad: float = 0.005
    late: float = 0.02
    duplicates: float = 0.01
    seed: int = 1
    files: int = 12


def simulate(folder: Path, ledger: Path | None = None, **plan: Any) -> dict[str, Any]:
    """Write one more batch of files under `folder`/landing; `plan` has the fields of Plan. Answers a summary.

    The first batch of a folder covers twelve months, each later one the month that follows. `ledger` gets one JSON
    line per record written: file, row (from 0), key, sequence, kind and reason, and the hidden chance of an outcome.
    """
    asked = Plan(**plan)
    landing = folder / "landing" / "dados_produtores"
    batch = 1 + max((int(found[1]) for path in landing.glob("lote-*") if (found := re.match(r"lote-(\d+)", path.name))),
                    default=0)  # fmt: skip
    rng = default_rng([2, asked.seed, batch])
    start, end = window(batch)
    people = farmers(asked.seed, max(1, int(asked.rows * FARMERS_PER_REQUEST)))
    requests = make_requests(rng, people, asked.rows, (start, end))
    slices = np.clip((requests["data_solicitacao"] - start) * asked.files // (end - start), 0, asked.files - 1)
    delivered = make_records(rng, requests, plan_deliveries(rng, asked, slices))
    outcomes = make_outcomes(rng, requests, delivered)
    outcomes["file"] = np.arange(len(outcomes["kind"])) * asked.files // max(1, len(outcomes["kind"]))
    written = {"dados_produtores": delivered, "desfechos_credito": outcomes}
    for source, columns in written.items():
        write_files(folder / "landing" / source, batch, columns)
    if ledger:
        lines = (line for source, columns in written.items() for line in ledger_lines(source, batch, columns))
        ledger.write_text("".join(lines), encoding="utf-8")
    return {"batch": batch, **summary(asked, delivered, outcomes)}


def window(batch: int) -> tuple[int, int]:
    """First and last moment of a batch's requests, Unix milliseconds."""
    start = FIRST_MONTH + (0 if batch == 1 else 10 + batch)
    moments = np.array([start, start + (12 if batch == 1 else 1)]).astype("datetime64[ms]").astype(int)
    return int(moments[0]), int(moments[1])


def take(columns: Columns, rows: Array) -> Columns:
    """The same columns, of these rows only."""
    return {name: column[rows] for name, column in columns.items()}


def pick(rng: Generator, words: list[str], count: int) -> Array:
    """So many words, each as likely as the others."""
    return np.array(words, dtype=object)[rng.integers(0, len(words), count)]


def with_nulls(column: Array, absent: Array) -> Array:
    """The column as objects, None where `absent`."""
    values = column.astype(object)
    values[absent] = None
    return values


def farmers(seed: int, count: int) -> Columns:
    """The first farmers of a seed: the same people in each batch, however many are asked for."""
    chunks = [_farmers(default_rng([1, seed, chunk]), chunk * CHUNK) for chunk in range(-(-count // CHUNK))]
    return {name: np.concatenate([chunk[name] for chunk in chunks])[:count] for name in chunks[0]}


def _farmers(rng: Generator, first: int) -> Columns:
    company = rng.random(CHUNK) < 0.22
    letters = company & (rng.random(CHUNK) < 0.15)
    area = np.maximum(2, np.round(2 * np.exp(rng.normal(3.7 + 1.3 * company, 1.0)))) / 2
    years = np.minimum(60, rng.gamma(2.0, 8.0, CHUNK)).astype(int)
    plots = np.array([f"MAT-{number:07d}" for number in range(first, first + CHUNK)], dtype=object)
    return {
        "proponente_id": np.array([f"proponente_{number}" for number in range(first, first + CHUNK)], dtype=object),
        "cpf_cnpj": np.where(company, cnpj(rng, letters), cpf(rng, CHUNK)),
        "nome_razao_social": np.where(company, company_names(rng), person_names(rng)),
        "tipo_pessoa": np.where(company, "JURIDICA", "FISICA").astype(object),
        "renda_bruta_anual_declarada": 100 * np.round(90 * area**0.7 * np.exp(rng.normal(0, 0.4, CHUNK))),
        **properties(rng),
        "area_total_hectares": area,
        "possui_experiencia_atividade": years > 0,
        "anos_experiencia": years,
        "numero_matricula_imovel": with_nulls(plots, rng.random(CHUNK) < 0.1),
        "_letters": letters,
        "_activity": rng.gamma(1.5, 1.0, CHUNK),
        "_volatile": rng.random(CHUNK) < 0.3,
        "_fined": rng.random(CHUNK) < 0.08,
        "_score": np.clip(620 + 4.0 * (years - 16) * (years < 30) + rng.normal(0, 150, CHUNK), 20, 980),
    }


def person_names(rng: Generator) -> Array:
    """First name and two surnames."""
    return pick(rng, NAMES, CHUNK) + " " + pick(rng, SURNAMES, CHUNK) + " " + pick(rng, SURNAMES, CHUNK)


def company_names(rng: Generator) -> Array:
    """Kind of business, surname, legal form."""
    return pick(rng, COMPANIES, CHUNK) + " " + pick(rng, SURNAMES, CHUNK) + " Ltda"


def properties(rng: Generator) -> Columns:
    """Where each farmer's land lies, what grows there, and the region's own risk."""
    places, crops = municipalities()
    weight = 1 / (np.arange(len(crops)) % 16 + 4)
    where = rng.choice(len(crops), CHUNK, p=weight / weight.sum())
    return {
        "latitude": np.round(places["latitude"][where] + rng.normal(0, 0.08, CHUNK), 6),
        "longitude": np.round(places["longitude"][where] + rng.normal(0, 0.08, CHUNK), 6),
        "municipio": places["municipio"][where],
        "uf": places["uf"][where],
        "cultura_principal": crops[where, rng.choice(3, CHUNK, p=[0.6, 0.3, 0.1])],
        "_region_risk": places["risco"][where],
    }


@cache
def municipalities() -> tuple[Columns, Array]:
    """Real municipalities, and the crops of each, most common first."""
    with (HERE / "municipios.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = {name: np.array([float(row[name]) for row in rows]) for name in ("latitude", "longitude", "risco")}
    texts = {name: np.array([row[name] for row in rows], dtype=object) for name in ("municipio", "uf")}
    crops = [row["culturas"].split("|") for row in rows]
    return {**numbers, **texts}, np.array([(names * 3)[:3] for names in crops], dtype=object)


def cpf(rng: Generator, count: int) -> Array:
    """Natural persons' numbers: nine digits and two check digits."""
    return with_check_digits(48 + rng.integers(0, 10, (count, 9)), 11)


def cnpj(rng: Generator, letters: Array) -> Array:
    """Legal persons' numbers: a root of eight, letters too in the new ones, branch 0001, two check digits."""
    alphabet = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8).astype(int)
    root = alphabet[rng.integers(0, np.where(letters, 36, 10)[:, None], (len(letters), 8))]
    return with_check_digits(np.hstack([root, np.tile([48, 48, 48, 49], (len(letters), 1))]), 9)


def with_check_digits(codes: Array, top: int) -> Array:
    """Append two digits of modulus 11, weights 2, 3 … `top` from the right; a character's value is its code - 48."""
    for _ in range(2):
        weights = 2 + np.arange(codes.shape[1])[::-1] % (top - 1)
        rest = (codes - 48) @ weights % 11
        codes = np.column_stack([codes, 48 + np.where(rest < 2, 0, 11 - rest)])
    text: Array = codes.astype(np.uint8).view(f"S{codes.shape[1]}").ravel().astype(str).astype(object)
    return text


def make_requests(rng: Generator, people: Columns, count: int, between: tuple[int, int]) -> Columns:
    """Requests in the order of their moments, which are all different. Amounts are whole reais."""
    active = np.cumsum(people["_activity"])
    who = np.searchsorted(active, rng.random(count) * active[-1])
    low = np.where(people["_letters"][who], np.clip(LETTERS_IN_CNPJ, *between), between[0])
    moment = (low + rng.random(count) * (between[1] - low)).astype(int)
    order = np.argsort(moment, kind="stable")
    rows = take(people, who[order])
    spread = np.where(rows["_volatile"], 0.9, 0.2)
    amount = rows["renda_bruta_anual_declarada"] * 0.4 * np.exp(rng.normal(0, spread))
    score = np.clip(rows["_score"] + rng.normal(0, 12, count), 0, 1000).astype(int)
    return rows | {
        "data_solicitacao": moment[order] + np.arange(count),
        "valor_solicitado_credito": 100 * np.maximum(10, np.round(amount / 100)),
        "finalidade_credito": pick(rng, PURPOSES, count),
        "serasa_score": with_nulls(score, rng.random(count) < 0.02),
        "ibama_autuacoes_ativas": rows["_fined"] ^ (rng.random(count) < 0.01),
        "versao_schema": np.full(count, "1.0", dtype=object),
        "origem_dados": pick(rng, CHANNELS, count),
        "timestamp_geracao_evento": moment[order] + np.arange(count) + rng.integers(200, 30_000, count),
    }


def risk(rows: Columns) -> Array:
    """The hidden truth: each request's probability of default."""
    burden = np.log(rows["valor_solicitado_credito"] / (0.4 * rows["renda_bruta_anual_declarada"]))
    crop = np.array([CROP_RISK.get(name, 0.0) for name in rows["cultura_principal"]])
    logit = (
        -2.6
        + 1.7 * (620 - rows["_score"]) / 150
        + 0.9 * burden
        + 1.2 * rows["_fined"]
        + 0.5 * rows["_volatile"]
        + rows["_region_risk"]
        + crop
    )
    chance: Array = 1 / (1 + np.exp(-logit))
    return chance


def plan_deliveries(rng: Generator, plan: Plan, slices: Array) -> Columns:
    """Which request goes into which file, and as what; `file` equal to `plan.files` is the damaged file.

    A late request arrives two to four files after its time, one delivered again one to three files after its time.
    """
    count, last = len(slices), plan.files - 1
    bad = rng.permutation(count)[: round(count * plan.bad)]
    corrupt = bad[: -(-len(bad) // 5)]
    good = np.setdiff1d(np.arange(count), bad)
    early = good[slices[good] < last] if last else good
    late = rng.permutation(early)[: round(count * plan.late)]
    again = rng.permutation(good)[: round(count * plan.duplicates)]
    kind = np.full(count, "good", dtype=object)
    kind[bad], kind[corrupt], kind[late] = "bad", "corrupt", "late"
    file = slices.copy()
    file[late] = np.minimum(file[late] + rng.integers(2, 5, len(late)), last)
    neighbours = np.maximum(corrupt - 1, 0)
    file[np.concatenate([corrupt, neighbours[kind[neighbours] == "good"]])] = plan.files
    repeats = np.where(np.arange(len(again)) % 2, "correction", "duplicate").astype(object)
    everything: Columns = {
        "request": np.concatenate([np.arange(count), again]),
        "file": np.concatenate([file, np.minimum(slices[again] + rng.integers(1, 4, len(again)), last)]),
        "kind": np.concatenate([kind, repeats]),
    }
    return take(everything, np.argsort(everything["file"], kind="stable"))


def make_records(rng: Generator, requests: Columns, deliveries: Columns) -> Columns:
    """One row per record to write: the requests as delivered, with their mistakes."""
    rows = take(requests, deliveries["request"]) | deliveries
    kind, reason = rows["kind"], np.full(len(rows["kind"]), "", dtype=object)
    corrected = rows["request"][kind == "correction"]
    slip = np.isin(rows["request"], corrected) & (kind != "correction")
    rows["valor_solicitado_credito"] = rows["valor_solicitado_credito"] * np.where(slip, 10, 1)
    delay = rng.integers(HOUR, 10 * DAY, len(kind)) * (kind == "correction")
    rows["timestamp_geracao_evento"] = rows["timestamp_geracao_evento"] + delay
    for number, (constraint, column, value) in enumerate(VIOLATIONS):
        chosen = np.flatnonzero(kind == "bad")[number :: len(VIOLATIONS)]
        rows[column][chosen], reason[chosen] = value, constraint
    damaged = np.flatnonzero(kind == "corrupt")
    reason[damaged] = np.resize(np.array(["invalid_text", "negative_length", "cut_record"], dtype=object), len(damaged))
    reason[damaged[-1:]] = "truncated"
    return rows | {"reason": reason}


def make_outcomes(rng: Generator, requests: Columns, delivered: Columns) -> Columns:
    """How each true request ended, in the order in which that became known, two to three months later."""
    true = np.unique(delivered["request"][~np.isin(delivered["kind"], ["bad", "corrupt"])])
    rows, count = take(requests, true), len(true)
    known = rows["data_solicitacao"] + rng.integers(60 * DAY, 90 * DAY, count)
    chance = risk(rows)
    outcomes = {
        **{name: rows[name] for name in ("proponente_id", "data_solicitacao")},
        "inadimplente": rng.random(count) < chance,
        "data_desfecho": known,
        "kind": np.full(count, "good", dtype=object),
        "reason": np.full(count, "", dtype=object),
        "_chance": chance,
    }
    return take(outcomes, np.argsort(known, kind="stable"))


def auc(chance: Array, happened: Array) -> float | None:
    """Probability that something that happened had the higher chance; None where all or nothing happened."""
    positives = int(happened.sum())
    pairs = positives * (len(happened) - positives)
    ranks = np.empty(len(chance))
    ranks[np.argsort(chance)] = np.arange(1, len(chance) + 1)
    return float((ranks[happened].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def summary(plan: Plan, delivered: Columns, outcomes: Columns) -> dict[str, Any]:
    """What was written; counts are records, except `requests`. `bad` includes `corrupt`, which cannot be decoded."""
    kinds = delivered["kind"].tolist()
    best = auc(outcomes["_chance"], outcomes["inadimplente"])
    return {
        "files": len(np.unique(delivered["file"])) + len(np.unique(outcomes["file"])),
        "requests": plan.rows,
        "records": len(kinds),
        "bad": kinds.count("bad") + kinds.count("corrupt"),
        **{name: kinds.count(name) for name in ("corrupt", "late", "duplicate", "correction")},
        "outcomes": len(outcomes["kind"]),
        "default_rate": round(float(outcomes["inadimplente"].mean()), 4) if len(outcomes["kind"]) else None,
        "best_auc": round(best, 4) if best is not None else None,
    }


def file_name(batch: int, number: int, damaged: bool) -> str:
    """lote-0001-000.avro, lote-0001-danificado.avro."""
    return f"lote-{batch:04d}-{'danificado' if damaged else f'{number:03d}'}.avro"


def write_files(folder: Path, batch: int, columns: Columns) -> None:
    """Write the rows of each file under a temporary name, then give it its own."""
    text = (HERE / "contracts" / f"{folder.name}.avsc").read_text(encoding="utf-8")
    contract = json.loads(text)
    encode = writer_of(contract)
    folder.mkdir(parents=True, exist_ok=True)
    for number in np.unique(columns["file"]).tolist():
        rows = take(columns, np.flatnonzero(columns["file"] == number))
        damaged = "corrupt" in rows["kind"]
        path = folder / file_name(batch, number, damaged)
        with path.with_suffix(".tmp").open("wb") as file:
            bodies = map(encode, records(contract, rows))
            if damaged:
                file.write(damaged_container(text, bodies, rows["reason"]))
            else:
                file.writelines(container(text, bodies, SYNC, block=1 << 18))
        path.with_suffix(".tmp").rename(path)


def records(contract: dict[str, Any], columns: Columns) -> Iterator[dict[str, Any]]:
    """Rows as the nested records of the contract; the columns stand side by side, by the names of the leaves."""
    names = [field["name"] for field in contract["fields"]]
    values = [
        records(field["type"], columns) if field["name"] not in columns else columns[field["name"]].tolist()
        for field in contract["fields"]
    ]
    return (dict(zip(names, row, strict=True)) for row in zip(*values, strict=True))


def damaged_container(schema: str, bodies: Iterator[bytes], reasons: Array) -> bytes:
    """A container with a block per record, some of them damaged; the last block is cut off in its middle."""
    damaged = (DAMAGES[reason](body) for body, reason in zip(bodies, reasons, strict=True))
    blocks = (framed(1, body, SYNC) for body in damaged)
    return b"".join([*container(schema, [], SYNC, block=1), *blocks])[: -len(SYNC) - 20]


def ledger_lines(source: str, batch: int, columns: Columns) -> Iterator[str]:
    """One JSON line per record written, in the order of files and rows; an outcome's has its hidden `chance`, too."""
    first = np.searchsorted(columns["file"], columns["file"])
    sequence = "timestamp_geracao_evento" if source == "dados_produtores" else "data_desfecho"
    lines = columns | {"row": np.arange(len(first)) - first, "sequence": columns[sequence]}
    keys = ("file", "row", "proponente_id", "data_solicitacao", "sequence", "kind", "reason")
    if "_chance" in lines:
        lines["chance"], keys = lines["_chance"], (*keys, "chance")
    damaged = set(columns["file"][columns["kind"] == "corrupt"].tolist())
    for row in zip(*(lines[key].tolist() for key in keys), strict=True):
        line = dict(zip(keys, row, strict=True))
        line["file"] = f"landing/{source}/{file_name(batch, line['file'], line['file'] in damaged)}"
        yield json.dumps(line, ensure_ascii=False) + "\n"
