"""Writes the parts of the documents that follow from the code: `make docs`.

The code map of ARCHITECTURE.md comes from the first lines of the modules' docstrings;
docs/configuration.md and docs/driftline.toml from the settings and from docs/settings.toml; the
examples of docs/alerts.md from the recorded logs of the golden test.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
import tomllib
from pathlib import Path, PosixPath
from typing import Any

import msgspec
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from driftline.notify.settings import NotifySettings, RouteSettings, TargetSettings
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import WebSettings
from stream_monitor.windows.drift_level import DriftLimits
from tests.golden.behaviour import SPECS, fold, read
from trainer.evaluation.gate import Gate
from trainer.evaluation.version_swap import SwapPolicy
from trainer.fitting.results import FitLimits
from trainer.policy.retrain_policy import RetrainPolicy
from trainer.settings import RegistrySettings, TrainerSettings

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "docs" / "driftline.toml"
DESCRIPTIONS = ROOT / "docs" / "settings.toml"
ALERTS = ROOT / "docs" / "alerts.md"
PACKAGES = ("producer", "stream_monitor", "trainer", "driftline")
MAP_WIDTH = 110
MAP_MARKS = ("<!-- code map -->", "<!-- end of code map -->")
SETTINGS_MARKS = ("<!-- settings -->", "<!-- end of settings -->")
EXAMPLE_MARKS = ("<!-- examples -->", "<!-- end of examples -->")
EXAMPLES = {
    "data": "feature/age",
    "quality": "schema",
    "prediction": "prediction",
    "concept": "loss",
    "volume": "events",
    "labels": "labels",
    "coverage": "coverage/feature_not_comparable",
}
"""The series of the example of each kind."""
SECTIONS_OF_ONE_PROCESS = ("kafka", "redis", "topics", "web", "commit", "dead_letters", "watchdog")
TARGETS = "notify.targets.NAME"
ROUTES = "[notify.routes]"
REPEATED_SECTIONS = (TARGETS, ROUTES)
"""Sections that a file may have many times, or not; the sample has them as comments."""


def code_map() -> str:
    """Every module with the first line of its docstring, indented as the folders are."""
    return "\n".join(_map_of_package(package) for package in PACKAGES)


def _map_of_package(package: str) -> str:
    lines = [f"{package}/"]
    _map_folder(ROOT / package, 1, lines)
    return "```\n" + "\n".join(lines) + "\n```\n"


def _map_folder(folder: Path, depth: int, lines: list[str]) -> None:
    indent = "  " * depth
    lines.extend(
        _clipped(f"{indent + path.name:<28} {_first_line(path)}")
        for path in sorted(folder.glob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    )
    for below in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(below.rglob("*.py")):
            lines.append(f"{indent}{below.name}/")
            _map_folder(below, depth + 1, lines)


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return docstring.splitlines()[0].rstrip(".") if docstring else ""


def _clipped(line: str) -> str:
    """The line up to its last sign of punctuation, or word, within the width of the map."""
    if len(line) <= MAP_WIDTH:
        return line
    cut = max(line.rfind(sign, 0, MAP_WIDTH) for sign in (": ", ", ", "; ", " ("))
    return line[: cut if cut > MAP_WIDTH // 2 else line.rfind(" ", 0, MAP_WIDTH)]


def settings_by_section() -> dict[str, dict[str, Any]]:
    """The default of every setting, by section and name."""
    found: dict[str, dict[str, Any]] = {}
    for section in SECTIONS_OF_ONE_PROCESS:
        model = Settings.model_fields[section].annotation
        found[section] = _defaults_of_model(model)
    found["log"] = {"log_level": Settings.model_fields["log_level"].default}
    for field in msgspec.structs.fields(MonitorSpec):
        if isinstance(field.default, msgspec.Struct):
            found[field.name] = _defaults_of_struct(type(field.default))
    found["monitor"] = {
        name: default
        for name, default in _defaults_of_struct(MonitorSpec).items()
        if not isinstance(default, msgspec.Struct)
    }
    found["incidents"] = _defaults_of_struct(IncidentPolicy)
    found["psi"] = _defaults_of_struct(DriftLimits)
    trainer = _defaults_of_model(TrainerSettings)
    found["trainer"] = {
        name: trainer[name] for name in ("data_dir", "factories", "mode", "modes", "shards")
    }
    found["trainer.policy"] = _defaults_of_struct(RetrainPolicy)
    found["trainer.gate"] = _defaults_of_struct(Gate)
    found["trainer.swap"] = _defaults_of_struct(SwapPolicy)
    found["trainer.fit"] = _defaults_of_struct(FitLimits)
    found["trainer.registry"] = _defaults_of_model(RegistrySettings)
    found["trainer.web"] = _defaults_of_model(WebSettings)
    notify = _defaults_of_model(NotifySettings)
    found["notify"] = {
        name: default
        for name, default in notify.items()
        if name not in ("targets", "routes", "web")
    }
    found[TARGETS] = _defaults_of_model(TargetSettings)
    found[ROUTES] = _defaults_of_model(RouteSettings)
    found["notify.web"] = _defaults_of_model(WebSettings)
    return found


def _defaults_of_model(model: Any) -> dict[str, Any]:
    assert issubclass(model, BaseModel)
    return {
        name: None if field.default is PydanticUndefined else field.default
        for name, field in model.model_fields.items()
    }


def _defaults_of_struct(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.default for field in msgspec.structs.fields(struct)}


def descriptions() -> dict[str, dict[str, str]]:
    """What each setting means.

    Raises:
        ValueError: a setting has no description, or a description has no setting.
    """
    texts: dict[str, dict[str, str]] = tomllib.loads(DESCRIPTIONS.read_text("utf-8"))
    described = {section: set(names) - {"about"} for section, names in texts.items()}
    existing = {section: set(names) for section, names in settings_by_section().items()}
    if described != existing:
        differing = sorted(
            f"{section}.{name}"
            for section in described.keys() | existing.keys()
            for name in described.get(section, set()) ^ existing.get(section, set())
        )
        raise ValueError(f"docs/settings.toml and the settings differ in {', '.join(differing)}")
    return texts


def settings_tables() -> str:
    """One table for each section of the settings file."""
    texts = descriptions()
    parts = []
    for section, defaults in settings_by_section().items():
        heading = "At the top" if section == "log" else f"`[{section}]`"
        rows = [
            f"| `{name}` | {_shown(name, default)} | {texts[section][name]} |"
            for name, default in defaults.items()
        ]
        table = ["| setting | default | meaning |", "|---|---|---|", *rows]
        parts.append("\n".join([f"## {heading}", "", texts[section]["about"], "", *table, ""]))
    return "\n".join(parts)


def _shown(name: str, default: Any) -> str:
    if default is None:
        return "not set"
    return f"`{_toml(default)}`" + _duration(name, default)


def _duration(name: str, default: Any) -> str:
    if not name.endswith("_ms"):
        return ""
    for unit, length_ms in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if default >= length_ms and default % length_ms == 0 and default // length_ms > 1:
            return f" ({default // length_ms} {unit})"
    return (
        f" ({default / 3_600_000:g} h)" if default >= 3_600_000 else f" ({default / 60_000:g} min)"
    )


def _toml(value: Any) -> str:
    if isinstance(value, dict) and not value:
        return "{}"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, PosixPath):
        return json.dumps(str(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}"
    return json.dumps(value)


def sample() -> str:
    """A settings file with every setting at its default, as a comment."""
    texts = descriptions()
    lines = [
        "# A sample driftline.toml with every setting.  Remove the # of what you change.",
        "# Written by: make docs",
        "",
        '# log_level = "INFO"',
    ]
    for section, defaults in settings_by_section().items():
        if section == "log":
            continue
        is_repeated = section in REPEATED_SECTIONS
        head, indent = ("# ", "#   ") if is_repeated else ("", "# ")
        lines += ["", f"# {_plain(texts[section]['about'])}", f"{head}[{section}]"]
        for name, default in defaults.items():
            value = "is not set" if default is None else f"= {_toml(default)}"
            lines.append(f"{indent}{name} {value}")
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("`", "")


def alert_examples() -> str:
    """One alert of each kind, from the recorded logs of the golden test."""
    recordings = {
        recording.name: recording
        for path in sorted((ROOT / "tests" / "golden").glob("behaviour-*.msgpack.xz"))
        for recording in read(path)
    }
    alerts = [
        alert
        for name in ("law 3", "law 2")
        for alert in fold(SPECS["laws"], 0, recordings[name].records).alerts
    ]
    parts = []
    for kind, series in EXAMPLES.items():
        alert = next(
            alert
            for alert in alerts
            if alert["kind"] == kind and alert["series"] == series and alert["phase"] == "started"
        )
        text = json.dumps(alert, indent=1, ensure_ascii=False)
        parts.append(f"`{kind}`:\n\n```json\n{_filled(text)}\n```\n")
    return "\n".join(parts)


def _filled(text: str) -> str:
    fields = [line.strip() for line in text.splitlines()[1:-1]]
    filled = textwrap.fill(
        " ".join(field.replace(" ", "\0") for field in fields),
        100,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "{" + filled.replace("\0", " ").replace("\n", "\n ") + "}"


def between(text: str, marks: tuple[str, str], content: str) -> str:
    """The text with the part between two marks replaced."""
    before, rest = text.split(marks[0])
    return f"{before}{marks[0]}\n\n{content}\n{marks[1]}{rest.split(marks[1])[1]}"


def configuration() -> str:
    """docs/configuration.md with the settings of now."""
    return between(CONFIGURATION.read_text("utf-8"), SETTINGS_MARKS, settings_tables())


def main() -> None:
    """Write all that is generated."""
    text = between(ARCHITECTURE.read_text("utf-8"), MAP_MARKS, code_map())
    ARCHITECTURE.write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), "utf-8")
    CONFIGURATION.write_text(configuration(), "utf-8")
    SAMPLE.write_text(sample(), "utf-8")
    ALERTS.write_text(between(ALERTS.read_text("utf-8"), EXAMPLE_MARKS, alert_examples()), "utf-8")


if __name__ == "__main__":
    main()
