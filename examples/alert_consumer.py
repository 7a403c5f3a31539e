"""Prints one line for each new episode: ``python alert_consumer.py BOOTSTRAP_SERVERS``.

Alerts arrive once, also where Kafka repeats them.  An alert is committed after its line is printed:
a crash prints a line twice rather than never.
"""

from __future__ import annotations

import sys

from driftline import DriftAlerts


def main(bootstrap_servers: str, topic_prefix: str = "driftline") -> None:
    """Print new episodes until the process is stopped."""
    for alert in DriftAlerts(bootstrap_servers, group="alert-printer", topic_prefix=topic_prefix):
        if alert.phase == "started":
            sys.stdout.write(
                f"{alert.severity:6} {alert.model}@{alert.version} {alert.explanation}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
