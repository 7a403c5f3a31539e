"""The options of a command carried over to the commands that its messages suggest.

Who asked about ``--prefix staging`` is not helped by a fix for another cluster.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

INSTALLATION_OPTIONS: Final = (
    "--config",
    "--bootstrap-servers",
    "--redis-url",
    "--prefix",
    "--data-dir",
)
"""Options that say which installation is meant."""
_COMMAND: Final = re.compile(r"\bdriftline((?: [a-z]+(?:-[a-z]+)*)+)")


def installation_options_in(arguments: Sequence[str]) -> dict[str, str]:
    """The options among the words of a command line that say which installation is meant.

    A Redis URL with a password is left out: a message may be kept for long.

    >>> installation_options_in(["doctor", "--prefix", "a", "--redis-url=redis://h/0", "--json"])
    {'--prefix': 'a', '--redis-url': 'redis://h/0'}
    """
    found: dict[str, str] = {}
    for i, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name not in INSTALLATION_OPTIONS:
            continue
        if not equals:
            value = arguments[i + 1] if i + 1 < len(arguments) else ""
        if value and not (name == "--redis-url" and "@" in value):
            found[name] = value
    return found


def add_installation_options(
    text: str,
    given: Mapping[str, str],
    command_options: Callable[[Sequence[str]], tuple[int, frozenset[str]]],
) -> str:
    """``text`` with the ``given`` options behind each command of driftline in it.

    ``command_options`` answers how many of some words name a command, and which options that
    command has.

    >>> known = lambda words: (2, frozenset({"--prefix"})) if words[0] == "topics" else (0, set())
    >>> add_installation_options("driftline topics create first", {"--prefix": "a b", "--data-dir": "h"}, known)
    "driftline topics create --prefix 'a b' first"
    """

    def completed(match: re.Match[str]) -> str:
        words = match[1].split()
        n_words, options = command_options(words)
        if not n_words:
            return match[0]
        behind = text[match.end() :].split("`", maxsplit=1)[0]
        more = [
            f"{name} {shlex.quote(value)}"
            for name, value in given.items()
            if name in options and f"{name} " not in behind
        ]
        return " ".join(["driftline", *words[:n_words], *more, *words[n_words:]])

    return _COMMAND.sub(completed, text)


class Invocation(NamedTuple):
    """The command line that runs now: its root command, and the words behind it."""

    root: Any
    arguments: Sequence[str]


_INVOCATION: Final[ContextVar[Invocation | None]] = ContextVar("invoked", default=None)


def set_invocation(root: Any, arguments: Sequence[str]) -> None:
    """The command line begins to run."""
    _INVOCATION.set(Invocation(root, arguments))


def complete_commands(text: str) -> str:
    """``text`` with the options of the command that runs now behind each command it suggests."""
    invoked = _INVOCATION.get()
    if invoked is None:
        return text

    def command_options(words: Sequence[str]) -> tuple[int, frozenset[str]]:
        command: Any = invoked.root
        for i, word in enumerate(words):
            below = getattr(command, "commands", {}).get(word)
            if below is None:
                return i, _options(command)
            command = below
        return len(words), _options(command)

    return add_installation_options(
        text, installation_options_in(invoked.arguments), command_options
    )


def _options(command: Any) -> frozenset[str]:
    return frozenset(name for option in command.params for name in option.opts)
