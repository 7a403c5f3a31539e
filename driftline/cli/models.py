"""``driftline models``: list the model versions in the registry, and show one of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from driftline.cli.command_error import EXIT_USAGE, CommandError
from driftline.cli.options import Json
from driftline.cli.output import write_json, write_line
from producer.names import parse_version_key, version_key

if TYPE_CHECKING:
    from trainer.jobs.comparisons import Standing
    from trainer.registry.manifest import Manifest

app = typer.Typer(no_args_is_help=True, help="Model versions in the registry.")

DataDir: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="DRIFTLINE_TRAINER_DATA_DIR",
        help="Folder with the trainer's database and the registry.",
    ),
]
DEFAULT_DATA_DIR = Path(".driftline")


@app.command("list")
def list_versions(
    model: Annotated[str | None, typer.Argument(help="Only this model.")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    *,
    as_json: Json = False,
) -> None:
    """List the versions of each model, the oldest first."""
    from trainer.registry.errors import RegistryError  # noqa: PLC0415 - light imports
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(data_dir)
    try:
        models = registry.models() if model is None else [model]
        found = [manifest for name in models for manifest in registry.versions(name)]
    except RegistryError as error:
        raise CommandError(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error
    named = {name: _aliases(data_dir, name) for name in models}
    if as_json:
        write_json([summary(m) | {"aliases": _names(named, m)} for m in found])
        return
    if not found:
        write_line(f"no versions{'' if model is None else f' of {model}'} in {registry.folder}")
    for manifest in found:
        aliases = ", ".join(_names(named, manifest))
        write_line(line(manifest) + (f"  ({aliases})" if aliases else ""))


def _aliases(data_dir: Path, model: str) -> dict[str, str]:
    import sqlite3  # noqa: PLC0415 - light imports

    from trainer.jobs.aliases import read_aliases  # noqa: PLC0415

    try:
        return read_aliases(data_dir, model)
    except sqlite3.Error as error:
        raise CommandError(
            "the trainer's database cannot be read", where=str(data_dir), why=str(error)
        ) from error


def _standing(data_dir: Path, manifest: Manifest) -> tuple[Standing | None, dict[str, float]]:
    """How a version compares with the champion, and the weights of the pool that it names."""
    import sqlite3  # noqa: PLC0415 - light imports

    from trainer.jobs.comparisons import read_pool_weights, read_standing  # noqa: PLC0415

    try:
        standing = read_standing(data_dir, manifest.model, manifest.version)
        pool, weights = read_pool_weights(data_dir, manifest.model) or ("", {})
    except sqlite3.Error as error:
        raise CommandError(
            "the trainer's database cannot be read", where=str(data_dir), why=str(error)
        ) from error
    return standing, weights if pool == manifest.version else {}


def _names(named: dict[str, dict[str, str]], manifest: Manifest) -> list[str]:
    """The aliases of one version."""
    aliases = named[manifest.model].items()
    return [alias for alias, version in aliases if version == manifest.version]


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="MODEL@VERSION, MODEL@champion, MODEL@challenger, or MODEL for its newest version."
        ),
    ],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    *,
    as_json: Json = False,
) -> None:
    """Show one version: its origin, training data and metrics, compared with the champion.

    Of a pool in service also its members and their weights.
    """
    manifest = find(data_dir, name)
    standing, weights = _standing(data_dir, manifest)
    if as_json:
        compared = None if standing is None else standing._asdict()
        shown = {"profile": manifest.profile, "comparison": compared, "members": weights}
        write_json({**summary(manifest), **shown})
        return
    training = dict(manifest.training)
    left_out, output = training.pop("left_out", {}), str(training.pop("fit_output", ""))
    for key, value in (summary(manifest) | {"training": training}).items():
        write_line(f"{key:<16} {_shown(value)}")
    for reason, rows in left_out.items():
        write_line(f"{'left out':<16} {rows:,} {reason}")
    for line_of_fit in output.splitlines():
        write_line(f"{'output of fit':<16} {line_of_fit}")
    if standing is not None:
        word = "lower" if standing.improvement > 0 else "higher"
        write_line(
            f"{'comparison':<16} over {standing.labelled_events:,} labelled events its loss is "
            f"{word} by {abs(standing.improvement):.4g} than that of the champion "
            f"{standing.champion} (wealth {standing.wealth:.3g})"
        )
    for member, weight in sorted(weights.items(), key=lambda one: -one[1]):
        write_line(f"{'member of pool':<16} version {member} with the weight {weight:.3f}")
    features = manifest.profile.get("features", {})
    write_line(f"{'features':<16} {', '.join(features) or 'none'}")


def find(data_dir: Path, name: str) -> Manifest:
    """The version named ``model@version``, ``model@alias`` or ``model`` (the newest).

    Raises:
        CommandError: there is no such version, or its manifest cannot be read.
    """
    from trainer.registry.errors import NoSuchVersion, RegistryError  # noqa: PLC0415
    from trainer.registry.registry import registry_of  # noqa: PLC0415

    registry = registry_of(data_dir)
    model, version = parse_version_key(name)
    try:
        if version is not None:
            return registry.manifest(model, _aliases(data_dir, model).get(version, version))
        return registry.newest(model)
    except NoSuchVersion as error:
        fix = "`driftline models list` shows the versions; --data-dir names the registry's folder"
        raise CommandError(
            f"the registry has no version {name!r}", why=str(error), fix=fix, code=EXIT_USAGE
        ) from error
    except RegistryError as error:
        raise CommandError(
            "the registry is damaged", where=str(registry.folder), why=str(error)
        ) from error


def summary(manifest: Manifest) -> dict[str, Any]:
    """The manifest of a version, without its profile."""
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
    """A version as one line."""
    metrics = " ".join(f"{name}={_shown(value)}" for name, value in manifest.metrics.items())
    return (
        f"{version_key(manifest.model, manifest.version)}  {moment(manifest.time_ms)}  "
        f"{manifest.artifact_sha256[:12]}  {manifest.artifact_bytes / 1024:.0f} KiB  "
        f"by {manifest.caused_by}  {metrics}"
    ).rstrip()


def moment(time_ms: int) -> str:
    """A time to the second, in UTC, as ISO 8601.

    >>> moment(1384903980000)
    '2013-11-19T23:33:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={_shown(inner)}" for name, inner in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
