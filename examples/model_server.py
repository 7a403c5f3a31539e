"""A FastAPI model server that serves the champion of ``churn`` and logs every prediction.

``KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 uvicorn model_server:app`` in this folder.  The environment
variable ``REGISTRY`` has the folder in which the trainer stores versions, by default
``.driftline/registry``; ``DRIFTLINE_TOPICS__PREFIX`` the prefix of the topics.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pandas as pd
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from driftline.serving import ChampionModel, NoChampion, ServedVersion
from producer import InferenceLogger

MODEL = "churn"


class Clients(TypedDict):
    """What the requests of one server process share."""

    champion: ChampionModel
    logger: InferenceLogger


class Customer(BaseModel):
    """A request: the features by name; a missing value is null, or left out."""

    features: dict[str, float | str | None]


class Outcome(BaseModel):
    """The ground truth of an earlier prediction: 1 if the customer has left."""

    id: str
    churned: int


@asynccontextmanager
async def clients(_: FastAPI) -> AsyncIterator[Clients]:
    """Start the clients when a server process starts, after its fork; send the rest at its end."""
    logger = InferenceLogger.from_env(model=MODEL, version="none")
    champion = ChampionModel(
        MODEL,
        bootstrap_servers=os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        registry=Path(os.environ.get("REGISTRY", ".driftline/registry")),
        topic_prefix=os.environ.get("DRIFTLINE_TOPICS__PREFIX", "driftline"),
    )
    with champion, logger:
        yield {"champion": champion, "logger": logger}


app = FastAPI(title=MODEL, lifespan=clients)


def served_version(request: Request) -> ServedVersion:
    """The version in service; without one the request is answered with status 503."""
    try:
        return request.state.champion.current()
    except NoChampion as none:
        raise HTTPException(503, str(none)) from none


@app.post("/predict")
def predict(customer: Customer, request: Request) -> dict[str, Any]:
    """Predict, and log the event under the version that predicted; `label` needs the ``id``."""
    serving = served_version(request)
    row = pd.DataFrame([customer.features]).reindex(columns=serving.estimator.feature_names_in_)
    probability = float(serving.estimator.predict_proba(row)[0, 1])
    event_id = request.state.logger.log(
        features=customer.features, prediction=probability, version=serving.version
    )
    return {"id": event_id, "version": serving.version, "probability": probability}


@app.post("/labels", status_code=202)
def label(outcome: Outcome, request: Request) -> None:
    """Log the ground truth, which may be known days later."""
    request.state.logger.label(id=outcome.id, label=outcome.churned)


@app.get("/health")
def health(request: Request) -> dict[str, Any]:
    """The version in service, and what became of the logged events; status 503 without a version.

    Kafka is no condition: without it the version in service stays, and events wait in the queue.
    """
    champion: ChampionModel = request.state.champion
    return {
        "version": served_version(request).version,
        "last_failure": champion.last_failure,
        "events": msgspec.to_builtins(request.state.logger.counters()),
    }
