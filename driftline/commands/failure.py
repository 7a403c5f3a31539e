"""How a command fails: what, where, why, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, Final

from producer.printable import printable

RUNTIME: Final = 1
USAGE: Final = 2
CHECK_FAILED: Final = 3
UNREACHABLE: Final = 4
INTERRUPTED: Final = 130
DENIED: Final = "Kafka denies a permission"


class Failure(Exception):  # noqa: N818 - what a person reads is no error of the program
    """Ends a command with an exit code and an explanation."""

    def __init__(
        self, what: str, *, where: str = "", why: str = "", fix: str = "", code: int = RUNTIME
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.fix, self.code = what, where, why, fix, code

    def text(self) -> str:
        """For people, on stderr.

        >>> print(Failure("Kafka does not answer", where="127.0.0.1:1", fix="start it").text())
        driftline: Kafka does not answer
          where  127.0.0.1:1
          fix    start it
        """
        parts = {"where": self.where, "why": self.why, "fix": self.fix}
        lines = [f"driftline: {printable(self.what)}"]
        for name, text in parts.items():
            # What a library or a process said may be several lines: all but the first are indented.
            for i, line in enumerate(text.split("\n") if text else ()):
                lines.append(f"  {'' if i else name:<6} {printable(line)}".rstrip())
        return "\n".join(lines)


def explained(error: BaseException) -> Failure:
    """What an exception of a library means to a person."""
    name = type(error).__name__
    for fits, explain in _KNOWN:
        if fits(error):
            return explain(error)
    return Failure(
        "something unexpected happened",
        why=f"{name}: {error}",
        fix="run it again with --debug, and report what it says",
    )


_FILES: Final[dict[int, tuple[str, str]]] = {
    errno.ENOENT: ("there is no such file", "check the path"),
    errno.EACCES: ("this user may not use the file", "change its owner or its rights"),
    errno.EPERM: ("this user may not use the file", "change its owner or its rights"),
    errno.ENOTDIR: (
        "a file stands where a folder is needed",
        "remove the file, or name another folder",
    ),
    errno.EEXIST: ("a file stands where a folder is needed", "remove it, or name another folder"),
    errno.EISDIR: ("a folder stands where a file is needed", "name a file"),
    errno.EROFS: ("the file system is read-only", "name a folder that can be written"),
    errno.ENOSPC: ("the disk is full", "free some space, or name a folder on another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or name another folder"),
    errno.ENOMEM: ("there is not enough memory", "give the process more memory"),
}


def _of_files(error: OSError) -> Failure:
    """A path that cannot be used as it is."""
    where = str(error.filename) if error.filename is not None else ""
    known = _FILES.get(error.errno or 0)
    if known is None:
        return Failure(
            "the operating system rejected a request",
            where=where,
            why=error.strerror or str(error),
            fix="run it again with --debug to see where",
        )
    what, fix = known
    code = RUNTIME if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM) else USAGE
    return Failure(what, where=where, why=error.strerror or str(error), fix=fix, code=code)


def _of_database(error: BaseException) -> Failure:
    """The trainer's SQLite file cannot be used."""
    return Failure(
        "the trainer's database cannot be used",
        why=str(error),
        fix="give --home a folder that this user can write, on a disk with free space",
    )


def _of_redis(error: BaseException) -> Failure:
    from stream_monitor.state.redis_store import wrong_store  # noqa: PLC0415 - light imports

    wrong = wrong_store(error)
    if wrong is not None:
        why, _, fix = str(wrong).partition(" Fix: ")
        return Failure("Redis cannot hold driftline's state", why=why, fix=fix)
    return Failure(
        "Redis does not answer, or rejected the request",
        why=str(error),
        fix="check --redis-url or REDIS_URL; `driftline doctor` looks",
        code=UNREACHABLE,
    )


def _of_kafka(error: BaseException) -> Failure:
    cause = error.args[0] if error.args else error
    why = cause.str() if hasattr(cause, "str") else str(cause)
    if hasattr(cause, "name") and cause.name().endswith("_AUTHORIZATION_FAILED"):
        from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

        return Failure(DENIED, why=why, fix=PERMISSIONS_FIX, code=UNREACHABLE)
    if hasattr(cause, "name") and cause.name() == "_INVALID_ARG":
        return Failure(
            "a setting of Kafka's client is wrong",
            why=why,
            fix="see [kafka.librdkafka] in driftline.toml, or DRIFTLINE_KAFKA__LIBRDKAFKA",
            code=USAGE,
        )
    return Failure(
        "Kafka does not answer, or rejected the connection",
        why=why,
        fix="check --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; `driftline doctor` looks",
        code=UNREACHABLE,
    )


def _of_undelivered(error: BaseException) -> Failure:
    from producer.permission import PERMISSIONS_FIX  # noqa: PLC0415 - light imports

    why = str(error)
    if "no permission" in why:
        return Failure(DENIED, why=why, fix=PERMISSIONS_FIX, code=UNREACHABLE)
    return Failure(
        "Kafka did not take every record",
        why=why,
        fix="see what `driftline doctor` finds, then run it again",
    )


def _of_modules(error: BaseException) -> Failure:
    return Failure(
        "a part of driftline is not installed",
        why=f"no module named {getattr(error, 'name', '')}",
        fix="pip install 'driftline[demo]' (or [files], [monitor], [trainer])",
        code=USAGE,
    )


def _of_settings(error: BaseException) -> Failure:
    return Failure("a setting is wrong", why=str(error), fix="see driftline.toml", code=USAGE)


def _of_memory(error: BaseException) -> Failure:
    return Failure(
        "there is not enough memory",
        why=str(error) or "an allocation failed",
        fix="give the process more memory, or a smaller file",
    )


def _is_of(*modules: str) -> Callable[[BaseException], bool]:
    """Whether an error is of a library: by its module's name, so that none is imported for it."""
    return lambda error: type(error).__module__.partition(".")[0] in modules


def _is_setting(error: BaseException) -> bool:
    name = type(error).__name__
    return name == "WrongSetting" or (
        name == "ValidationError" and _is_of("pydantic", "pydantic_core")(error)
    )


def _is_a(kind: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kind)


_KNOWN: Final[tuple[tuple[Callable[[BaseException], bool], Callable[[Any], Failure]], ...]] = (
    (_is_a(ModuleNotFoundError), _of_modules),
    (lambda e: _is_of("confluent_kafka")(e) or type(e).__name__ == "KafkaException", _of_kafka),
    (lambda e: "Undelivered" in [kind.__name__ for kind in type(e).__mro__], _of_undelivered),
    (_is_of("redis"), _of_redis),
    (_is_setting, _of_settings),
    (_is_of("sqlite3"), _of_database),
    (_is_a(MemoryError), _of_memory),
    (_is_a(OSError), _of_files),
)
"""Which errors are explained, and how; the first that fits."""
