"""Names of models, versions, features and segments: which are allowed, and how they enter keys.

A name is any Unicode text of 1 to 256 UTF-8 bytes without control characters and lone surrogates.
It is never normalised: two names that differ in a byte are two names.  Where a name becomes part
of a key (Redis, Kafka, a Prometheus label, a file, ``MODEL@VERSION``) it is escaped first, so that
different names never share a key, whatever separators they hold.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

MAX_NAME_BYTES: Final = 256
_MAX_FILE_CHARS: Final = 200  # a folder takes 255, and a writer adds its own ending
_HASH_CHARS: Final = 32


class InvalidName(ValueError):  # noqa: N818 - says what it is
    """Text that is no name; the message says which text, and what is wrong with it."""


class VersionKey(NamedTuple):
    """A model and, where it was written, its version."""

    model: str
    version: str | None


def invalid_name_reason(text: object) -> str | None:
    """What keeps a text from being a name; ``None``: it is one.

    >>> invalid_name_reason("mean radius (mm)"), invalid_name_reason("Größe/2"), invalid_name_reason("")
    (None, None, 'it is empty')
    >>> invalid_name_reason("a" + chr(10)), invalid_name_reason("x" * 257)
    ('it has the control character U+000A', 'it has 257 bytes in UTF-8, 256 are allowed')
    """
    if not isinstance(text, str):
        return f"it is no text but {type(text).__name__}"
    if not text:
        return "it is empty"
    if text.isascii() and text.isprintable():
        size = len(text)
    else:
        control = next((char for char in text if unicodedata.category(char) == "Cc"), None)
        if control is not None:
            return f"it has the control character U+{ord(control):04X}"
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            return "it has a lone surrogate, which is no character"
    if size > MAX_NAME_BYTES:
        return f"it has {size} bytes in UTF-8, {MAX_NAME_BYTES} are allowed"
    return None


def require_name(field: str, text: object) -> str:
    """The text, if it is a name.

    Raises:
        InvalidName: it is none.

    >>> require_name("model", "Kredit-Risiko €")
    'Kredit-Risiko €'
    """
    why = invalid_name_reason(text)
    if why is not None or not isinstance(text, str):
        raise InvalidName(f"{field}: {quoted(text)} is no name: {why}")
    return text


def quoted(text: object, max_chars: int = 64) -> str:
    """A text in quotes, in ASCII and of bounded length, whatever it holds.

    >>> print(quoted("a" * 100, 8))
    'aaaaaaaa'...
    """
    if not isinstance(text, str):
        return f"a {type(text).__name__}"
    return f"{text[:max_chars]!a}{'...' if len(text) > max_chars else ''}"


@lru_cache(maxsize=65_536)
def escape(name: str) -> str:
    """A name as part of a key: letters, digits and ``_.:-`` as they are, other bytes as ``%XX``.

    No two names have one escape, and none has a character that separates parts of a key.

    >>> escape("flights-late"), escape("mean radius (mm)"), escape("a/1"), escape("a%2F1")
    ('flights-late', 'mean%20radius%20%28mm%29', 'a%2F1', 'a%252F1')
    """
    return quote(name, safe=":").replace("~", "%7E")


def unescape(text: str) -> str:
    """The name behind an `escape`.

    >>> unescape(escape("50% @home/~x")) == "50% @home/~x"
    True
    """
    return unquote(text)


def escape_separators(text: str, separators: str) -> str:
    """A text as part of a key that people read: only ``separators`` and ``%`` are escaped.

    >>> escape_separators("mean radius (mm)", "~"), escape_separators("a~b", "~"), escape_separators("50%", "~")
    ('mean radius (mm)', 'a%7Eb', '50%25')
    """
    for char in f"%{separators}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def version_key(model: str, version: str) -> str:
    """``MODEL@VERSION``: one text for one version of one model.

    >>> version_key("flights-late", "3"), version_key("a@b", "1")
    ('flights-late@3', 'a%40b@1')
    """
    return f"{escape(model)}@{escape(version)}"


def parse_version_key(text: str) -> VersionKey:
    """``MODEL@VERSION`` or ``MODEL`` as a person writes it, or as `version_key` does.

    Only ``@`` and ``%`` in a name have to be escaped (``%40``, ``%25``).

    >>> parse_version_key("a%40b@1"), parse_version_key("mean radius@2"), parse_version_key("flights")
    (VersionKey(model='a@b', version='1'), VersionKey(model='mean radius', version='2'), \
VersionKey(model='flights', version=None))
    """
    model, at, version = text.rpartition("@")
    return (
        VersionKey(unescape(model), unescape(version)) if at else VersionKey(unescape(text), None)
    )


def file_name(name: str) -> str:
    """A name as that of a file: never a path, never hidden, never too long, never a clash.

    >>> file_name("flights-late"), file_name("../x"), file_name("a:b")
    ('flights-late', '%2E.%2Fx', 'a%3Ab')
    >>> file_name("ü" * 100)[:20], len(file_name("ü" * 100))
    ('%C3%BC%C3%BC%C3%BC%C', 200)
    """
    if not name:
        raise InvalidName("a file needs a name")
    escaped = escape(name).replace(":", "%3A")
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    return truncated_with_hash(escaped, name, _MAX_FILE_CHARS)


def is_truncated(file: str) -> bool:
    """Whether the name of a file ends in a hash, so that the name behind it does not read back.

    >>> is_truncated(file_name("x" * 256)), is_truncated(file_name("x~y"))
    (True, False)
    """
    return "~" in file


def truncated_with_hash(text: str, whole: str, max_chars: int) -> str:
    """ASCII ``text`` without ``~``, of at most so many characters: a longer one ends in a hash.

    >>> truncated_with_hash("abc", "abc", 40), truncated_with_hash("a" * 50, "a" * 50, 40)
    ('abc', 'aaaaaaa~160b4e433e384e05e537dc59b467f7cb')
    """
    if len(text) <= max_chars:
        return text
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_HASH_CHARS]
    return f"{text[: max_chars - 1 - _HASH_CHARS]}~{digest}"
