"""Settings and environment variables that were renamed: an old name is an error that names the new.

The monitor and the trainer read the same file and the same environment, so both reject every name
of these tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

RENAMED_SETTINGS: Final[Mapping[str, str]] = {
    "[commit] patience_s": "[commit] timeout_s",
    "[commit] share": "[commit] min_interval_factor",
    "[episodes] first_look_events": "[episodes] first_test_events",
    "[monitor] loss_warm_up": "[monitor] warm_up_labels",
    "[monitor] seen_chunks": "[monitor] dedup_window_chunks",
    "[monitor] segment_chunks": "[monitor] micro_batch_chunks",
    "[redis] on_loss": "[redis] on_state_loss",
    "[refusals]": "[dead_letters]",
    "[refusals] run": "[dead_letters] max_consecutive",
    "[refusals] share": "[dead_letters] max_ratio",
    "[refusals] window": "[dead_letters] window_records",
    "[trainer] home": "[trainer] data_dir",
    "[trainer.decision]": "[trainer.policy]",
    "[trainer.decision] holdout_share": "[trainer.policy] holdout_rows",
    "[trainer.fit] max_bytes": "[trainer.fit] max_memory_bytes",
    "[trainer.fit] max_seconds": "[trainer.fit] timeout_s",
    "[volume]": "[traffic]",
    "[volume] blind_ms": "[traffic] max_gap_ms",
    "[volume] slot_ms": "[traffic] bucket_ms",
    "[watchdog] stuck_s": "[watchdog] stall_timeout_s",
}
"""Old setting to new setting, in the form ``[section]`` or ``[section] key``."""

RENAMED_VARIABLES: Final[Mapping[str, str]] = {
    "DRIFTLINE_TRAINER_HOME": "DRIFTLINE_TRAINER_DATA_DIR"
}
"""Old to new environment variable, for variables that stand for an option of a command."""


def path_of(setting: str) -> tuple[str, ...]:
    """The keys that lead to a setting.

    >>> path_of("[trainer.fit] timeout_s"), path_of("[volume]")
    (('trainer', 'fit', 'timeout_s'), ('volume',))
    """
    section, _, key = setting.removeprefix("[").partition("]")
    return (*section.split("."), *key.split())


def variable_of(setting: str) -> str:
    """The environment variable of a setting.

    >>> variable_of("[trainer.fit] timeout_s")
    'DRIFTLINE_TRAINER__FIT__TIMEOUT_S'
    """
    return "DRIFTLINE_" + "__".join(path_of(setting)).upper()


def reject_renamed(given: Mapping[str, Any], environment: Mapping[str, str]) -> None:
    """Raise ValueError if a setting or a variable has a name of before; it names the new ones.

    ``given`` are the settings by section, ``environment`` the variables of the process.
    """
    found = [*_in_settings(given), *_in_environment(environment)]
    if found:
        raise ValueError("; ".join(f"{old} is now {new}" for old, new in found))


def _in_settings(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for old, new in RENAMED_SETTINGS.items():
        value: Any = given
        for key in path_of(old):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
        else:
            yield old, new


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Longest name first, so that a key of a renamed section gets the key's own new name."""
    names = {variable_of(old): variable_of(new) for old, new in RENAMED_SETTINGS.items()}
    for given in sorted(environment):
        if given.upper() in RENAMED_VARIABLES:
            yield given, RENAMED_VARIABLES[given.upper()]
        for old in sorted(names, key=len, reverse=True):
            if given.upper() == old or given.upper().startswith(f"{old}__"):
                yield given, names[old] + given.upper().removeprefix(old)
                break
