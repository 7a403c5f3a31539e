"""The settings of the notifier: where they come from, and that a secret is never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from driftline.notify.delivery import sender_of
from driftline.notify.settings import PAGERDUTY_URL, NotifySettings, Settings, TargetSettings
from stream_monitor.settings import Settings as MonitorSettings
from stream_monitor.shared_settings import InvalidSetting

TOML = """
[notify]
dashboard_url = "https://driftline.example"

[notify.targets.ops]
url = "json://127.0.0.1:1/hook"
quiet_hours = "22:00-07:00"

[[notify.routes]]
models = ["churn"]
kinds = ["data", "health"]
targets = ["ops", "pager"]
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_targets_come_from_the_file_and_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driftline.toml").write_text(TOML, "utf-8")
    (tmp_path / "key").write_text("the-routing-key\n", "utf-8")
    monkeypatch.setenv("DRIFTLINE_NOTIFY__TARGETS__PAGER__KIND", "pagerduty")
    monkeypatch.setenv("DRIFTLINE_NOTIFY__TARGETS__PAGER__SECRET_FILE", str(tmp_path / "key"))

    notify = Settings().notify

    assert notify.targets["ops"].read_url() == "json://127.0.0.1:1/hook"
    assert notify.targets["pager"].read_secret() == "the-routing-key"
    assert notify.targets["pager"].read_url() == PAGERDUTY_URL
    assert notify.routes[0].targets == ("ops", "pager")


def test_the_monitor_accepts_a_file_with_the_section_of_the_notifier(tmp_path: Path) -> None:
    (tmp_path / "driftline.toml").write_text("[notify]\ndashboard_url = 'x'\n", "utf-8")

    assert MonitorSettings().notify == {"dashboard_url": "x"}


def test_no_representation_of_the_settings_shows_a_secret() -> None:
    given = {"kind": "alertmanager", "url": "https://host/secret-path", "secret": "s3cret"}
    target = TargetSettings.model_validate({"url": "slack://token-a/token-b"})
    webhook = TargetSettings.model_validate(given)

    shown = repr([target, webhook]) + str(NotifySettings(targets={"a": target, "b": webhook}))

    for secret in ("token-a", "token-b", "secret-path", "s3cret"):
        assert secret not in shown


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({}, "url is missing"),
        ({"url": "a://b-secret", "url_file": "f"}, "both set"),
        ({"url": "a://b-secret", "secret": "b-secret"}, "does not belong to an apprise target"),
        ({"kind": "pagerduty"}, "integration key"),
        ({"url": "a://b-secret", "digest_below": "low"}, "needs digest_at"),
        ({"url": "a://b-secret", "quiet_hours": "night"}, "no part of a day"),
        ({"url": "a://b-secret", "digest_at": "25:00"}, "no time of the day"),
        ({"url": "a://b-secret", "timezone": "Mars"}, "no time zone"),
        ({"url": "a://b-secret", "urll": "x"}, "urll"),
    ],
)
def test_a_wrong_target_is_an_error_without_its_secret(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TargetSettings(**wrong)

    assert reason in str(caught.value)
    assert "b-secret" not in str(caught.value)


def test_a_route_to_an_unknown_target_is_an_error() -> None:
    given: dict[str, Any] = {
        "targets": {"ops": {"url": "json://127.0.0.1"}},
        "routes": [{"targets": ["opps"]}],
    }

    with pytest.raises(ValidationError, match=r"unknown targets opps.*has: ops"):
        NotifySettings(**given)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_file_of_a_secret_that_cannot_be_used_is_named(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_text(content, "utf-8")

    with pytest.raises(InvalidSetting, match=r"url_file .*url (cannot be read|is empty)"):
        TargetSettings(url_file=file).read_url()


@pytest.mark.parametrize(
    ("kind", "url"),
    [("apprise", "nosuchservice://very-secret"), ("alertmanager", "ftp://very-secret")],
)
def test_an_unsupported_url_is_an_error_without_the_url(kind: str, url: str) -> None:
    target = TargetSettings.model_validate({"kind": kind, "url": url})

    with pytest.raises(InvalidSetting) as caught:
        sender_of("ops", target, dashboard_url="", timeout_s=1)

    assert "[notify.targets.ops]" in str(caught.value)
    assert "very-secret" not in str(caught.value)
