"""Writes a file atomically."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_atomically(file: Path, data: bytes) -> None:
    """Write ``data`` so that a crash leaves the old file or the new one.

    Writes a temporary file in the same folder, syncs and renames it, and syncs the folder.  Missing
    folders are created.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
