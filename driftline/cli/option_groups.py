"""Groups of options that several commands share: a command takes one value for a whole group."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

from driftline.cli.command_error import UsageError
from driftline.cli.connection import load_settings
from driftline.cli.options import (
    Bootstrap,
    Categorical,
    Config,
    DecimalMark,
    Encoding,
    Ignore,
    Numeric,
    Prefix,
    RedisUrl,
    Separator,
)

if TYPE_CHECKING:
    from driftline.offline.tables.read_options import ReadOptions
    from stream_monitor.settings import Settings


def option_groups(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Any]:
    """Replace parameters of a command by the options of a group.

    A group is a function with one parameter for each option; the command gets its result::

        @option_groups(settings=kafka_settings)
        def audit(model: ..., settings: Settings, *, as_json: Json = False) -> None: ...
    """

    def decorate(command: Callable[..., None]) -> Any:
        parameters: list[inspect.Parameter] = []
        for parameter in _parameters(command, but=groups):
            of_group = groups.get(parameter.name)
            if of_group is None:
                parameters.append(parameter)
            else:
                parameters += [o.replace(kind=parameter.kind) for o in _parameters(of_group)]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            for name, group in groups.items():
                options = inspect.signature(group).parameters
                values[name] = group(**{option: values.pop(option) for option in options})
            command(**values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def _parameters(
    function: Callable[..., Any], but: Collection[str] = ()
) -> Iterator[inspect.Parameter]:
    """The parameters of a function with their types; the types of ``but`` are left as text."""
    own = inspect.signature(function).parameters
    texts = {name: each.annotation for name, each in own.items() if name not in but}
    names = vars(sys.modules[function.__module__])
    types = get_type_hints(SimpleNamespace(__annotations__=texts), names, include_extras=True)
    for name, each in own.items():
        yield each.replace(annotation=types.get(name, each.annotation))


def kafka_settings(
    config: Config = None, bootstrap_servers: Bootstrap = None, prefix: Prefix = None
) -> Settings:
    """The settings of a command that needs Kafka."""
    return load_settings(config, bootstrap_servers=bootstrap_servers, prefix=prefix)


def redis_settings(
    config: Config = None, redis_url: RedisUrl = None, prefix: Prefix = None
) -> Settings:
    """The settings of a command that needs Redis."""
    return load_settings(config, redis_url=redis_url, prefix=prefix)


def server_settings(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    redis_url: RedisUrl = None,
    prefix: Prefix = None,
) -> Settings:
    """The settings of a command that needs Kafka and Redis."""
    return load_settings(
        config, bootstrap_servers=bootstrap_servers, redis_url=redis_url, prefix=prefix
    )


def file_options(
    ignore: Ignore = None,
    numeric: Numeric = None,
    categorical: Categorical = None,
    separator: Separator = None,
    decimal: DecimalMark = None,
    encoding: Encoding = None,
) -> ReadOptions:
    """Options for reading a file of rows and its columns.

    Raises:
        CommandError: ``decimal`` is neither a point nor a comma.
    """
    from driftline.offline.tables.read_options import ReadOptions  # noqa: PLC0415 - light imports

    if decimal not in (None, ".", ","):
        raise UsageError(f"--decimal {decimal!r} is neither a point nor a comma")
    return ReadOptions(
        ignore=tuple(ignore or ()),
        numeric=tuple(numeric or ()),
        categorical=tuple(categorical or ()),
        separator=separator,
        decimal="," if decimal == "," else "." if decimal == "." else None,
        encoding=encoding,
    )
