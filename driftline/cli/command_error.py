"""Errors of commands: what failed, where, why, and how to fix it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from producer.printable import printable

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_CHECK_FAILED: Final = 3
EXIT_UNREACHABLE: Final = 4
EXIT_INTERRUPTED: Final = 130
DENIED: Final = "Kafka denies a permission"


class CommandError(Exception):
    """Ends a command with an exit code and an explanation.

    ``what`` names the failure, ``where`` the file, topic or server, ``why`` the cause, and ``fix``
    what the user can do; ``code`` is the exit code.
    """

    def __init__(
        self, what: str, *, where: str = "", why: str = "", fix: str = "", code: int = EXIT_FAILED
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.fix, self.code = what, where, why, fix, code

    def text(self) -> str:
        """The error as it is printed on stderr.

        >>> print(CommandError("Kafka does not answer", where="127.0.0.1:1", fix="start it").text())
        driftline: Kafka does not answer
          where  127.0.0.1:1
          fix    start it
        """
        parts = {"where": self.where, "why": self.why, "fix": self.fix}
        lines = [f"driftline: {printable(self.what)}"]
        for name, text in parts.items():
            # A message of a library or a process may have several lines: indent all but the first.
            for i, line in enumerate(text.split("\n") if text else ()):
                lines.append(f"  {'' if i else name:<6} {printable(line)}".rstrip())
        return "\n".join(lines)


class UsageError(CommandError):
    """Ends a command that was used in a wrong way, or with a wrong setting, with exit code 2."""

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, why=why, fix=fix, code=EXIT_USAGE)


def to_command_error(error: BaseException) -> CommandError:
    """Explain an exception of a library in terms of the command."""
    name = type(error).__name__
    for fits, explain in _CONVERSIONS:
        if fits(error):
            return explain(error)
    return CommandError(
        "an unexpected error occurred",
        why=f"{name}: {error}",
        fix="run the command with --debug, and report its output",
    )


_OS_ERRORS: Final[dict[int, tuple[str, str]]] = {
    errno.ENOENT: ("the file does not exist", "check the path"),
    errno.EACCES: ("this user may not use the file", "change its owner or its permissions"),
    errno.EPERM: ("this user may not use the file", "change its owner or its permissions"),
    errno.ENOTDIR: ("the path is a file, not a folder", "remove the file, or name another folder"),
    errno.EEXIST: ("the path is a file, not a folder", "remove the file, or name another folder"),
    errno.EISDIR: ("the path is a folder, not a file", "name a file"),
    errno.EROFS: ("the file system is read-only", "name a folder that can be written"),
    errno.ENOSPC: ("the disk is full", "free some space, or name a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or name another folder"),
    errno.ENOMEM: ("there is not enough memory", "give the process more memory"),
}


def _from_os_error(error: OSError) -> CommandError:
    """Explain an operating system error, with the path it is about."""
    where = str(error.filename) if error.filename is not None else ""
    known = _OS_ERRORS.get(error.errno or 0)
    if known is None:
        return CommandError(
            "the operating system rejected a request",
            where=where,
            why=error.strerror or str(error),
            fix="run the command with --debug to see where",
        )
    what, fix = known
    code = EXIT_FAILED if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM) else EXIT_USAGE
    return CommandError(what, where=where, why=error.strerror or str(error), fix=fix, code=code)


def _from_sqlite_error(error: BaseException) -> CommandError:
    """Explain an error of the trainer's SQLite file."""
    return CommandError(
        "the trainer's database cannot be used",
        why=str(error),
        fix="give --data-dir a folder that this user can write, on a disk with free space",
    )


def _from_redis_error(error: BaseException) -> CommandError:
    from stream_monitor.state.redis_store import misconfiguration  # noqa: PLC0415 - light imports

    wrong = misconfiguration(error)
    if wrong is not None:
        why, _, fix = str(wrong).partition(" Fix: ")
        return CommandError("Redis cannot hold driftline's state", why=why, fix=fix)
    return CommandError(
        "Redis does not answer, or rejected the request",
        why=str(error),
        fix="check --redis-url or REDIS_URL; `driftline doctor` checks the connection",
        code=EXIT_UNREACHABLE,
    )


def _from_kafka_error(error: BaseException) -> CommandError:
    cause = error.args[0] if error.args else error
    why = cause.str() if hasattr(cause, "str") else str(cause)
    if hasattr(cause, "name") and cause.name().endswith("_AUTHORIZATION_FAILED"):
        from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

        return CommandError(DENIED, why=why, fix=PERMISSIONS_FIX, code=EXIT_UNREACHABLE)
    if hasattr(cause, "name") and cause.name() == "_INVALID_ARG":
        return UsageError(
            "a setting of the Kafka client is invalid",
            why=why,
            fix="see [kafka.librdkafka] in driftline.toml, or DRIFTLINE_KAFKA__LIBRDKAFKA",
        )
    return CommandError(
        "Kafka does not answer, or rejected the connection",
        why=why,
        fix="check --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; `driftline doctor` checks the "
        "connection",
        code=EXIT_UNREACHABLE,
    )


def _from_missing_topic(error: BaseException) -> CommandError:
    return CommandError(str(error), fix="driftline topics create")


def _from_delivery_error(error: BaseException) -> CommandError:
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    why = str(error)
    if "no permission" in why:
        return CommandError(DENIED, why=why, fix=PERMISSIONS_FIX, code=EXIT_UNREACHABLE)
    return CommandError(
        "Kafka did not acknowledge every record",
        why=why,
        fix="run `driftline doctor`, fix what it finds, then repeat the command",
    )


def _from_missing_module(error: BaseException) -> CommandError:
    return UsageError(
        "the command needs an optional part of driftline",
        why=f"no module named {getattr(error, 'name', '')}",
        fix="pip install 'driftline[demo]' (or [files], [monitor], [notify], [trainer])",
    )


def _from_settings_error(error: BaseException) -> CommandError:
    return UsageError(
        "a setting is invalid",
        why=str(error),
        fix="correct it in driftline.toml, the environment or the option",
    )


def _from_memory_error(error: BaseException) -> CommandError:
    return CommandError(
        "there is not enough memory",
        why=str(error) or "an allocation failed",
        fix="give the process more memory, or read a smaller file",
    )


def _is_from_library(*modules: str) -> Callable[[BaseException], bool]:
    """Whether an error comes from a library; its module's name decides, nothing is imported."""
    return lambda error: type(error).__module__.partition(".")[0] in modules


def _is_setting(error: BaseException) -> bool:
    name = type(error).__name__
    return name == "InvalidSetting" or (
        name == "ValidationError" and _is_from_library("pydantic", "pydantic_core")(error)
    )


def _is_named(name: str) -> Callable[[BaseException], bool]:
    """Whether an error is of a class of that name, or of a subclass; nothing is imported."""
    return lambda error: name in [kind.__name__ for kind in type(error).__mro__]


def _is_instance(kind: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kind)


_CONVERSIONS: Final[
    tuple[tuple[Callable[[BaseException], bool], Callable[[Any], CommandError]], ...]
] = (
    (_is_instance(ModuleNotFoundError), _from_missing_module),
    (
        lambda e: _is_from_library("confluent_kafka")(e) or type(e).__name__ == "KafkaException",
        _from_kafka_error,
    ),
    (_is_named("MissingTopicError"), _from_missing_topic),
    (_is_named("DeliveryError"), _from_delivery_error),
    (_is_from_library("redis"), _from_redis_error),
    (_is_setting, _from_settings_error),
    (_is_from_library("sqlite3"), _from_sqlite_error),
    (_is_instance(MemoryError), _from_memory_error),
    (_is_instance(OSError), _from_os_error),
)
"""Pairs of a condition and a conversion; the first condition that holds decides."""
