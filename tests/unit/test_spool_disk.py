"""The spool on disk: bounded, one owner a file, and no error of the disk is raised."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from producer.spool.disk_spool import DiskSpool, SpoolResult, bytes_in
from producer.spool.spool_file import SpooledRecord

LARGE = 1 << 20


def records(n: int, size: int = 10) -> list[SpooledRecord]:
    return [SpooledRecord("t", b"k", "/s", f"{i:0{size}d}".encode()) for i in range(n)]


def drained(spool: DiskSpool) -> list[SpooledRecord]:
    found: list[SpooledRecord] = []
    while (file := spool.oldest()) is not None:
        while (batch := file.first()) is not None:
            assert batch.n_damaged == 0
            found += batch.records
            file.remove(batch)
        spool.remove(file)
    return found


def test_nothing_is_touched_before_there_is_something_to_keep(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool", LARGE)
    spool.maintain(0)
    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_spooled_records_are_returned_oldest_first_and_removed(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, 16 << 20)
    wanted = records(1_000, size=10_000)

    assert spool.write(wanted) == SpoolResult(1_000)
    assert drained(spool) == wanted
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_the_cap_holds_and_the_newest_are_turned_away(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, 65_536)
    kept = spool.write(records(5_000))

    assert 0 < kept.spooled < 5_000
    assert kept == SpoolResult(kept.spooled, full=5_000 - kept.spooled)
    assert bytes_in(tmp_path) <= 65_536
    assert drained(spool) == records(5_000)[: kept.spooled]
    assert spool.write(records(5)) == SpoolResult(5)  # there is free space again


def test_the_cap_is_for_all_processes_of_the_folder(tmp_path: Path) -> None:
    one, other = DiskSpool(tmp_path, 65_536), DiskSpool(tmp_path, 65_536)
    assert one.write(records(5_000)).full > 0

    assert other.write(records(10)) == SpoolResult(0, full=10)


def test_other_files_in_the_folder_are_left_alone_and_do_not_count(tmp_path: Path) -> None:
    other = tmp_path / "model.sqlite"
    other.write_bytes(b"x" * 100_000)
    spool = DiskSpool(tmp_path, 65_536)

    assert spool.maintain(0) == ""
    assert spool.write(records(5)) == SpoolResult(5)
    assert other.read_bytes() == b"x" * 100_000


def test_a_record_larger_than_the_cap_is_turned_away(tmp_path: Path) -> None:
    assert DiskSpool(tmp_path, 100).write(records(1, size=200)) == SpoolResult(0, full=1)


def test_only_the_spool_of_an_ended_process_is_taken(tmp_path: Path) -> None:
    one, other = DiskSpool(tmp_path, LARGE), DiskSpool(tmp_path, LARGE)
    one.write(records(3))
    other.maintain(0)
    assert other.oldest() is None

    one.close()
    other.maintain(60)
    assert drained(other) == records(3)
    assert list(tmp_path.iterdir()) == []


def test_two_never_take_over_the_same(tmp_path: Path) -> None:
    dead = DiskSpool(tmp_path, LARGE)
    dead.write(records(3))
    dead.close()
    one, other = DiskSpool(tmp_path, LARGE), DiskSpool(tmp_path, LARGE)
    one.maintain(0)
    other.maintain(0)

    assert other.oldest() is None
    assert drained(one) == records(3)


def test_a_forked_child_leaves_the_files_and_the_lock_to_its_parent(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, LARGE)
    spool.write(records(3))
    child = os.fork()
    if child == 0:
        spool.close_in_child()
        mine = DiskSpool(tmp_path, LARGE)
        mine.maintain(0)
        os._exit(mine.oldest() is not None or mine.write(records(2)) != SpoolResult(2))
    assert os.waitpid(child, 0)[1] == 0

    assert drained(spool) == records(3)
    spool.maintain(0)  # the child is dead by now
    assert drained(spool) == records(2)


WRITER = """
import sys
from pathlib import Path
from producer.spool.disk_spool import DiskSpool
from producer.spool.spool_file import SpooledRecord
spool, n = DiskSpool(Path(sys.argv[1]), 1 << 30), 0
while True:
    batch = [SpooledRecord("t", b"k", "/s", str(i).encode()) for i in range(n, n + 200)]
    n += spool.write(batch).spooled
    print(n, flush=True)
"""


@pytest.mark.parametrize("n_reports", [1, 2, 20])
def test_records_written_by_a_killed_process_are_sent_in_order(
    tmp_path: Path, n_reports: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path], stdout=subprocess.PIPE) as dead:
        assert dead.stdout is not None
        n_reported = [int(dead.stdout.readline()) for _ in range(n_reports)][-1]
        dead.kill()
    heir = DiskSpool(tmp_path, 1 << 30)
    assert heir.maintain(0) == ""
    found = [int(record.value) for record in drained(heir)]

    assert found == list(range(len(found)))
    assert len(found) >= n_reported
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_file_bytes", [0, 100, 8_192, 20_000, 50_000])
def test_a_disk_that_fails_is_reported_and_half_a_batch_is_not_kept(
    tmp_path: Path, max_file_bytes: int
) -> None:
    spool = DiskSpool(tmp_path, LARGE)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, limits[1]))
    try:
        kept = [spool.write(records(20, size=500)) for _ in range(10)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    failed = next(one for one in kept if one.failed)

    assert failed == SpoolResult(0, failed=20, error=failed.error)
    assert "disk I/O error" in failed.error
    assert spool.write(records(7)) == SpoolResult(7)
    n_spooled = sum(one.spooled for one in kept) // 20
    assert drained(spool) == [*records(20, size=500) * n_spooled, *records(7)]
    assert list(tmp_path.iterdir()) == []


def test_a_corrupt_file_is_renamed_and_reported_and_the_others_are_sent(tmp_path: Path) -> None:
    for _ in range(2):
        dead = DiskSpool(tmp_path, LARGE)
        dead.write(records(3))
        dead.close()
    corrupt = min(tmp_path.iterdir())
    corrupt.write_bytes(b"x" * 20_000)
    spool = DiskSpool(tmp_path, LARGE)

    assert spool.maintain(0) == f"{corrupt}.corrupt: file is not a database"
    assert drained(spool) == records(3)
    assert spool.maintain(60) == ""
    assert [path.name for path in tmp_path.iterdir()] == [f"{corrupt.name}.corrupt"]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    spool = DiskSpool(tmp_path / "spool", LARGE)
    spool.maintain(0)

    assert spool.write(records(2)).failed == 2
    assert spool.oldest() is None
