"""Writes acknowledgements, snoozes and resolutions of episodes as command records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from producer.events import Command
from producer.ids import uuid7
from producer.writer import EventWriter

if TYPE_CHECKING:
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.settings import Settings

AlertAction: TypeAlias = Literal["acknowledge", "snooze", "resolve"]


class SnoozeTooLong(ValueError):  # noqa: N818 - names the finding
    """The monitor rejects a snooze of this length."""


def check_snooze(settings: Settings, until_ms: int, now_ms: int) -> None:
    """Check the length of a snooze, as the monitor will.

    Raises:
        SnoozeTooLong: the snooze is longer than ``[limits] max_snooze_ms``.
    """
    longest_ms = settings.monitor_spec().limits.max_snooze_ms
    if until_ms - now_ms > longest_ms:
        raise SnoozeTooLong(f"a snooze cannot last longer than {longest_ms / 3_600_000:g} h")


def write_alert_commands(
    settings: Settings,
    action: AlertAction,
    episodes: Sequence[DriftAlert],
    *,
    actor: str,
    reason: str,
    now_ms: int,
    until_ms: int | None = None,
    source: str = "/driftline/alerts",
) -> None:
    """Write one command for each episode, into the partition that the episode belongs to.

    ``episodes`` holds an alert of each episode.  ``until_ms`` is the end of a snooze.  ``source``
    names the program in the header ``ce_source``.

    Raises:
        DeliveryError: Kafka did not acknowledge a command.
    """
    writer = EventWriter(
        settings.kafka.bootstrap_servers,
        topic_prefix=settings.topics.prefix,
        source=source,
        librdkafka=settings.kafka.librdkafka,
    )
    for alert in episodes:
        command = Command(
            id=uuid7(now_ms),
            model=alert.model,
            action=action,
            episode=alert.episode_id,
            actor=actor,
            time_ms=now_ms,
            until_ms=until_ms,
            reason=reason,
        )
        writer.write(command, partition=alert.partition)
    writer.flush()
