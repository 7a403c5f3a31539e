"""Temporary folders that belong to one process, and are removed after it was killed.

Other users and programs share the folder for temporary files.  So only folders of this user with a
valid owner file are removed, and no link is followed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OWNER: Final = "owner.pid"
_MAX_PID_BYTES: Final = 32


@contextlib.contextmanager
def temporary_folder(purpose: str, *, keep_on_failure: bool = False) -> Iterator[Path]:
    """A folder ``driftline-PURPOSE-…`` that is removed at the end.

    Folders of killed processes are removed, too.  With ``keep_on_failure`` the folder is kept after
    an error, for inspection.

    Raises:
        OSError: there is no folder for temporary files, or it cannot be written.
    """
    prefix = f"driftline-{purpose}-"
    _remove_abandoned(prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    (folder / _OWNER).write_text(str(os.getpid()))
    try:
        yield folder
    except BaseException:
        if keep_on_failure:
            (folder / _OWNER).unlink(missing_ok=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(prefix: str) -> None:
    """Remove the folders of processes that have ended."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _is_abandoned(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    """Whether the entry is a folder of this user whose process has ended."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return False
        if entry.stat(follow_symlinks=False).st_uid != os.getuid():
            return False
        os.kill(_owner_of(entry.path), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False  # new, or of another program
    return False


def _owner_of(folder: str) -> int:
    """The id of the process that a folder belongs to; does not block on a FIFO, or follow a link.

    Raises:
        OSError: there is no owner file.
        ValueError: the file does not hold a process id.
    """
    handle = os.open(Path(folder) / _OWNER, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a file")
        owner = int(os.read(handle, _MAX_PID_BYTES))
    finally:
        os.close(handle)
    if owner <= 0:  # `kill` would address a group of processes
        raise ValueError("not a process id")
    return owner
