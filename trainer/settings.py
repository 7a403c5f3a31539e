"""Settings of the trainer's process: ``[kafka]``, ``[topics]`` and ``[trainer]``.

The trainer reads the same file as the monitor and ignores the monitor's own sections.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from stream_monitor.shared_settings import FileSettings, Section, WebSettings, spec_of_section
from trainer.evaluation.gate import Gate
from trainer.evaluation.version_swap import SwapPolicy
from trainer.fitting.results import FitLimits
from trainer.policy.retrain_policy import RetrainPolicy

Mode: TypeAlias = Literal["manual", "auto", "pool"]
"""``manual``: the trainer proposes a version, and a person promotes it.  ``auto``: it promotes.
``pool``: it promotes, and the weighted vote of the stored versions is served under its name."""


class RegistrySettings(Section):
    """The registry besides the folder: ``mlflow_uri`` is the address of an MLflow server."""

    mlflow_uri: str | None = Field(default=None, pattern=r"^https?://[^/]+", repr=False)


class TrainerSettings(Section):
    """The trainer's data, its models, and its rules.

    ``data_dir`` holds the registry and the database.  ``factories`` maps a model to the
    ``module:function`` that returns its unfitted estimator.  ``mode`` decides who promotes, for the
    models that ``modes`` does not name.  ``policy``, ``gate``, ``swap`` and
    ``fit`` take the fields of `RetrainPolicy`, `Gate`, `SwapPolicy` and `FitLimits`.
    """

    data_dir: Path = Path(".driftline")
    factories: dict[str, str] = Field(default_factory=dict)
    mode: Mode = "manual"
    modes: dict[str, Mode] = Field(default_factory=dict)
    shards: PositiveInt = 1
    policy: dict[str, Any] = Field(default_factory=dict)
    gate: dict[str, Any] = Field(default_factory=dict)
    swap: dict[str, Any] = Field(default_factory=dict)
    fit: dict[str, Any] = Field(default_factory=dict)
    registry: RegistrySettings = RegistrySettings()
    web: WebSettings = WebSettings()

    def retrain_policy(self) -> RetrainPolicy:
        """The retrain policy.  Raises InvalidSetting: a field is unknown, or does not fit."""
        return spec_of_section("trainer.policy", self.policy, RetrainPolicy)

    def gate_spec(self) -> Gate:
        """The gate's settings.  Raises InvalidSetting: a field is unknown, or does not fit."""
        return spec_of_section("trainer.gate", self.gate, Gate)

    def swap_policy(self) -> SwapPolicy:
        """The swap policy.  Raises InvalidSetting: a field is unknown, or does not fit."""
        return spec_of_section("trainer.swap", self.swap, SwapPolicy)

    def fit_limits(self) -> FitLimits:
        """The limits of a fit.  Raises InvalidSetting: a field is unknown, or does not fit."""
        return spec_of_section("trainer.fit", self.fit, FitLimits)


class Settings(FileSettings):
    """All settings of the trainer's process."""

    model_config = SettingsConfigDict(extra="ignore")

    trainer: TrainerSettings = Field(default_factory=TrainerSettings)
