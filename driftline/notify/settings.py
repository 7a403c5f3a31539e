"""Settings of the notifier's process: ``[kafka]``, ``[topics]``, ``[incidents]`` and ``[notify]``.

The notifier reads the same file as the monitor and ignores the monitor's own sections.  A secret is
never part of an error, of a log line or of a representation of the settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from driftline.notify.schedule import DailySpan, Schedule, minute_of_day, time_zone
from stream_monitor.contracts import Kind, Severity
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.shared_settings import (
    FileSettings,
    InvalidSetting,
    Section,
    WebSettings,
    spec_of_section,
)

TargetKind: TypeAlias = Literal["apprise", "alertmanager", "pagerduty"]
NoticeKind: TypeAlias = Literal[Kind, "health"]
"""The kind of an alert, or ``health`` for problems of driftline's own processes."""
PAGERDUTY_URL: Final = "https://events.pagerduty.com/v2/enqueue"


class TargetSettings(Section):
    """A target of messages, with its quiet hours and digest.

    ``url_file`` and ``secret_file`` name files that hold the value, as container platforms mount
    secrets.  Times of day are of ``timezone``.
    """

    kind: TargetKind = "apprise"
    url: SecretStr | None = None
    url_file: Path | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    resolved: bool = True
    quiet_hours: str | None = None
    quiet_except: Severity = "high"
    digest_at: str | None = None
    digest_below: Severity | None = None
    timezone: str = "UTC"

    @field_validator("quiet_hours")
    @classmethod
    def _is_span(cls, text: str | None) -> str | None:
        if text is not None:
            DailySpan.parse(text)
        return text

    @field_validator("digest_at")
    @classmethod
    def _is_time(cls, text: str | None) -> str | None:
        if text is not None:
            minute_of_day(text)
        return text

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, name: str) -> str:
        time_zone(name)
        return name

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("url and url_file are both set; leave one of them out")
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("secret and secret_file are both set; leave one of them out")
        if self.url is None and self.url_file is None and self.kind != "pagerduty":
            raise ValueError("url is missing; set url, or url_file for a file that holds it")
        if self.secret is None and self.secret_file is None and self.kind == "pagerduty":
            raise ValueError("secret is missing; set it to the integration key of PagerDuty")
        if (self.secret is not None or self.secret_file is not None) and self.kind == "apprise":
            raise ValueError("secret does not belong to an apprise target; its url holds it")
        if self.digest_below is not None and self.digest_at is None:
            raise ValueError("digest_below needs digest_at, or these incidents are never sent")
        return self

    def schedule(self) -> Schedule:
        """The quiet hours of the target, and the time of its digest."""
        return Schedule(
            zone=self.timezone,
            quiet_hours=None if self.quiet_hours is None else DailySpan.parse(self.quiet_hours),
            quiet_except=self.quiet_except,
            digest_minute=None if self.digest_at is None else minute_of_day(self.digest_at),
            digest_below=self.digest_below,
        )

    def read_url(self) -> str:
        """The URL of the target.

        Raises:
            InvalidSetting: the file of the URL cannot be read, or is empty.
        """
        return _read("url_file", self.url, self.url_file) or PAGERDUTY_URL

    def read_secret(self) -> str:
        """The secret of the target; empty without one.

        Raises:
            InvalidSetting: the file of the secret cannot be read, or is empty.
        """
        return _read("secret_file", self.secret, self.secret_file)


def _read(name: str, value: SecretStr | None, file: Path | None) -> str:
    if file is None:
        return "" if value is None else value.get_secret_value()
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"{name} {file} cannot be read ({error})") from error
    if not text:
        raise InvalidSetting(f"{name} {file} is empty")
    return text


class RouteSettings(Section):
    """A route of incidents to targets.  ``models`` are names, with ``*`` for any characters."""

    models: tuple[str, ...] = ("*",)
    kinds: tuple[NoticeKind, ...] = ()
    min_severity: Severity = "low"
    targets: tuple[str, ...] = ()


class NotifySettings(Section):
    """The targets, the routes to them, and the pace of messages."""

    data_dir: Path = Path(".driftline")
    dashboard_url: str = ""
    group_wait_s: NonNegativeFloat = 30.0
    update_interval_s: NonNegativeFloat = 60.0
    timeout_s: PositiveFloat = 15.0
    max_retry_interval_s: PositiveFloat = 300.0
    targets: dict[str, TargetSettings] = Field(default_factory=dict)
    routes: tuple[RouteSettings, ...] = ()
    web: WebSettings = WebSettings()

    @model_validator(mode="after")
    def _routes_lead_to_targets(self) -> Self:
        for number, route in enumerate(self.routes, start=1):
            unknown = sorted(set(route.targets) - self.targets.keys())
            if unknown or not route.targets:
                what = f"unknown targets {', '.join(unknown)}" if unknown else "no targets"
                known = ", ".join(sorted(self.targets)) or "none"
                raise ValueError(f"route {number} has {what}; [notify.targets] has: {known}")
        return self


class Settings(FileSettings):
    """All settings of the notifier's process."""

    model_config = SettingsConfigDict(extra="ignore")

    notify: NotifySettings = Field(default_factory=NotifySettings)
    incidents: dict[str, Any] = Field(default_factory=dict)

    def incident_policy(self) -> IncidentPolicy:
        """The rules that group episodes.  Raises InvalidSetting: a field is unknown."""
        return spec_of_section("incidents", self.incidents, IncidentPolicy)
