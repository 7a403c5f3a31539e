"""A fix is for the installation that was asked about."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.suggested_commands import installation_options_in


def test_a_fix_carries_the_options_that_were_given() -> None:
    asked = ["models", "show", "churn", "--data-dir", "a b"]

    printed = CliRunner().invoke(app, asked).output

    assert "`driftline models list --data-dir 'a b'` shows the versions" in printed


@pytest.mark.usefixtures("short_kafka_timeouts")
def test_a_fix_carries_only_what_its_command_takes() -> None:
    asked = ["alerts", "list", "--bootstrap-servers", "127.0.0.1:1", "--prefix", "staging"]

    printed = CliRunner().invoke(app, asked).output

    assert (
        "`driftline doctor --bootstrap-servers 127.0.0.1:1 --prefix staging` checks the" in printed
    )


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--prefix"], {}),
        (["--prefix", "a", "--prefix", "b"], {"--prefix": "b"}),
        (["--redis-url", "redis://:secret@host"], {}),
        (["--data-dir=x=y", "--json"], {"--data-dir": "x=y"}),
    ],
)
def test_only_options_of_the_installation_are_repeated(
    words: list[str], given: dict[str, str]
) -> None:
    assert installation_options_in(words) == given
