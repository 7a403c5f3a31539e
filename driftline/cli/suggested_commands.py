"""Adds the options of the running command to the commands that messages suggest.

A command with ``--prefix staging`` suggests commands with ``--prefix staging``.
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
"""Options that select an installation of driftline."""
_COMMAND: Final = re.compile(r"\bdriftline((?: [a-z]+(?:-[a-z]+)*)+)")


def installation_options_in(arguments: Sequence[str]) -> dict[str, str]:
    """The `INSTALLATION_OPTIONS` among the arguments of a command line.

    A Redis URL with a password is left out, because messages are kept in logs.

    >>> installation_options_in(["doctor", "--prefix", "a", "--redis-url=redis://h/0", "--json"])
    {'--prefix': 'a', '--redis-url': 'redis://h/0'}
    """
    found: dict[str, str] = {}
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
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
    """``text`` with the ``given`` options added to each driftline command in it.

    ``command_options`` returns how many of the given words name a command, and the options of that
    command.

    >>> known = lambda words: (2, frozenset({"--prefix"})) if words[0] == "topics" else (0, set())
    >>> given = {"--prefix": "a b", "--data-dir": "h"}
    >>> add_installation_options("driftline topics create first", given, known)
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
    """The running command line: its root command and its arguments."""

    root: Any
    arguments: Sequence[str]


_INVOCATION: Final[ContextVar[Invocation | None]] = ContextVar("invoked", default=None)


def set_invocation(root: Any, arguments: Sequence[str]) -> None:
    """Store the command line of the running command."""
    _INVOCATION.set(Invocation(root, arguments))


def complete_commands(text: str) -> str:
    """``text`` with the options of the running command added to each command it suggests."""
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
