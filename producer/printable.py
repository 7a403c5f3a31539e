"""Text of unknown origin for terminals, logs and pages: what is not printable is escaped.

Names and values come from events, and whoever writes events must not move the cursor of a person
who looks at them, forge a line, or let a name read as another one.
"""

from __future__ import annotations

from typing import Final

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that count as printable, and show nothing."""


def printable(text: str) -> str:
    r"""``text`` on one line, as it reads: every other character as a Python escape.

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
    r"""A JSON text, equal in value, whose strings hold nothing that is not printable.

    Newlines between its tokens stay.

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
