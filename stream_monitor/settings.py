"""Settings of the monitor: environment before ``driftline.toml`` before defaults.

``DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS`` is ``[kafka] bootstrap_servers``.
``KAFKA_BOOTSTRAP_SERVERS`` and ``REDIS_URL`` are heard when ours are not set.  A key nobody knows
is an error.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

if TYPE_CHECKING:
    from stream_monitor.core.spec import MonitorSpec
    from stream_monitor.episodes.incidents import IncidentPolicy

CONFIG_FILE = "driftline.toml"
_Spec = TypeVar("_Spec")
_RENAMED: Final = {
    "refusals": "[refusals] is [dead_letters] now: run is max_consecutive, share is max_ratio, "
    "window is window_records; without them no number of dead letters stops a partition"
}


def _variable(section: str) -> str:
    """How the environment's names of a section begin."""
    return f"DRIFTLINE_{section.upper()}__"


class InvalidSetting(ValueError):  # noqa: N818 - a finding, named for what it says
    """A setting that nobody knows, or a value that does not fit."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(_Section):
    """How to reach Kafka, and how the group behaves.  Durations in seconds.

    ``librdkafka`` passes anything on by librdkafka's names (``security.protocol``).  A worker that
    is silent for ``session_timeout_s``, or hangs in a batch for ``max_poll_interval_s``, loses its
    partitions.  A partition without a record for ``tick_after_s`` gets a tick.
    """

    bootstrap_servers: str = Field(
        default_factory=lambda: os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    )
    librdkafka: dict[str, str | int | float | bool] = Field(default={}, repr=False)
    session_timeout_s: PositiveFloat = 10.0
    heartbeat_s: PositiveFloat = 3.0
    rebalance_timeout_s: PositiveFloat = 30.0
    max_poll_interval_s: PositiveFloat = 60.0
    max_batch_records: PositiveInt = 4_000
    tick_after_s: PositiveFloat = 5.0

    def addresses(self) -> list[str]:
        """``host:port`` of every bootstrap server."""
        return [part.strip() for part in self.bootstrap_servers.split(",") if part.strip()]

    def client(self) -> dict[str, Any]:
        """What every librdkafka client is made with."""
        return {**self.librdkafka, "bootstrap.servers": self.bootstrap_servers}

    @property
    def owner_timeout_ms(self) -> int:
        """How long an owner may be silent before an older generation takes over."""
        return int(3 * self.session_timeout_s * 1000)


class RedisSettings(_Section):
    """Where state lives, and how long closed windows stay readable (30 days).

    Where Redis lost a partition, ``rebuild`` reads the log from its first record, and ``resume``
    begins without state where Kafka was told that we were.
    """

    url: str = Field(
        default_factory=lambda: os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), repr=False
    )
    window_ttl_ms: PositiveInt = 30 * 24 * 3_600_000
    on_state_loss: Literal["rebuild", "resume"] = "rebuild"


class TopicSettings(_Section):
    """Names of the topics and of the group: ``prefix`` and what DESIGN calls them."""

    prefix: str = Field(default="driftline", pattern=r"^[A-Za-z0-9.-]{1,100}$")

    @property
    def events(self) -> str:
        """The log."""
        return f"{self.prefix}.events.v1"

    @property
    def alerts(self) -> str:
        """What drift was found."""
        return f"{self.prefix}.alerts.v1"

    @property
    def dead_letters(self) -> str:
        """What was refused."""
        return f"{self.prefix}.dead-letters.v1"

    @property
    def group(self) -> str:
        """The monitor's consumer group."""
        return f"{self.prefix}.monitor"


class WebSettings(_Section):
    """Where health and metrics are served.

    Without a ``port`` the first free one from 8765 on is taken, which ``driftline status`` shows;
    0 takes any free one.  One that is set and in use is an error.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)


class CommitSettings(_Section):
    """How often state is committed, and how long a commit may stay without an answer."""

    interval_s: PositiveFloat = 0.25
    min_interval_factor: PositiveFloat = 10.0
    timeout_s: PositiveFloat = 60.0


class DeadLetterSettings(_Section):
    """How many dead letters stop a partition; without a limit none do.

    So many in a row, or a ratio of the last ``window_records``.
    """

    max_consecutive: PositiveInt | None = None
    max_ratio: PositiveFloat | None = Field(default=None, le=1.0)
    window_records: PositiveInt = 10_000


class WatchdogSettings(_Section):
    """How long a worker may stand still with records before it, until it is ended."""

    stall_timeout_s: PositiveFloat = 120.0


class Settings(BaseSettings):
    """All settings of a worker.

    The sections of the core (``budget`` to ``volume``) take the fields of the spec of the same
    name; `monitor_spec` checks them, and `incident_policy` those of ``[incidents]``.
    """

    model_config = SettingsConfigDict(
        env_prefix="DRIFTLINE_",
        env_nested_delimiter="__",
        toml_file=CONFIG_FILE,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    commit: CommitSettings = Field(default_factory=CommitSettings)
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    watchdog: WatchdogSettings = Field(default_factory=WatchdogSettings)
    log_level: str = "INFO"

    budget: dict[str, Any] = {}
    windows: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    episodes: dict[str, Any] = {}
    volume: dict[str, Any] = {}
    monitor: dict[str, Any] = {}
    incidents: dict[str, Any] = {}
    trainer: dict[str, Any] = {}
    """The trainer's, in the same file; `trainer.settings` checks them."""

    @model_validator(mode="before")
    @classmethod
    def _reject_old_names(cls, given: Any) -> Any:
        """A name of before is an error that says what it is called now."""
        for before, says in _RENAMED.items():
            variables = [name for name in os.environ if name.upper().startswith(_variable(before))]
            if before in given or variables:
                where = ", ".join(sorted(variables)) or f"[{before}]"
                raise ValueError(f"{where}: {says}")
        return given

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError("one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return level.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before environment before file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def monitor_spec(self) -> MonitorSpec:
        """What the core is built from.

        ``[monitor]`` holds the fields of `MonitorSpec` itself (``warm_up_events``), the other
        sections those of its parts.

        Raises:
            InvalidSetting: a field is unknown, or its value does not fit.
        """
        from stream_monitor.core.spec import MonitorSpec  # noqa: PLC0415

        data: dict[str, Any] = dict(self.monitor)
        for section in ("budget", "windows", "labels", "limits", "episodes", "volume"):
            data[section] = getattr(self, section)
        data["budget"] = _stated(self.budget)
        _reject_unknown("monitor", data, MonitorSpec)
        for field in msgspec.structs.fields(MonitorSpec):
            if isinstance(data.get(field.name), dict):
                _reject_unknown(field.name, data[field.name], field.type)
        return _checked("monitor", data, MonitorSpec)

    def incident_policy(self) -> IncidentPolicy:
        """What episodes belong together, for whoever reads the alerts.

        Raises:
            InvalidSetting: a field is unknown, or its value does not fit.
        """
        from stream_monitor.episodes.incidents import IncidentPolicy  # noqa: PLC0415

        _reject_unknown("incidents", self.incidents, IncidentPolicy)
        return _checked("incidents", self.incidents, IncidentPolicy)


def _checked(section: str, data: dict[str, Any], spec: type[_Spec]) -> _Spec:
    try:
        return msgspec.convert(data, spec, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"[{section}] {error}") from error


def _stated(budget: dict[str, Any]) -> dict[str, Any]:
    """The budget without what is ``None``, in one unit."""
    stated = {name: value for name, value in budget.items() if value is not None}
    if {"per_events", "per_weeks"} <= stated.keys():
        raise InvalidSetting(
            "[budget] states per_events and per_weeks; leave one of them out, in driftline.toml "
            "or in the environment"
        )
    return stated


def _reject_unknown(section: str, data: dict[str, Any], spec: Any) -> None:
    known = {field.name for field in msgspec.structs.fields(spec)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise InvalidSetting(
            f"[{section}] does not know {', '.join(unknown)}; it knows {sorted(known)}"
        )
