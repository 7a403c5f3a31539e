"""How a command fails: what, where, why, and what to do."""

from __future__ import annotations

from typing import Final

from producer.printable import printable

RUNTIME: Final = 1
USAGE: Final = 2
CHECK_FAILED: Final = 3
UNREACHABLE: Final = 4
INTERRUPTED: Final = 130


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
    module, name = type(error).__module__.partition(".")[0], type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        return Failure(
            "a part of driftline is not installed",
            why=f"no module named {error.name}",
            fix="pip install 'driftline[demo]' (or [monitor], [trainer])",
            code=USAGE,
        )
    if module == "confluent_kafka" or name == "KafkaException":
        return _of_kafka(error)
    if module == "redis":
        return _of_redis(error)
    if name == "WrongSetting" or (name == "ValidationError" and module.startswith("pydantic")):
        return Failure("a setting is wrong", why=str(error), fix="see driftline.toml", code=USAGE)
    if isinstance(error, FileNotFoundError):
        return Failure("there is no such file", where=str(error.filename), code=USAGE)
    return Failure(
        "something unexpected happened",
        why=f"{name}: {error}",
        fix="run it again with --debug, and report what it says",
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
    if hasattr(cause, "name") and cause.name() == "_INVALID_ARG":
        return Failure(
            "a setting of Kafka's client is wrong",
            why=why,
            fix="see [kafka.librdkafka] in driftline.toml, or DRIFTLINE_KAFKA__LIBRDKAFKA",
            code=USAGE,
        )
    return Failure(
        "Kafka does not answer, or refused",
        why=why,
        fix="check --bootstrap-servers or KAFKA_BOOTSTRAP_SERVERS; `driftline doctor` looks",
        code=UNREACHABLE,
    )
