"""A plain scoring service as it is often written: FastAPI, a pydantic model, a forest loaded with joblib.

It looks nothing up, explains nothing and records nothing: the features of a farmer are a row of a matrix in memory.
"""

from __future__ import annotations

import os

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.inside.serving import NUMBERS, TEXTS

app = FastAPI()
pipeline, columns = joblib.load(os.environ["PEER_MODEL"])
pipeline.named_steps["randomforestclassifier"].set_params(n_jobs=int(os.environ["PEER_JOBS"]))
features = np.column_stack([np.asarray(columns[name], dtype=object) for name in (*NUMBERS, *TEXTS)])


class Pedido(BaseModel):
    id_proponente: str
    uf: str
    renda_liquida_mes: float
    valor_solicitado: float
    prazo: int


class Resposta(BaseModel):
    score: int
    probabilidade: float


@app.post("/score")
def score(pedido: Pedido) -> Resposta:
    row = features[int(pedido.id_proponente.rpartition("_")[2])].copy()
    row[0], row[1], row[-2] = pedido.renda_liquida_mes, pedido.valor_solicitado, pedido.uf
    probability = float(pipeline.predict_proba(row.reshape(1, -1))[0, 1])
    return Resposta(score=round(1000 * (1 - probability)), probabilidade=probability)


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PEER_PORT"]), log_level="error", access_log=False)
