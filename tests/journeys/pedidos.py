"""A small project of orders for journeys: JSON lines in, silver by AUTO CDC, two views; personal data planted in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CANARY = "CANARIO"

SETTINGS = """
name: pedidos
ingest: {workers: 1}
sources:
  pedidos: {into: bronze.pedidos, contract: contracts/pedidos.avsc, files: landing/*.jsonl}
"""

PIPELINE = """
CREATE STREAMING TABLE silver.pedidos (
  CONSTRAINT valor_positivo EXPECT (valor > 0) ON VIOLATION DROP ROW
);
CREATE FLOW atualiza AS AUTO CDC INTO silver.pedidos
  FROM (SELECT id, lower(cpf) AS documento, uf, valor, versao FROM STREAM bronze.pedidos)
  KEYS (id) SEQUENCE BY versao;

CREATE MATERIALIZED VIEW gold.por_uf (
  CONSTRAINT poucos EXPECT (pedidos < 3) ON VIOLATION DROP ROW
) AS SELECT uf, count(*) AS pedidos, sum(valor) AS total FROM silver.pedidos GROUP BY uf;
"""

FIELDS = {
    "id": "string",
    "cpf": "string",
    "uf": "string",
    "valor": "long",
    "versao": "long",
}


def order(entry: str, *, uf: str | None = "SP", valor: object = 10, versao: int = 1) -> str:
    """One line of a file."""
    cpf = f"{CANARY}-{entry}"
    return json.dumps({"id": entry, "cpf": cpf, "uf": uf, "valor": valor, "versao": versao})


@dataclass(frozen=True)
class Pedidos:
    """The project in `folder`. No answer of a command may show personal data, but that of a query for it."""

    folder: Path
    datalab: Callable[..., Any]

    def create(self) -> Pedidos:
        self.write("datalab.yaml", SETTINGS)
        self.write("pipelines/pedidos.sql", PIPELINE)
        self.contract()
        return self

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def contract(self, **types: object) -> None:
        kinds = {**FIELDS, **types}
        fields = [
            {"name": name, "type": kind, **({"pii": "cpf"} if name == "cpf" else {})} for name, kind in kinds.items()
        ]
        text = json.dumps({"type": "record", "name": "pedido", "fields": fields})
        self.write("contracts/pedidos.avsc", text)

    def pipeline(self, old: str, new: str) -> None:
        path = self.folder / "pipelines" / "pedidos.sql"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def deliver(self, name: str, *lines: str) -> None:
        self.write(f"landing/{name}.jsonl", "".join(f"{line}\n" for line in lines))

    def __call__(self, *args: object, code: int = 0) -> Any:
        answer = self.datalab(*map(str, args), "--project", self.folder)
        assert answer.code == code, answer.err
        assert CANARY not in (answer.out + answer.err).upper()
        return answer

    def run(self, code: int = 0) -> Any:
        return self("run", "--json", code=code)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query, sorted."""
        answer = self.datalab("query", sql, "--limit", "0", "--json", "--project", self.folder)
        assert answer.code == 0, answer.err
        return sorted(tuple(row.values()) for row in answer.json)
