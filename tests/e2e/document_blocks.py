"""The fenced blocks of the documents, as units that run: a line of a shell, or a whole block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = tuple(
    sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    )
)
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND: Final = re.compile(r"(\$ |driftline |pip |docker |export |python |make |DRIFTLINE_)")
_COMMENT: Final = re.compile(r"\s+#.*$")


_NAME_CHARS: Final = 70


class Unit(NamedTuple):
    """A part of a document: its language, the begin of its first line, and all of it."""

    document: str
    language: str
    name: str
    text: str


def units_of(document: str) -> list[Unit]:
    """The lines of the blocks of commands, and the other blocks as a whole.

    In a block with prompts (``$``) the other lines are output.
    """
    found = []
    for language, text in _BLOCK.findall((ROOT / document).read_text("utf-8")):
        if language or not _COMMAND.match(text):
            name = next(line for line in text.splitlines() if line.strip())
            found.append(Unit(document, language, name.strip()[:_NAME_CHARS], text))
            continue
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
        if lines[0].startswith("$ "):
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            command = " ".join(_COMMENT.sub("", line).split())
            found.append(Unit(document, "", command, command))
    return found
