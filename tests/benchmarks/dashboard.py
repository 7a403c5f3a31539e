"""First paint of the dashboard with many models: ``python -m tests.benchmarks.dashboard``.

Redis is real, with closed windows and references of all models; alerts are given, without Kafka.
Chromium loads the first screen on loopback, warm; the paint is the browser's own measurement.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd
import uvicorn
from playwright.sync_api import Browser, sync_playwright
from redis import Redis

from driftline.dashboard.observation import Observation, PartitionPosition, TrainerView
from driftline.dashboard.observer import Observer
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.server import address_of, listen
from driftline.dashboard.web_app import web_app
from driftline.stack.temporary_folder import temporary_folder
from driftline.stack.valkey import Valkey
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.model import ModelState
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data
from stream_monitor.settings import Settings
from stream_monitor.state.codec import wrap
from stream_monitor.state.partition_state import KIND, STATE, profile_field
from stream_monitor.state.redis_store import partition_key
from stream_monitor.state_parts import encode_part
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow, window_key
from stream_monitor.worker_heartbeat import WorkerHeartbeat, workers_key
from tests.builders import alert

HOUR_MS: Final = 3_600_000
START_MS: Final = 1_700_000_000_000 // HOUR_MS * HOUR_MS
N_WINDOWS: Final = 24
TOPIC: Final = "driftline.events.v1"
MODEL_PART: Final = f"{STATE}model|{{}}|model"


def reference(n_features: int) -> ReferenceProfile:
    """The reference of a model with normal features."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({f"feature_{i:02}": rng.normal(0, 1, 2_000) for i in range(n_features)})
    return profile_from_data(profile_from_frame(frame, model="m", version="1"))


def windows_of(profile: ReferenceProfile, model: str, rng: random.Random) -> Iterator[ClosedWindow]:
    """Closed windows of a model, of which one feature drifts."""
    for i in range(N_WINDOWS):
        start_ms = START_MS + i * HOUR_MS
        features = {
            name: ClosedFeature(
                count=1_000,
                invalid=rng.randrange(3),
                bins=[rng.randrange(80, 120) for _ in feature.bin_counts],
                psi=0.01 * rng.random(),
                effect=0.01 * rng.random(),
                jensen_shannon=0.001,
                mean=rng.gauss(0, 0.1),
                sd=1.0,
                minimum=-3.0,
                maximum=3.0,
                wasserstein=0.02,
                ks=0.01,
                ks_p=0.5,
            )
            for name, feature in profile.features.items()
        }
        yield ClosedWindow(
            model=model,
            version="1",
            start_ms=start_ms,
            end_ms=start_ms + HOUR_MS,
            first_offset=i,
            last_offset=i,
            closed_offset=i,
            n_events=1_000,
            features=features,
        )


def fill(redis: Redis, n_models: int, n_features: int) -> list[str]:
    """Write the state of all models to Redis; returns their names."""
    rng = random.Random(2)  # noqa: S311
    profile = reference(n_features)
    names = [f"model-{i:03}" for i in range(n_models)]
    key = partition_key(TOPIC, 0)
    for name in names:
        mine = msgspec.structs.replace(profile, model=name)
        state = encode_part(ModelState({"1": 0}, [], []))
        redis.hset(key, MODEL_PART.format(name), wrap(KIND, state))
        redis.hset(key, profile_field(name, "1"), wrap(KIND, encode_part(mine)))
        redis.mset(
            {
                window_key("driftline", name, "1", window.start_ms): msgspec.json.encode(window)
                for window in windows_of(mine, name, rng)
            }
        )
    beat = WorkerHeartbeat(
        member="a", host="h", pid=1, time_ms=round(time.time() * 1000), partitions=[0]
    )
    redis.hset(workers_key(TOPIC), "a", msgspec.json.encode(beat))
    return names


class GivenAlerts(Observer):
    """An observer whose alerts are given, because no Kafka runs."""

    alerts: Final[list[DriftAlert]] = []

    def _from_kafka(self, seen: Observation) -> tuple[Observation, str]:
        position = PartitionPosition(
            partition=0, next=1, end=1, events=1, dead_lettered=0, clock_ms=seen.now_ms
        )
        trainer = TrainerView(time_ms=seen.now_ms, lag=0, jobs=0)
        return msgspec.structs.replace(
            seen, partitions=[position], alerts=self.alerts, trainer=trainer
        ), ""


def drift_of(name: str) -> DriftAlert:
    """An open episode of a model."""
    return alert(
        alert_id=f"a-{name}",
        episode_id=f"e-{name}",
        model=name,
        series="feature/feature_07",
        feature="feature_07",
        explanation="`feature_07`: mean 0 → 1 since 14 Nov 2023 22:00 UTC, all traffic.",
        onset_ms=START_MS,
        decided_ms=START_MS + HOUR_MS,
    )


def first_paints_ms(browser: Browser, address: str, n: int) -> tuple[list[float], int]:
    """First contentful paint of ``n`` loads after a warm one, in ms; and the bytes of the page."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    paints, size = [], 0
    for i in range(n + 1):
        page.goto(address, wait_until="load")
        found = page.evaluate(
            """() => new Promise((done) => {
              const read = () => {
                const paint = performance.getEntriesByName("first-contentful-paint")[0];
                if (!paint) { setTimeout(read, 10); return; }
                const [page] = performance.getEntriesByType("navigation");
                done([paint.startTime, page.decodedBodySize]);
              };
              read();
            })"""
        )
        if i:
            paints.append(float(found[0]))
            size = int(found[1])
    return paints, size


def main() -> None:
    """Fill Redis, serve, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=500)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--loads", type=int, default=9)
    args = parser.parse_args()
    with temporary_folder("stack") as folder:
        valkey = Valkey(Path(folder))
        valkey.start()
        redis = Redis.from_url(valkey.url)
        names = fill(redis, args.models, args.features)
        GivenAlerts.alerts.extend(drift_of(name) for name in names[: args.models // 10])
        settings = Settings(redis={"url": valkey.url})  # type: ignore[arg-type]
        observer = GivenAlerts(settings)
        observer.start()
        observer.wait_until_ready(60)
        app = web_app(ReadModel(observer, settings), place="benchmark", version="0")
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with sync_playwright() as playwright:
                program = shutil.which("chromium") or "/usr/bin/chromium"
                browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
                pages = {
                    "first screen": address_of(listener),
                    "model": f"{address_of(listener)}/model?name={names[0]}",
                }
                print(f"{args.models} models x {args.features} features")
                for what, address in pages.items():
                    paints, size = first_paints_ms(browser, address, args.loads)
                    print(
                        f"{what:<13} first paint {statistics.median(paints):5.0f} ms (median of "
                        f"{len(paints)}, worst {max(paints):.0f}), page {size:,} bytes"
                    )
                browser.close()
        finally:
            server.should_exit = True
            thread.join(10)
            observer.close()
            redis.close()
            valkey.stop()


if __name__ == "__main__":
    main()
