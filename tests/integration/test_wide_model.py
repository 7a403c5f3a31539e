"""The profile of a model with many features: a record of more than a mebibyte."""

from __future__ import annotations

import signal

import msgspec
import numpy as np
import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from producer.events import MAX_EVENT_BYTES, InferenceEvent, Value
from producer.routing import topic_names
from producer.writer import DeliveryError, EventWriter
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from tests.builders import inference_event
from tests.integration.monitor_harness import START_MS, MonitorHarness, assert_undisturbed, until
from trainer.service.announce import announce, update_of

pytestmark = pytest.mark.kafka

N_FEATURES = 120


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    rng = np.random.default_rng(8)
    columns = {f"feature_{i}": rng.standard_normal(1_200) for i in range(N_FEATURES)}
    return fit_profile("wide", "1", columns, task="regression", origin="training")


def event(number: int) -> InferenceEvent:
    features: dict[str, Value] = {f"feature_{i}": (number + i) % 5 - 2.0 for i in range(N_FEATURES)}
    return inference_event(f"e{number}", features, model="wide", time_ms=START_MS)


@pytest.mark.long
def test_a_wide_model_is_watched_on_its_profile_and_after_a_restart(
    harness: MonitorHarness, profile: ReferenceProfile
) -> None:
    assert len(msgspec.json.encode(profile_to_data(profile))) > 1 << 20
    announce(harness.broker, profile, topic_prefix=harness.prefix)
    for n_records in (2, 3):
        monitor = harness.start()
        harness.produce("wide", [event(n_records)])
        until(lambda n=n_records: harness.drained(n), f"{n_records} records")  # type: ignore[misc]
        monitor.send_signal(signal.SIGTERM)
        assert monitor.wait(60) == 0

    assert not harness.found().dead_letters
    assert_undisturbed(harness)


def test_records_that_no_topic_accepts_are_rejected_before_they_are_sent(
    harness: MonitorHarness, profile: ReferenceProfile
) -> None:
    skipped = {"feature": "x" * MAX_EVENT_BYTES}
    too_wide = update_of(
        msgspec.structs.replace(profile, skipped=skipped), update_id="u", time_ms=0
    )
    writer = EventWriter(harness.broker, topic_prefix=harness.prefix)
    with pytest.raises(DeliveryError, match=r"a ModelUpdate of [\d,]+ bytes was not written"):
        writer.write(too_wide)


def test_a_topic_that_takes_less_is_named_as_the_reason(
    harness: MonitorHarness, profile: ReferenceProfile
) -> None:
    prefix = f"{harness.prefix}.small"
    small = NewTopic(topic_names(prefix).events, 1, 1, config={"max.message.bytes": "10000"})
    admin = AdminClient({**harness.client})
    admin.create_topics([small])[small.topic].result(20)

    with pytest.raises(DeliveryError, match=r"too large; `driftline topics plan`"):
        announce(harness.broker, profile, topic_prefix=prefix)
