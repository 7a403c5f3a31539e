"""Odd surroundings: shared temporary folders, users without a name, homes that cannot be used."""

from __future__ import annotations

import errno
import os
import pwd
import socket
import sqlite3
from pathlib import Path

import pytest

from driftline.cli.alert_actions import current_user
from driftline.cli.command_error import to_command_error
from driftline.stack.apache_kafka import libs_folder
from driftline.stack.temporary_folder import temporary_folder
from stream_monitor.shared_settings import WebSettings
from stream_monitor.web import PortInUse, check_port_free

NO_PROCESS = 2**22 + 1
"""Above the highest process id that Linux gives."""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def left(shared: Path, name: str, owner: str = str(NO_PROCESS)) -> Path:
    folder = shared / f"driftline-x-{name}"
    folder.mkdir()
    (folder / "owner.pid").write_text(owner)
    return folder


def test_the_folder_of_a_killed_process_is_removed(shared: Path) -> None:
    folder = left(shared, "dead")

    with temporary_folder("x") as ours:
        assert not folder.exists()
        assert ours.is_dir()
    assert not ours.exists()


def test_a_fifo_in_place_of_the_owner_file_does_not_block(shared: Path) -> None:
    folder = shared / "driftline-x-fifo"
    folder.mkdir()
    os.mkfifo(folder / "owner.pid")

    with temporary_folder("x"):
        assert folder.exists()


@pytest.mark.parametrize("owner", ["", "no number", "0", "-1", "1", "9" * 400])
def test_a_folder_whose_owner_is_unknown_or_lives_is_left_alone(shared: Path, owner: str) -> None:
    folder = left(shared, "foreign", owner)

    with temporary_folder("x"):
        assert folder.exists()


def test_links_and_files_of_that_name_are_left_alone(shared: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "owner.pid").write_text(str(NO_PROCESS))
    (shared / "driftline-x-link").symlink_to(elsewhere)
    (shared / "driftline-x-file").write_text("mine")

    with temporary_folder("x"):
        assert (elsewhere / "owner.pid").exists()
        assert (shared / "driftline-x-link").is_symlink()
        assert (shared / "driftline-x-file").exists()


def test_logs_of_a_failure_stay_for_people_and_are_not_swept(shared: Path) -> None:
    folders: list[Path] = []

    def fail() -> None:
        with temporary_folder("x", keep_on_failure=True) as folder:
            folders.append(folder)
            (folder / "log").write_text("why")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with temporary_folder("x"):
        assert (folders[0] / "log").read_text() == "why"
    assert folders[0].parent == shared


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uid without an entry in passwd, and no user name in the environment."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in (
        "HOME",
        "USER",
        "LOGNAME",
        "LNAME",
        "USERNAME",
        "XDG_CACHE_HOME",
        "DRIFTLINE_KAFKA_HOME",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nameless")
def test_a_user_without_a_name_acts_under_its_number() -> None:
    assert current_user() == f"uid-{os.getuid()}"


@pytest.mark.usefixtures("nameless")
def test_a_user_without_a_home_has_a_cache(shared: Path) -> None:
    assert libs_folder().is_relative_to(shared)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOTDIR, "the path is a file, not a folder"),
        (errno.EEXIST, "the path is a file, not a folder"),
        (errno.EACCES, "this user may not use the file"),
        (errno.EROFS, "the file system is read-only"),
        (errno.ENOSPC, "the disk is full"),
        (errno.ENOENT, "the file does not exist"),
        (errno.ENOMEM, "there is not enough memory"),
        (errno.ELOOP, "the operating system rejected a request"),
    ],
)
def test_a_path_that_cannot_be_used_is_named_with_a_fix(number: int, expected: str) -> None:
    found = to_command_error(OSError(number, os.strerror(number), "some/home"))

    assert (found.what, found.where) == (expected, "some/home")
    assert found.fix


def test_a_full_disk_and_missing_memory_have_a_message() -> None:
    database = to_command_error(sqlite3.OperationalError("database or disk is full"))
    memory = to_command_error(MemoryError())

    assert (database.what, database.why) == (
        "the trainer's database cannot be used",
        "database or disk is full",
    )
    assert memory.what == "there is not enough memory"
    assert all(found.fix for found in (database, memory))


def test_a_port_that_was_set_and_is_in_use_is_named_before_anything_starts() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        with pytest.raises(PortInUse, match=rf"port {port} of 127.0.0.1 is in use. Fix: "):
            check_port_free(WebSettings(port=port), "web")
        check_port_free(WebSettings(port=port, enabled=False), "web")
    check_port_free(WebSettings(), "web")
