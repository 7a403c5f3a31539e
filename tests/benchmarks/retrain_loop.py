"""The duration of the loop without the fit: from an alert to the new version's first answer.

    python -m tests.benchmarks.retrain_loop --rounds 5

A real Kafka, a real trainer in a process of its own, a model server that follows the champion.
Each round is a new installation.  The fit and the comparison, from the event ``started`` to the
event ``succeeded``, are the user's model and are taken off; reading the events is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import pandas as pd

from driftline.serving import ChampionModel
from driftline.stack import LocalStack
from tests.integration.read_topic import read_topic
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness, until
from trainer.contracts import RetrainEvent

WITHIN_S = 120.0


def loop_seconds(broker: str, data_dir: Path) -> tuple[float, float]:
    """One drift: the seconds from alert to answer, and those of fit and comparison among them."""
    stage = TrainerHarness(broker, data_dir)
    row = pd.DataFrame({"a": [0.5], "b": [0.5]})
    try:
        stage.publish(N_BEFORE, turned=False)
        stage.publish(N_AFTER, turned=True)
        partition = next(iter(stage.updates()))[0]
        stage.start()
        stage.alert(1, kind="quality", severity="low")
        until(lambda: stage.steps(1) == ["declined"])  # the trainer is there, and listens
        with ChampionModel(
            MODEL,
            bootstrap_servers=broker,
            registry=data_dir / "registry",
            topic_prefix=stage.prefix,
        ) as champion:
            champion.wait("1", timeout_s=WITHIN_S)
            stage.alert(2, partition=partition)
            received = time.perf_counter()
            champion.wait("2", timeout_s=WITHIN_S)
            champion.predict_proba(row)
            answered = time.perf_counter()
    finally:
        stage.close()
    return answered - received, fit_seconds(stage)


def fit_seconds(stage: TrainerHarness) -> float:
    """From ``started`` to ``succeeded``, by the broker's clock."""
    at: dict[str, int] = {}
    for message in read_topic(stage.broker, stage.topics.retrain):
        event = msgspec.json.decode(message.value() or b"", type=RetrainEvent)
        if event.caused_by == "alert-2":
            at.setdefault(event.step, message.timestamp()[1])
    return (at["succeeded"] - at["started"]) / 1000


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    without_fit: list[float] = []
    with LocalStack.start() as stack, tempfile.TemporaryDirectory() as folder:
        print("\n".join(stack.describe()), flush=True)
        for turn in range(rounds):
            total, fit = loop_seconds(stack.bootstrap_servers, Path(folder) / str(turn))
            without_fit.append(total - fit)
            print(f"round {turn + 1}: {total:.2f} s, {fit:.2f} s of them the fit", flush=True)
    print(
        json.dumps(
            {
                "rounds": rounds,
                "without_fit_seconds": {
                    "median": round(statistics.median(without_fit), 2),
                    "max": round(max(without_fit), 2),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
