"""Settings that the monitor and the trainer share: their sections, their file, and its sources.

Both processes read ``driftline.toml``.  The environment comes before the file, and the file before
the defaults: ``DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS`` is ``[kafka] bootstrap_servers``.  After the
variables of driftline come ``KAFKA_BOOTSTRAP_SERVERS`` and ``REDIS_URL``, before the file, too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from producer.routing import Topics, topic_names
from stream_monitor.renamed_settings import reject_renamed

CONFIG_FILE = "driftline.toml"
USUAL_VARIABLES: Final = {
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka", "bootstrap_servers"),
    "REDIS_URL": ("redis", "url"),
}
"""Variables of the environment without driftline's prefix, and the settings that they fill."""
_Spec = TypeVar("_Spec", bound=msgspec.Struct)


class InvalidSetting(ValueError):  # noqa: N818 - names the finding
    """A setting is unknown, or its value does not fit."""


class Section(BaseModel):
    """A section of the settings file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KafkaSettings(Section):
    """The Kafka cluster, and the monitor's consumer group.  Durations in seconds.

    ``librdkafka`` holds further settings of the clients by librdkafka's names
    (``security.protocol``).  A worker without a heartbeat for ``session_timeout_s``, or in one
    batch for longer than ``max_poll_interval_s``, loses its partitions.  A worker that restarts
    under its ``group_instance_id`` within the session timeout gets its partitions back.  A
    partition without a record for ``tick_after_s`` gets a tick.
    """

    bootstrap_servers: str = "127.0.0.1:9092"
    librdkafka: dict[str, str | int | float | bool] = Field(default={}, repr=False)
    session_timeout_s: PositiveFloat = 10.0
    heartbeat_s: PositiveFloat = 3.0
    rebalance_timeout_s: PositiveFloat = 30.0
    max_poll_interval_s: PositiveFloat = 60.0
    max_batch_records: PositiveInt = 4_000
    tick_after_s: PositiveFloat = 5.0
    group_instance_id: str | None = None

    def addresses(self) -> list[str]:
        """``host:port`` of every bootstrap server."""
        return [part.strip() for part in self.bootstrap_servers.split(",") if part.strip()]

    def client(self) -> dict[str, Any]:
        """The configuration of a librdkafka client."""
        return {**self.librdkafka, "bootstrap.servers": self.bootstrap_servers}

    @property
    def owner_timeout_ms(self) -> int:
        """The silence (ms) after which a worker of an older generation may take over."""
        return int(3 * self.session_timeout_s * 1000)


class TopicSettings(Section):
    """The names of the topics and of the consumer group: all begin with ``prefix``."""

    prefix: str = Field(default="driftline", pattern=r"^[A-Za-z0-9.-]{1,100}$")

    def names(self) -> Topics:
        """The topics by their full names."""
        return topic_names(self.prefix)

    @property
    def events(self) -> str:
        """The event topic: predictions, labels, and notices for the monitor."""
        return self.names().events

    @property
    def alerts(self) -> str:
        """The topic of the drift alerts."""
        return self.names().alerts

    @property
    def dead_letters(self) -> str:
        """The topic of the rejected records."""
        return self.names().dead_letters

    @property
    def group(self) -> str:
        """The monitor's consumer group."""
        return f"{self.prefix}.monitor"


class WebSettings(Section):
    """The address that serves health and metrics.

    Without a ``port`` the process takes the first free one, from 8775 on for the monitor, 8785 for
    the trainer, 8795 for the notifier; ``driftline status`` shows them.  0 takes any
    free port.  A port that is set and in use is an error.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)


class UsualVariables(PydanticBaseSettingsSource):
    """Addresses in the variables that other programs read, too; an empty one is not set."""

    def __call__(self) -> dict[str, Any]:
        """The sections of the settings that these variables fill."""
        found: dict[str, Any] = {}
        for variable, (section, name) in USUAL_VARIABLES.items():
            value = os.environ.get(variable)
            if value and section in self.settings_cls.model_fields:
                found[section] = {name: value}
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """A section, its name, and that it is no JSON; ``None`` where no variable fills it."""
        del field
        return self().get(field_name), field_name, False


class FileSettings(BaseSettings):
    """Settings from arguments, before the environment, before ``driftline.toml``, before defaults.

    Raises:
        ValidationError: a setting is unknown, has a name of before, or its value does not fit.
        TOMLDecodeError: the file is not TOML.
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
    topics: TopicSettings = Field(default_factory=TopicSettings)

    @classmethod
    def load(cls, file: Path | None = None, **sections: Any) -> Self:
        """The settings with ``file`` in the place of ``driftline.toml``; ``sections`` go first."""
        if file is None:
            return cls(**sections)
        config = SettingsConfigDict(toml_file=file)
        from_file: type[Self] = type(cls.__name__, (cls,), {"model_config": config})
        return from_file(**sections)

    @model_validator(mode="before")
    @classmethod
    def _reject_renamed(cls, given: Any) -> Any:
        reject_renamed(given, os.environ)
        return given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        environment = env_settings, UsualVariables(settings_cls)
        return init_settings, *environment, TomlConfigSettingsSource(settings_cls)


def spec_of_section(section: str, values: dict[str, Any], spec: type[_Spec]) -> _Spec:
    """A section's values as the struct that the code works with.

    A value that is a table becomes the struct of the field of its name.

    Raises:
        InvalidSetting: a field is unknown, or its value does not fit.
    """
    _reject_unknown(section, values, spec)
    for field in msgspec.structs.fields(spec):
        is_struct = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        if is_struct and isinstance(values.get(field.name), dict):
            _reject_unknown(field.name, values[field.name], field.type)
    try:
        return msgspec.convert(values, spec, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidSetting(f"[{section}] {error}") from error


def _reject_unknown(section: str, values: dict[str, Any], spec: Any) -> None:
    known = {field.name for field in msgspec.structs.fields(spec)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidSetting(
            f"[{section}] does not know {', '.join(unknown)}; it knows {sorted(known)}"
        )
