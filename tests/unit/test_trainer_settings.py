from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_monitor.settings import Settings as MonitorSettings
from trainer.policy.retrain_policy import DAY_MS
from trainer.service.context import context_from_settings
from trainer.settings import Settings

FILE = """
[kafka]
bootstrap_servers = "kafka:9092"
session_timeout_s = 20.0

[budget]
alerts = 1

[trainer]
data_dir = "models"
factories = { fraud = "shop.fraud:build" }

[trainer.policy]
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

    context = context_from_settings(Settings())
    MonitorSettings()

    assert context.kafka.bootstrap_servers == "kafka:9092"
    assert (context.data_dir, context.shards) == (Path("models"), 4)
    assert context.factories == {"fraud": "shop.fraud:build"}
    assert (context.policy.cooldown_ms, context.gate.min_events) == (DAY_MS, 300)
    assert context.gate.metric == "brier"


def test_an_unknown_setting_is_rejected_by_name() -> None:
    with pytest.raises(ValidationError, match="hoem"):
        Settings(trainer={"hoem": "models"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[trainer.policy\] does not know cooldown"):
        context_from_settings(Settings(trainer={"policy": {"cooldown": 1}}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_rows must be positive"):
        context_from_settings(Settings(trainer={"policy": {"max_rows": 0}}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Invalid enum value 'f1'"):
        context_from_settings(Settings(trainer={"gate": {"metric": "f1"}}))  # type: ignore[arg-type]
