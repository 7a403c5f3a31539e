"""Settings of a monitor's worker; their sources are those of `stream_monitor.shared_settings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from stream_monitor.shared_settings import (
    FileSettings,
    InvalidSetting,
    Section,
    WebSettings,
    spec_of_section,
)

if TYPE_CHECKING:
    from stream_monitor.core.spec import MonitorSpec
    from stream_monitor.episodes.incidents import IncidentPolicy
    from stream_monitor.windows.drift_level import DriftLimits

OnStateLoss: TypeAlias = Literal["rebuild", "resume"]
"""What a worker does where Redis lost a partition's state.

``rebuild`` reads the event topic from its first record.  ``resume`` starts without state at the
offset that the consumer group committed to Kafka."""


class RedisSettings(Section):
    """The store of the state; closed windows stay readable for ``window_ttl_ms`` (30 days)."""

    url: str = Field(default="redis://127.0.0.1:6379/0", repr=False)
    window_ttl_ms: PositiveInt = 30 * 24 * 3_600_000
    on_state_loss: OnStateLoss = "rebuild"


class CommitSettings(Section):
    """The interval of commits, and the timeout of their answer."""

    interval_s: PositiveFloat = 0.25
    min_interval_factor: PositiveFloat = 10.0
    timeout_s: PositiveFloat = 60.0


class DeadLetterSettings(Section):
    """The limits on dead letters that stop a partition; without a limit, nothing stops it.

    ``max_consecutive`` is a number of records in a row, ``max_ratio`` a ratio of the last
    ``window_records``.
    """

    max_consecutive: PositiveInt | None = None
    max_ratio: PositiveFloat | None = Field(default=None, le=1.0)
    window_records: PositiveInt = 10_000


class WatchdogSettings(Section):
    """A worker that has records to process and makes no progress for so long is ended."""

    stall_timeout_s: PositiveFloat = 120.0


class Settings(FileSettings):
    """All settings of a worker.

    The sections of the core (``budget`` to ``traffic``) take the fields of the struct of the same
    name in `MonitorSpec`; ``incidents`` takes those of `IncidentPolicy`, ``psi`` those of
    `DriftLimits`.  `monitor_spec`, `incident_policy` and `drift_limits` check them.
    """

    redis: RedisSettings = Field(default_factory=RedisSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    commit: CommitSettings = Field(default_factory=CommitSettings)
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    watchdog: WatchdogSettings = Field(default_factory=WatchdogSettings)
    log_level: str = "INFO"

    budget: dict[str, Any] = Field(default_factory=dict)
    windows: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, Any] = Field(default_factory=dict)
    limits: dict[str, Any] = Field(default_factory=dict)
    episodes: dict[str, Any] = Field(default_factory=dict)
    traffic: dict[str, Any] = Field(default_factory=dict)
    monitor: dict[str, Any] = Field(default_factory=dict)
    incidents: dict[str, Any] = Field(default_factory=dict)
    psi: dict[str, Any] = Field(default_factory=dict)
    trainer: dict[str, Any] = Field(default_factory=dict)
    """The trainer's section of the same file; `trainer.settings` checks it."""
    notify: dict[str, Any] = Field(default_factory=dict)
    """The notifier's section of the same file; `driftline.notify.settings` checks it."""

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
            raise ValueError("one of DEBUG, INFO, WARNING, ERROR, CRITICAL")
        return level.upper()

    def monitor_spec(self) -> MonitorSpec:
        """The settings of the core.

        ``[monitor]`` holds the fields of `MonitorSpec` itself (``warm_up_events``), the other
        sections those of its parts.

        Raises:
            InvalidSetting: a field is unknown, or its value does not fit.
        """
        from stream_monitor.core.spec import MonitorSpec  # noqa: PLC0415

        values: dict[str, Any] = dict(self.monitor)
        for section in ("windows", "labels", "limits", "episodes", "traffic"):
            values[section] = getattr(self, section)
        values["budget"] = _in_one_unit(self.budget)
        return spec_of_section("monitor", values, MonitorSpec)

    def incident_policy(self) -> IncidentPolicy:
        """The rules that group episodes into incidents.

        Raises:
            InvalidSetting: a field is unknown, or its value does not fit.
        """
        from stream_monitor.episodes.incidents import IncidentPolicy  # noqa: PLC0415

        return spec_of_section("incidents", self.incidents, IncidentPolicy)

    def drift_limits(self) -> DriftLimits:
        """The effects from which a signal is at level warning or critical.

        Raises:
            InvalidSetting: a field is unknown, or its value does not fit.
        """
        from stream_monitor.windows.drift_level import DriftLimits  # noqa: PLC0415

        return spec_of_section("psi", self.psi, DriftLimits)


def _in_one_unit(budget: dict[str, Any]) -> dict[str, Any]:
    """The budget without the fields that are ``None``; raises InvalidSetting for two units."""
    stated = {name: value for name, value in budget.items() if value is not None}
    if {"per_events", "per_weeks"} <= stated.keys():
        raise InvalidSetting(
            "[budget] states per_events and per_weeks; leave one of them out, in driftline.toml "
            "or in the environment"
        )
    return stated
