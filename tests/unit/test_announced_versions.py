"""Which version is the champion, and which one is scored as shadow, by the models topic."""

from __future__ import annotations

import msgspec

from driftline.serving.champion import AnnouncedVersions
from driftline.topics.topic_reader import Record
from trainer.contracts import ModelVersion
from trainer.registry.manifest import Manifest
from trainer.service.version_records import stored_version_record, version_records


def record(key: str, version: str, time_ms: int = 0, *, model: str = "m") -> Record:
    value = ModelVersion(
        model=model, version=version, artifact_sha256="ab", time_ms=time_ms, caused_by="alert"
    )
    return raw(key, msgspec.json.encode(value))


def raw(key: str, value: bytes | None) -> Record:
    return Record(0, 0, None, value, key.encode())


def shadow_after(*records: Record) -> str | None:
    versions = AnnouncedVersions("m")
    versions.read(records)
    shadow = versions.shadow()
    return None if shadow is None else shadow.version


def test_the_newest_stored_version_other_than_the_champion_is_the_shadow() -> None:
    stored = [record("m@1", "1", 10), record("m@2", "2", 20), record("m@3", "3", 30)]

    assert shadow_after(*stored) is None  # nothing is in service yet
    assert shadow_after(*stored, record("m", "1", 40)) == "3"
    assert shadow_after(*stored, record("m", "3", 40)) == "2"


def test_a_deleted_version_is_no_shadow() -> None:
    stored = [record("m@1", "1", 10), record("m", "1", 10), record("m@2", "2", 20)]

    assert shadow_after(*stored) == "2"
    assert shadow_after(*stored, raw("m@2", None)) is None


def test_other_models_and_broken_records_are_skipped() -> None:
    stored = [record("m@1", "1", 10), record("m", "1", 10)]

    assert shadow_after(*stored, record("m2@9", "9", 90, model="m2"), raw("m@8", b"{")) is None
    assert shadow_after(*stored, record("m@9", "9", 90, model="m2")) is None


def test_the_last_record_of_a_batch_announces_the_champion() -> None:
    versions = AnnouncedVersions("m")

    announced = versions.read([record("m", "1"), record("m", "2"), raw("m", b"{")])

    assert announced is not None
    assert announced.version == "2"
    assert versions.read([record("m@3", "3")]) is None


def test_a_stored_version_is_announced_without_a_promotion_and_later_with_one() -> None:
    manifest = Manifest(
        model="m",
        version="2",
        artifact_sha256="ab",
        artifact_bytes=1,
        time_ms=0,
        factory="f:f",
        caused_by="alert",
        training={},
        metrics={},
        libraries={},
        profile={},
    )
    stored = stored_version_record("t", manifest, time_ms=20, caused_by="alert")
    promoted, pointer = version_records("t", manifest, time_ms=30, caused_by="alert")
    decoded = [
        msgspec.json.decode(one.value, type=ModelVersion) for one in (stored, promoted, pointer)
    ]

    assert [one.promoted for one in decoded] == [False, True, True]
    assert stored.key == promoted.key == "m@2"
    assert len({stored.id, promoted.id, pointer.id}) == 3  # the outbox sends each id once
    assert shadow_after(record("m", "1"), raw("m@2", stored.value)) == "2"
