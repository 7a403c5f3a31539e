"""No process makes a request that librdkafka answers with an abort after an outage."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGES = ("producer", "stream_monitor", "trainer", "driftline")
COORDINATOR_REQUEST = re.compile(
    r"\.(describe_consumer_groups|list_consumer_group_offsets|alter_consumer_group_offsets"
    r"|delete_consumer_groups|delete_consumer_group_offsets)\("
)
AT_A_START_ONLY = {"producer/permission.py"}
"""It asks once, without a timeout."""


def test_admin_clients_send_no_request_to_the_coordinator_of_a_group() -> None:
    """`producer.kafka_client.admin_client` has the reason."""
    root = Path(__file__).parents[2]
    using = {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if COORDINATOR_REQUEST.search(path.read_text())
    }
    assert using == AT_A_START_ONLY
