"""The spool on disk: bounded, one owner a subfolder, and no error of the disk gets out."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.spool.disk_spool import DiskSpool, SpoolResult
from producer.spool.folder_lock import FolderLock, bytes_in
from producer.spool.segment_format import SpooledRecord, header, records_of

LARGE = 1 << 20


def records(n: int, size: int = 10) -> list[SpooledRecord]:
    return [SpooledRecord("t", b"k", "/s", f"{i:0{size}d}".encode()) for i in range(n)]


def drained(spool: DiskSpool) -> list[SpooledRecord | None]:
    found: list[SpooledRecord | None] = []
    while (segment := spool.oldest()) is not None:
        found += records_of(segment.read())
        spool.remove(segment)
    return found


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_touched_before_there_is_something_to_keep(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path / "spool", LARGE)
    spool.maintain(0)
    spool.close()

    assert list(tmp_path.iterdir()) == []


def test_what_was_kept_is_given_back_oldest_first_and_nothing_stays(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, 64 << 10)
    wanted = records(1_000, size=30)

    assert spool.write(wanted, 0) == SpoolResult(1_000)
    assert len(files(tmp_path)) > 5
    assert drained(spool) == wanted
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_the_cap_holds_and_the_newest_are_turned_away(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, 4_096)
    kept = spool.write(records(1_000), 0)

    assert 0 < kept.spooled < 1_000
    assert kept == SpoolResult(kept.spooled, full=1_000 - kept.spooled)
    assert bytes_in(tmp_path) <= 4_096
    assert drained(spool) == records(1_000)[: kept.spooled]
    assert spool.write(records(5), 0) == SpoolResult(5)  # there is room again


def test_the_cap_is_for_all_processes_of_the_folder(tmp_path: Path) -> None:
    one, other = DiskSpool(tmp_path, 4_096), DiskSpool(tmp_path, 4_096)
    assert one.write(records(1_000), 0).full > 0

    assert other.write(records(10), 0) == SpoolResult(0, full=10)


def test_a_record_larger_than_the_cap_is_turned_away(tmp_path: Path) -> None:
    assert DiskSpool(tmp_path, 100).write(records(1, size=200), 0) == SpoolResult(0, full=1)


def test_what_a_living_process_has_is_its_own_and_a_dead_one_s_is_taken_over(
    tmp_path: Path,
) -> None:
    one, other = DiskSpool(tmp_path, LARGE), DiskSpool(tmp_path, LARGE)
    one.write(records(3), 0)
    other.maintain(0)
    assert other.oldest() is None

    one.close()
    other.maintain(60)
    assert drained(other) == records(3)
    assert list(tmp_path.iterdir()) == []


def test_two_never_take_over_the_same(tmp_path: Path) -> None:
    dead = DiskSpool(tmp_path, LARGE)
    dead.write(records(3), 0)
    dead.close()
    one, other = DiskSpool(tmp_path, LARGE), DiskSpool(tmp_path, LARGE)
    one.maintain(0)
    other.maintain(0)

    assert other.oldest() is None
    assert drained(one) == records(3)


def test_a_tail_that_a_crash_tore_off_is_not_given_back(tmp_path: Path) -> None:
    dead = DiskSpool(tmp_path, LARGE)
    dead.write(records(3), 0)
    dead.close()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    spool = DiskSpool(tmp_path, LARGE)
    spool.maintain(0)

    assert drained(spool) == records(2)


def test_a_forked_child_leaves_the_files_and_the_lock_to_its_parent(tmp_path: Path) -> None:
    spool = DiskSpool(tmp_path, LARGE)
    spool.write(records(3), 0)
    child = os.fork()
    if child == 0:
        spool.close_in_child()
        mine = DiskSpool(tmp_path, LARGE)
        mine.maintain(0)
        os._exit(mine.oldest() is not None or mine.write(records(2), 0) != SpoolResult(2))
    assert os.waitpid(child, 0)[1] == 0

    assert drained(spool) == records(3)
    spool.maintain(0)  # the child is dead by now
    assert drained(spool) == records(2)


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A disk with so many bytes left; the last write is a short one, as POSIX has it."""
    left = [1 << 40]
    write = os.write

    def limited(handle: int, data: bytes) -> int:
        part = bytes(data)[: left[0]]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= len(part)
        return write(handle, part)

    monkeypatch.setattr(os, "write", limited)
    yield left
    monkeypatch.undo()


@pytest.mark.parametrize("room", [0, 5, len(header()), 100, 10_000])
def test_a_full_disk_is_told_and_what_was_begun_is_cut_off(
    tmp_path: Path, full_after: list[int], room: int
) -> None:
    spool = DiskSpool(tmp_path, LARGE)
    full_after[0] = room
    batches = [records(20) for _ in range(30)]
    kept = [spool.write(batch, 0) for batch in batches]
    failed = next(one for one in kept if one.failed)

    assert failed == SpoolResult(0, failed=20, error=failed.error)
    assert "No space left" in failed.error
    full_after[0] = 1 << 40
    assert spool.write(records(7), 0) == SpoolResult(7)
    n_spooled = sum(one.spooled for one in kept) // 20
    assert drained(spool) == [*itertools.chain(*batches[:n_spooled]), *records(7)]


def test_what_cannot_be_cut_off_is_still_not_given_back(
    tmp_path: Path, full_after: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = DiskSpool(tmp_path, LARGE)
    spool.write(records(5), 0)

    def refuse(_handle: int, _size: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "ftruncate", refuse)
    full_after[0] = 100
    assert spool.write(records(20), 0).failed == 20
    full_after[0] = 1 << 40
    assert spool.write(records(2), 0) == SpoolResult(2)

    assert drained(spool) == [*records(5), *records(2)]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    spool = DiskSpool(tmp_path / "spool", LARGE)
    spool.maintain(0)

    assert spool.write(records(2), 0).failed == 2
    assert spool.oldest() is None


def test_a_subfolder_removed_while_it_was_opened_is_not_ours(tmp_path: Path) -> None:
    claim = FolderLock.create(tmp_path)
    claim.release()

    assert FolderLock.try_acquire(claim.path) is None
