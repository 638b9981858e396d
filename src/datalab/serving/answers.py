"""The form of the server's answers, for the API's schema. What is sent are plain values, tested against these forms."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Decision = Literal["APROVADO", "REVISAO_MANUAL", "NEGADO"]


class Form(BaseModel):
    """Base: nothing beyond what is declared."""

    model_config = ConfigDict(extra="forbid")


class Razao(Form):
    """Uma variável que moveu este resultado, contra o cliente de referência."""

    variavel: str
    rotulo: str
    efeito: float = Field(description="Diferença na probabilidade de inadimplência; acima de zero, aumentou o risco.")
    sentido: Literal["aumenta", "reduz"]
    texto: str


class Regra(Form):
    """Uma regra de política que tornou a decisão mais estrita."""

    nome: str
    texto: str
    decisao_minima: Decision


class Modelo(Form):
    """O modelo que respondeu."""

    nome: str
    versao: int
    desatualizado: bool = Field(description="O registro não confirma esta versão: responde a última que foi boa.")


class Momento(Form):
    """De quando são as features de uma visão, e de que snapshot da tabela gold."""

    momento: datetime
    snapshot: str


class Degradacao(Form):
    """Por que faltam features, e de que visões."""

    motivo: Literal["unknown_entity", "lookup_failed", "lookup_slow"]
    views: list[str]
    texto: str


class Resultado(Form):
    """Uma pontuação."""

    id_score: str
    score: int = Field(description="De 0 a 1000: quanto maior, menor o risco.")
    probabilidade_inadimplencia: float = Field(ge=0, le=1)
    decisao: Decision
    razoes: list[Razao]
    regras: list[Regra]
    modelo: Modelo
    momento: datetime
    features: dict[str, Momento | None]
    degradacao: Degradacao | None


class Lote(Form):
    """As pontuações de um lote, na ordem em que foram pedidas."""

    resultados: list[Resultado]


class Revisao(Form):
    """O que foi registrado de uma revisão."""

    id_score: str
    resultado: Literal["APROVADO", "NEGADO"]
    momento: datetime


class Recusa(Form):
    """Uma versão que o servidor não aceitou."""

    versao: int
    motivo: str
    momento: datetime


class Informacao(Form):
    """O modelo que está no ar, e o que foi recusado."""

    modelo: str | None
    versao: int | None
    desde: datetime | None
    manifesto: dict[str, Any] | None
    desatualizado: bool
    motivo: str | None
    trocas: int
    recusado: Recusa | None
    recusas: list[Recusa]


class Saude(Form):
    """O processo responde."""

    status: Literal["ok"]


class Pronto(Saude):
    """O que o projeto declara está no ar; sem modelo declarado, o servidor só recebe registros."""

    modelo: str | None
    versao: int | None


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str | None = None
    errors: list[dict[str, str]] | None = None
