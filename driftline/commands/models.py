"""``driftline models``: what the registry holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Json
from driftline.commands.output import write_json, write_line
from producer.names import read_reference, reference_of

if TYPE_CHECKING:
    from trainer.registry.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="Model versions in the registry.")

Home: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--home", envvar="DRIFTLINE_TRAINER_HOME", help="Folder of the trainer and its registry."
    ),
]
DEFAULT_HOME = Path(".driftline")


@app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    home: Home = DEFAULT_HOME,
    *,
    as_json: Json = False,
) -> None:
    """The versions of each model, oldest first."""
    from trainer.registry.errors import RegistryError  # noqa: PLC0415 - light imports
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(home)
    try:
        models = registry.models() if model is None else [model]
        found = [manifest for name in models for manifest in registry.versions(name)]
    except RegistryError as error:
        raise Failure(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error
    named = {name: _aliases(home, name) for name in models}
    if as_json:
        write_json([summary(m) | {"aliases": _names(named, m)} for m in found])
        return
    if not found:
        write_line(f"no versions{'' if model is None else f' of {model}'} in {registry.folder}")
    for manifest in found:
        aliases = ", ".join(_names(named, manifest))
        write_line(line(manifest) + (f"  ({aliases})" if aliases else ""))


def _aliases(home: Path, model: str) -> dict[str, str]:
    import sqlite3  # noqa: PLC0415 - light imports

    from trainer.jobs.aliases import read_aliases  # noqa: PLC0415

    try:
        return read_aliases(home, model)
    except sqlite3.Error as error:
        raise Failure(
            "the trainer's file cannot be read", where=str(home), why=str(error)
        ) from error


def _names(named: dict[str, dict[str, str]], manifest: Manifest) -> list[str]:
    """The aliases of one version."""
    aliases = named[manifest.model].items()
    return [alias for alias, version in aliases if version == manifest.version]


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="MODEL@VERSION, MODEL@champion, MODEL@challenger, or MODEL for the newest version."
        ),
    ],
    home: Home = DEFAULT_HOME,
    *,
    as_json: Json = False,
) -> None:
    """Where a version came from, what it was fitted on, and how it did."""
    manifest = find(home, name)
    if as_json:
        write_json({**summary(manifest), "profile": manifest.profile})
        return
    told = summary(manifest)
    for key, value in told.items():
        write_line(f"{key:<16} {_shown(value)}")
    features = manifest.profile.get("features", {})
    write_line(f"{'features':<16} {', '.join(features) or 'none'}")


def find(home: Path, name: str) -> Manifest:
    """The version that a person means by ``model@version``, ``model@alias`` or ``model``.

    Raises:
        Failure: there is none, or its manifest cannot be read.
    """
    from trainer.registry.errors import NoSuchVersion, RegistryError  # noqa: PLC0415
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(home)
    model, version = read_reference(name)
    try:
        if version is not None:
            return registry.manifest(model, _aliases(home, model).get(version, version))
        return registry.newest(model)
    except NoSuchVersion as error:
        fix = "`driftline models list` shows what there is; --home says where to look"
        raise Failure("there is no such version", why=str(error), fix=fix, code=USAGE) from error
    except RegistryError as error:
        raise Failure(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error


def summary(manifest: Manifest) -> dict[str, Any]:
    """A version without its profile."""
    return {
        "model": manifest.model,
        "version": manifest.version,
        "stored": moment(manifest.time_ms),
        "artifact_sha256": manifest.artifact_sha256,
        "artifact_bytes": manifest.artifact_bytes,
        "factory": manifest.factory,
        "caused_by": manifest.caused_by,
        "training": manifest.training,
        "metrics": manifest.metrics,
        "libraries": manifest.libraries,
    }


def line(manifest: Manifest) -> str:
    """A version in one line."""
    metrics = " ".join(f"{name}={_shown(value)}" for name, value in manifest.metrics.items())
    return (
        f"{reference_of(manifest.model, manifest.version)}  {moment(manifest.time_ms)}  "
        f"{manifest.artifact_sha256[:12]}  {manifest.artifact_bytes / 1024:.0f} KiB  "
        f"by {manifest.caused_by}  {metrics}"
    ).rstrip()


def moment(time_ms: int) -> str:
    """A time in UTC, to the second.

    >>> moment(1384903980000)
    '2013-11-19T23:33:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
