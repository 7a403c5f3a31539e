"""A fix is for the installation that was asked about."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from driftline.cli import app
from driftline.commands.given import given_in


def test_a_fix_carries_the_options_that_were_given() -> None:
    asked = ["models", "show", "churn", "--home", "a b"]

    said = CliRunner().invoke(app, asked).output

    assert "`driftline models list --home 'a b'` shows what there is" in said


def test_a_fix_carries_only_what_its_command_takes() -> None:
    asked = ["alerts", "list", "--bootstrap-servers", "127.0.0.1:1", "--prefix", "staging"]

    said = CliRunner().invoke(app, asked).output

    assert "`driftline doctor --bootstrap-servers 127.0.0.1:1 --prefix staging` looks" in said


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["--prefix"], {}),
        (["--prefix", "a", "--prefix", "b"], {"--prefix": "b"}),
        (["--redis-url", "redis://:secret@host"], {}),
        (["--home=x=y", "--json"], {"--home": "x=y"}),
    ],
)
def test_only_what_says_which_installation_is_carried(
    words: list[str], given: dict[str, str]
) -> None:
    assert given_in(words) == given
