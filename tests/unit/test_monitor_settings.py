from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from driftline.cli.command_error import EXIT_USAGE, to_command_error
from driftline.notify.settings import Settings as NotifierSettings
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.runtime.credentials import faust_credentials
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import FileSettings, InvalidSetting
from trainer.settings import Settings as TrainerSettings


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without a settings file, and an environment without our names."""
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_any_setting_everything_is_on_loopback() -> None:
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.redis.url == "redis://127.0.0.1:6379/0"
    assert (settings.web.host, settings.web.port) == ("127.0.0.1", None)
    assert settings.topics.events == "driftline.events.v1"
    assert settings.topics.group == "driftline.monitor"
    assert settings.kafka.owner_timeout_ms == 30_000


@pytest.mark.parametrize("kind", [Settings, TrainerSettings, NotifierSettings])
def test_an_address_comes_from_argument_environment_file_default_in_this_order(
    kind: type[FileSettings], monkeypatch: pytest.MonkeyPatch, nowhere: Path
) -> None:
    """The exports of ``driftline up`` count in a folder whose file names other servers."""

    def address(**flags: Any) -> str:
        return kind.load(None, **flags).kafka.bootstrap_servers

    (nowhere / "driftline.toml").write_text(
        '[kafka]\nbootstrap_servers = "file:1, file:2"\nheartbeat_s = 2.0\n'
        '[redis]\nurl = "redis://file/0"\n'
    )
    assert kind().kafka.addresses() == ["file:1", "file:2"]
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    assert kind().kafka.addresses() == ["file:1", "file:2"]
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "common:1")
    assert address() == "common:1"
    assert kind().kafka.heartbeat_s == 2.0
    monkeypatch.setenv("DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS", "ours:1")
    assert address() == "ours:1"
    assert address(kafka={"bootstrap_servers": "flag:1"}) == "flag:1"

    monkeypatch.setenv("REDIS_URL", "redis://common/0")
    assert Settings().redis.url == "redis://common/0"
    monkeypatch.setenv("DRIFTLINE_REDIS__URL", "redis://ours/0")
    assert Settings().redis.url == "redis://ours/0"


def test_librdkafka_takes_anything_but_not_another_address(nowhere: Path) -> None:
    (nowhere / "driftline.toml").write_text(
        '[kafka.librdkafka]\n"security.protocol" = "SASL_SSL"\n"sasl.password" = "secret"\n'
    )
    settings = Settings()
    assert settings.kafka.client() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "sasl.password": "secret",
    }
    assert "secret" not in repr(settings)


@pytest.mark.parametrize("text", ["colour = 1\n", "[kafka]\nbroker = 'x'\n", "[web]\nport = -1\n"])
def test_an_unknown_key_or_a_value_out_of_range_is_an_error(nowhere: Path, text: str) -> None:
    (nowhere / "driftline.toml").write_text(text)
    with pytest.raises(ValidationError):
        Settings()


def test_an_unknown_field_of_the_core_is_named() -> None:
    with pytest.raises(ValueError, match=r"\[budget\] does not know false_alarms"):
        Settings(budget={"false_alarms": 2}).monitor_spec()


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({"span_ms": 1}, r"\[incidents\] does not know span_ms"),
        ({"min_series": 0}, r"\[incidents\] .*>= 1 - at `\$.min_series`"),
    ],
)
def test_the_incident_policy_is_a_setting(given: dict[str, int], reported: str) -> None:
    settings = Settings(incidents={"min_series": "3", "window_ms": 3_600_000})
    assert settings.incident_policy() == IncidentPolicy(min_series=3, window_ms=3_600_000)
    with pytest.raises(InvalidSetting, match=reported):
        Settings(incidents=given).incident_policy()


def test_a_wrong_setting_is_explained_to_a_person_whatever_the_command() -> None:
    with pytest.raises(InvalidSetting) as wrong:
        Settings(budget={"false_alerts": -1}).monitor_spec()
    assert to_command_error(wrong.value).code == EXIT_USAGE
    assert "false_alerts is a positive number" in to_command_error(wrong.value).text()


def test_a_warm_up_too_short_for_a_reference_is_rejected_at_start() -> None:
    with pytest.raises(ValueError, match=r">= 300 - at `\$.warm_up_events`"):
        Settings(monitor={"warm_up_events": 299}).monitor_spec()


def test_the_cores_sections_become_its_spec() -> None:
    spec = Settings(budget={"false_alerts": 2.0}, monitor={"warm_up_events": 500}).monitor_spec()
    assert spec.budget.false_alerts == 2.0
    assert spec.warm_up_events == 500


def test_the_group_uses_the_security_settings_of_librdkafka() -> None:
    assert faust_credentials({}) is None
    sasl = faust_credentials(
        {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "u",
            "sasl.password": "p",
        }
    )
    assert type(sasl).__name__ == "SASLCredentials"
    assert type(faust_credentials({"security.protocol": "ssl"})).__name__ == "SSLCredentials"
    with pytest.raises(ValueError, match="KERBEROS"):
        faust_credentials({"security.protocol": "KERBEROS"})
    with pytest.raises(ValueError, match="GSSAPI"):
        faust_credentials({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"})


def context_of(**settings: str) -> ssl.SSLContext:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    made: Any = faust_credentials({"security.protocol": "SSL", **named})
    context = made.context
    assert isinstance(context, ssl.SSLContext)
    return context


def test_a_broker_must_prove_its_identity_unless_that_is_switched_off() -> None:
    for settings in ({}, {"ssl__ca__location": "probe"}):
        context = context_of(**settings)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    for off in ("false", "False", "0", "f"):
        context = context_of(enable__ssl__certificate__verification=off)
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
    context = context_of(ssl__endpoint__identification__algorithm="NONE")
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize("name", ["ssl.cipher.suites", "ssl.keystore.location", "ssl.key.pem"])
def test_a_setting_of_tls_that_one_side_does_not_know_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: the membership in the group does not know it"):
        faust_credentials({"security.protocol": "SSL", name: "x"})


def test_dead_letters_stop_a_partition_only_with_a_limit(nowhere: Path) -> None:
    assert Settings().dead_letters.max_consecutive is None
    assert Settings().dead_letters.max_ratio is None
    (nowhere / "driftline.toml").write_text("[dead_letters]\nmax_consecutive = 1000\n")
    assert Settings().dead_letters.max_consecutive == 1000
