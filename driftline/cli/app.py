"""The ``driftline`` command: all subcommands, and how their errors are printed.

Exit codes: 0 ok; 1 failed; 2 wrong usage or settings; 3 a check failed; 4 Kafka or Redis
unreachable; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from driftline.cli import (
    alerts,
    audit,
    backtest,
    check,
    coverage,
    dashboard,
    dead_letters,
    demo,
    doctor,
    drill,
    explain,
    forward,
    incidents,
    init,
    inspect,
    models,
    monitor,
    notify,
    profile,
    publish,
    replay,
    report,
    retrain,
    status,
    topics,
    train,
    up,
    version,
)
from driftline.cli.command_error import EXIT_INTERRUPTED, CommandError, UsageError, to_command_error
from driftline.cli.suggested_commands import complete_commands, set_invocation
from stream_monitor.renamed_settings import reject_renamed

RENAMED_OPTIONS: Final[Mapping[str, str]] = {
    "--by": "--user",
    "--drills": "--include-drills",
    "--home": "--data-dir",
    "--picture": "--plot",
}


def renamed_option_error(error: Any) -> CommandError | None:
    """The error for an old option of the command; ``None`` for every other error.

    ``error`` is an exception of the command line's parser.
    """
    old = getattr(error, "option_name", None)
    new = RENAMED_OPTIONS.get(old) if isinstance(old, str) else None
    command = getattr(getattr(error, "ctx", None), "command", None)
    known = [option for parameter in getattr(command, "params", []) for option in parameter.opts]
    if new not in known:
        return None
    return UsageError(f"{old} is now {new}", fix=f"write {new} instead")


_DEBUG: Final = "DRIFTLINE_DEBUG"


class ErrorReportingGroup(TyperGroup):
    """Prints what failed, where, why and how to fix it, instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; print an exception as an explanation."""
        set_invocation(self, [*ctx._protected_args, *ctx.args])  # noqa: SLF001 - the arguments
        try:
            return super().invoke(ctx)
        except CommandError as failure:
            _exit_with(failure)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except BrokenPipeError:  # the reader of a pipe, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except Exception as error:
            renamed = renamed_option_error(error)
            if renamed is not None:
                _exit_with(renamed)
            if type(error).__module__.startswith(("typer", "click")) or os.environ.get(_DEBUG):
                raise
            _exit_with(to_command_error(error))


def _exit_with(failure: CommandError) -> None:
    failure.fix = complete_commands(failure.fix)
    sys.stderr.write(failure.text() + "\n")
    raise typer.Exit(failure.code)


app = typer.Typer(
    cls=ErrorReportingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Detect drift of machine-learning models in production, live, on Kafka.",
    epilog="Exit codes: 0 ok · 1 failed · 2 wrong usage or settings · 3 a check failed · "
    "4 Kafka or Redis unreachable · 130 Ctrl-C.",
)


@app.callback()
def main(
    *,
    debug: Annotated[
        bool, typer.Option("--debug", envvar=_DEBUG, help="Print tracebacks of errors.")
    ] = False,
) -> None:
    """Set the options that hold for every command."""
    if debug:
        os.environ[_DEBUG] = "1"
    try:
        reject_renamed({}, os.environ)
    except ValueError as error:
        raise UsageError("an environment variable has an old name", why=str(error)) from error


app.command("demo")(demo.demo)
app.command("up")(up.up)
app.command("init")(init.init)
app.command("monitor")(monitor.monitor)
app.command("train")(train.train)
app.command("notify")(notify.notify)
app.command("retrain")(retrain.retrain)
app.command("publish")(publish.publish)
app.command("forward")(forward.forward)
app.command("replay")(replay.replay)
app.command("backtest")(backtest.backtest)
app.command("inspect")(inspect.inspect)
app.command("check")(check.check)
app.command("drill")(drill.drill)
app.command("status")(status.status)
app.command("coverage")(coverage.coverage)
app.command("doctor")(doctor.doctor)
app.command("dashboard")(dashboard.dashboard)
app.command("report")(report.report)
app.command("audit")(audit.audit)
app.command("version")(version.show_version)
app.add_typer(alerts.app, name="alerts")
app.add_typer(incidents.app, name="incidents")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(topics.app, name="topics")
app.add_typer(profile.app, name="profile")
app.add_typer(explain.app, name="explain")
app.add_typer(models.app, name="models")
