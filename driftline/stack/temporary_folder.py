"""Temporary folders of our own: bounded to one process, and swept when it was killed.

The folder for temporary files may be shared with other users and programs: what is swept is a
folder of ours, with our owner's file in it, and nothing there is followed or waited for.
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
    """A folder ``driftline-PURPOSE-…``, removed at the end; those of killed owners go as well.

    With ``keep_on_failure`` it stays where the block raises, for people to look into.

    Raises:
        OSError: there is no folder for temporary files, or it takes no more.
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
    """Remove what a killed owner could not."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and _is_abandoned(entry):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder of this user whose owner is dead."""
    try:
        if not entry.is_dir(follow_symlinks=False):
            return False
        if entry.stat(follow_symlinks=False).st_uid != os.getuid():
            return False
        os.kill(_owner_of(entry.path), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False  # just being made, or none of ours
    return False


def _owner_of(folder: str) -> int:
    """The process that a folder belongs to.  A FIFO there blocks nobody, and no link is followed.

    Raises:
        OSError: there is no such file.
        ValueError: it holds no process id.
    """
    handle = os.open(Path(folder) / _OWNER, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError("not a file")
        owner = int(os.read(handle, _MAX_PID_BYTES))
    finally:
        os.close(handle)
    if owner <= 0:  # would be a whole group of processes
        raise ValueError("no process has this id")
    return owner
