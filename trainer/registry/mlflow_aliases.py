"""Move the aliases of a registered model in MLflow to the trainer's versions.

The tag ``driftline.alias.<alias>`` has the version that was set here last, so an alias that
another user moved is recognised.  The alias is written before its tag: after a crash in between
the alias is right, and only the tag is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from trainer.registry.mlflow_client import errors_explained
from trainer.registry.mlflow_registry import MlflowRegistry, registered_name, stored_versions


class MovedAlias(NamedTuple):
    """An alias that another user changed in MLflow.

    ``found`` is the version that it names, ``MLflow version N`` where that is none of ours, empty
    where the alias was removed.  ``wanted`` is empty where no version should have the alias.
    """

    model: str
    alias: str
    found: str
    wanted: str


def set_aliases(
    registry: MlflowRegistry,
    model: str,
    wanted: Mapping[str, str],
    report_moved: Callable[[MovedAlias], None],
) -> None:
    """Set the aliases of a published model; a version that is not published has none.

    ``wanted`` is the version of each alias, empty where no version should have it.  An alias that
    another user changed is reported before it is set.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects a request.
    """
    client, name = registry.client, registered_name(model)
    with errors_explained(registry.uri):
        published = stored_versions(client, model)
        if not published:
            return
        numbers = {str(one.version): version for version, one in published.items()}
        there = client.get_registered_model(name)
        for alias, version in wanted.items():
            tag, target = f"driftline.alias.{alias}", published.get(version)
            number = there.aliases.get(alias)
            found = "" if number is None else numbers.get(str(number), f"MLflow version {number}")
            version_there = "" if target is None else version
            if found != version_there:
                if found != there.tags.get(tag, ""):
                    report_moved(MovedAlias(model, alias, found, version_there))
                if target is None:
                    client.delete_registered_model_alias(name, alias)
                else:
                    client.set_registered_model_alias(name, alias, target.version)
            if there.tags.get(tag, "") != version_there:
                client.set_registered_model_tag(name, tag, version_there)
