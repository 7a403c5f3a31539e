from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_monitor.settings import Settings as MonitorSettings
from trainer.decision import DAY_MS
from trainer.runtime.bench import bench_of
from trainer.settings import Settings

FILE = """
[kafka]
bootstrap_servers = "kafka:9092"
session_timeout_s = 20.0

[budget]
alerts = 1

[trainer]
home = "models"
factories = { fraud = "shop.fraud:build" }

[trainer.decision]
cooldown_ms = 86400000
[trainer.gate]
min_events = 300
metric = "brier"
"""


def test_monitor_and_trainer_read_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driftline.toml").write_text(FILE, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTLINE_TRAINER__SHARDS", "4")

    bench = bench_of(Settings())
    MonitorSettings()

    assert bench.kafka.bootstrap_servers == "kafka:9092"
    assert (bench.home, bench.shards) == (Path("models"), 4)
    assert bench.factories == {"fraud": "shop.fraud:build"}
    assert (bench.spec.cooldown_ms, bench.gate.min_events) == (DAY_MS, 300)
    assert bench.gate.metric == "brier"


def test_a_setting_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="hoem"):
        Settings(trainer={"hoem": "models"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[trainer.decision\] does not know cooldown"):
        bench_of(Settings(trainer={"decision": {"cooldown": 1}}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_rows must be positive"):
        bench_of(Settings(trainer={"decision": {"max_rows": 0}}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Invalid enum value 'f1'"):
        bench_of(Settings(trainer={"gate": {"metric": "f1"}}))  # type: ignore[arg-type]
