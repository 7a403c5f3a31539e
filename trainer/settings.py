"""Settings of the trainer: environment before ``driftline.toml`` before defaults.

``DRIFTLINE_TRAINER__SHARDS`` is ``[trainer] shards``.  ``[kafka]`` and ``[topics]`` are those of
the monitor; what only the monitor needs is passed over here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from producer.routing import Topics, topic_names
from trainer.evaluation.gate import Gate
from trainer.fitting.results import FitLimits
from trainer.policy.retrain_policy import RetrainPolicy

CONFIG_FILE = "driftline.toml"
_Spec = TypeVar("_Spec", bound=msgspec.Struct)


class KafkaSettings(BaseModel):
    """How to reach Kafka; ``librdkafka`` passes anything on by librdkafka's names."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    bootstrap_servers: str = Field(
        default_factory=lambda: os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    )
    librdkafka: dict[str, str | int | float | bool] = Field(default={}, repr=False)

    def client(self) -> dict[str, Any]:
        """What every librdkafka client is made with."""
        return {**self.librdkafka, "bootstrap.servers": self.bootstrap_servers}


class TopicSettings(BaseModel):
    """The prefix of the topics."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    prefix: str = Field(default="driftline", pattern=r"^[A-Za-z0-9.-]{1,100}$")

    def names(self) -> Topics:
        """The topics by their full names."""
        return topic_names(self.prefix)


class WebSettings(BaseModel):
    """Where health and metrics are served.

    Without a ``port`` the first free one from 8785 on is taken, which ``driftline status`` shows;
    0 takes any free one.  One that is set and in use is an error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)


class TrainerSettings(BaseModel):
    """Where the trainer keeps what it knows, and what it trains.

    ``factories`` names the ``module:function`` of each model.  ``policy``, ``gate`` and ``fit``
    take the fields of `RetrainPolicy`, `Gate` and `FitLimits`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: Path = Path(".driftline")
    factories: dict[str, str] = {}
    shards: PositiveInt = 1
    policy: dict[str, Any] = {}
    gate: dict[str, Any] = {}
    fit: dict[str, Any] = {}
    web: WebSettings = WebSettings()

    def retrain_policy(self) -> RetrainPolicy:
        """When to retrain.  Raises ValueError: a field is unknown, or its value does not fit."""
        return _spec("trainer.decision", self.policy, RetrainPolicy)

    def gate_spec(self) -> Gate:
        """When to promote.  Raises ValueError: a field is unknown, or its value does not fit."""
        return _spec("trainer.gate", self.gate, Gate)

    def fit_limits(self) -> FitLimits:
        """What a fit may take.  Raises ValueError: a field is unknown, or does not fit."""
        return _spec("trainer.fit", self.fit, FitLimits)


class Settings(BaseSettings):
    """All settings of the trainer's process."""

    model_config = SettingsConfigDict(
        env_prefix="DRIFTLINE_",
        env_nested_delimiter="__",
        toml_file=CONFIG_FILE,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    trainer: TrainerSettings = Field(default_factory=TrainerSettings)

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


def _spec(section: str, data: dict[str, Any], spec: type[_Spec]) -> _Spec:
    known = sorted(field.name for field in msgspec.structs.fields(spec))
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ValueError(f"[{section}] does not know {', '.join(unknown)}; it knows {known}")
    try:
        return msgspec.convert(data, spec, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"[{section}] {error}") from error
