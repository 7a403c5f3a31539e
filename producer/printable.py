"""Escape text from events for terminals, logs and web pages.

A producer of events must not be able to move a reader's cursor, forge a line, or make one name
look like another.
"""

from __future__ import annotations

from typing import Final

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that Python calls printable, but that show nothing."""


def printable(text: str) -> str:
    r"""Return ``text`` on one line, with every character that is not printable as a Python escape.

    Escaped are control characters (newlines, tabs, escape sequences), bidirectional overrides,
    zero-width characters, spaces other than the plain one, lone surrogates, unassigned characters.

    >>> printable("temp \x1b[2J\n"), printable("caf\u00e9 \u202egnp"), printable("plain")
    ('temp \\x1b[2J\\n', 'café \\u202egnp', 'plain')
    """
    if text.isprintable() and _BLANK.isdisjoint(text):
        return text
    return "".join(
        one
        if one.isprintable() and one not in _BLANK
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def printable_json(text: str) -> str:
    r"""Escape all characters of a JSON text that are not printable; its value stays the same.

    Newlines between tokens stay.

    >>> printable_json('{"a": "\u202e\x7f"}')
    '{"a": "\\u202e\\u007f"}'
    """
    if text.isprintable() and _BLANK.isdisjoint(text):
        return text
    return "".join(
        one
        if one == "\n" or (one.isprintable() and one not in _BLANK)
        else "".join(f"\\u{unit:04x}" for unit in _utf16(one))
        for one in text
    )


def _utf16(one: str) -> tuple[int, ...]:
    code = ord(one)
    if code < 0x10000:
        return (code,)
    return 0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)
