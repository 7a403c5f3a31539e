"""Validates names of models, versions, features and segments, and escapes them for keys.

A name is any Unicode text of 1 to 256 UTF-8 bytes without control characters and lone surrogates.
It is never normalised: names that differ in a byte are different.  A name is escaped before it
becomes part of a key (Redis, Kafka, a Prometheus label, a file, ``MODEL@VERSION``), so that
different names never share a key, whatever separators they contain.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

MAX_NAME_BYTES: Final = 256
_MAX_FILE_CHARS: Final = 200  # a file system allows 255, and a writer adds a suffix
_HASH_CHARS: Final = 32


class InvalidName(ValueError):  # noqa: N818 - a public name
    """Raised for a text that is not a valid name; the message has the text and the reason."""


class VersionKey(NamedTuple):
    """A model and its version; ``None`` if the text had none."""

    model: str
    version: str | None


def invalid_name_reason(text: object) -> str | None:
    """Return why a text is not a valid name; ``None`` if it is one.

    >>> invalid_name_reason("mean radius (mm)"), invalid_name_reason("")
    (None, 'it is empty')
    >>> invalid_name_reason("a" + chr(10)), invalid_name_reason("x" * 257)
    ('it has the control character U+000A', 'it has 257 bytes in UTF-8, 256 are allowed')
    """
    if not isinstance(text, str):
        return f"it is a {type(text).__name__}, not a text"
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
            return "it has a lone surrogate, which is not a character"
    if size > MAX_NAME_BYTES:
        return f"it has {size} bytes in UTF-8, {MAX_NAME_BYTES} are allowed"
    return None


def require_name(field: str, text: object) -> str:
    """Return the text if it is a valid name.

    Raises:
        InvalidName: it is not.

    >>> require_name("model", "Kredit-Risiko €")
    'Kredit-Risiko €'
    """
    why = invalid_name_reason(text)
    if why is not None or not isinstance(text, str):
        raise InvalidName(f"{field}: {quoted(text)} is not a valid name: {why}")
    return text


def quoted(text: object, max_chars: int = 64) -> str:
    """Return a text in quotes, in ASCII and of bounded length.

    >>> print(quoted("a" * 100, 8))
    'aaaaaaaa'...
    """
    if not isinstance(text, str):
        return f"a {type(text).__name__}"
    return f"{text[:max_chars]!a}{'...' if len(text) > max_chars else ''}"


@lru_cache(maxsize=65_536)
def escape(name: str) -> str:
    """Escape a name for a key: ASCII alphanumerics and ``_.:-`` stay, other bytes become ``%XX``.

    Different names have different escapes, and no escape contains a separator of keys.

    >>> escape("flights-late"), escape("mean radius (mm)"), escape("a/1"), escape("a%2F1")
    ('flights-late', 'mean%20radius%20%28mm%29', 'a%2F1', 'a%252F1')
    """
    return quote(name, safe=":").replace("~", "%7E")


def unescape(text: str) -> str:
    """Return the name that `escape` was called with.

    >>> unescape(escape("50% @home/~x")) == "50% @home/~x"
    True
    """
    return unquote(text)


def escape_separators(text: str, separators: str) -> str:
    """Escape only ``separators`` and ``%`` in a text, for keys that people read.

    >>> escape_separators("mean radius (mm)", "~"), escape_separators("a~b", "~")
    ('mean radius (mm)', 'a%7Eb')
    """
    for char in f"%{separators}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def version_key(model: str, version: str) -> str:
    """Return ``MODEL@VERSION``, which names one version of one model.

    >>> version_key("flights-late", "3"), version_key("a@b", "1")
    ('flights-late@3', 'a%40b@1')
    """
    return f"{escape(model)}@{escape(version)}"


def parse_version_key(text: str) -> VersionKey:
    """Parse ``MODEL@VERSION`` or ``MODEL``, as a person or `version_key` writes it.

    Only ``@`` and ``%`` in a name have to be escaped (``%40``, ``%25``).

    >>> parse_version_key("a%40b@1"), parse_version_key("flights")
    (VersionKey(model='a@b', version='1'), VersionKey(model='flights', version=None))
    """
    model, at, version = text.rpartition("@")
    return (
        VersionKey(unescape(model), unescape(version)) if at else VersionKey(unescape(text), None)
    )


def file_name(name: str) -> str:
    """Return a unique file name for a name: not a path, not hidden, and not too long.

    >>> file_name("flights-late"), file_name("../x"), file_name("a:b")
    ('flights-late', '%2E.%2Fx', 'a%3Ab')
    >>> file_name("ü" * 100)[:20], len(file_name("ü" * 100))
    ('%C3%BC%C3%BC%C3%BC%C', 200)
    """
    if not name:
        raise InvalidName("the name of a file is empty")
    escaped = escape(name).replace(":", "%3A")
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    return truncated_with_hash(escaped, name, _MAX_FILE_CHARS)


def is_truncated(file: str) -> bool:
    """Whether a file name ends in a hash, so that `unescape` cannot recover the name.

    >>> is_truncated(file_name("x" * 256)), is_truncated(file_name("x~y"))
    (True, False)
    """
    return "~" in file


def truncated_with_hash(text: str, whole: str, max_chars: int) -> str:
    """Shorten an ASCII text to ``max_chars``; a shortened one ends in the hash of ``whole``.

    >>> truncated_with_hash("abc", "abc", 40), truncated_with_hash("a" * 50, "a" * 50, 40)
    ('abc', 'aaaaaaa~160b4e433e384e05e537dc59b467f7cb')
    """
    if len(text) <= max_chars:
        return text
    digest = hashlib.sha256(whole.encode()).hexdigest()[:_HASH_CHARS]
    return f"{text[: max_chars - 1 - _HASH_CHARS]}~{digest}"
