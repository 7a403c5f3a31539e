"""Text from events reaches terminals, logs and pages escaped, one line for each line."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
import structlog
from hypothesis import given, settings
from typer.testing import CliRunner, Result

from driftline.cli.app import app
from driftline.cli.command_error import CommandError
from driftline.cli.output import note, write_json, write_line, write_lines
from driftline.demo.screen import PlainScreen, RichScreen
from producer.printable import printable, printable_json
from stream_monitor.contracts import ALERT_CE_TYPE
from stream_monitor.runtime.logs import configure
from tests.builders import alert
from tests.hypothesis_profiles import examples
from tests.unit.fake_topics import records, use_fake_topics

ROOT = Path(__file__).parents[2]
CORPUS = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x9b31m",
    "\x90q\x9c",
    "\x7f\x08\x08",
    "a\nforged",
    "a\rforged",
    "a\u2028forged",
    "a\u0085forged",
    "a\x0bforged",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\u200bx\u200d",
    "\ufeffx",
    "\u00a0x",
    "\U000e0041",
    "\u3164",
    "[bold red]x[/bold red]",
    "[link=http://x]y[/]",
    ":smile:",
    "[/]",
]
HOSTILE = " ".join(CORPUS)


def is_clean(text: str) -> bool:
    """Whether every line is printable and none was forged."""
    lines = text.split("\n")
    return all(line.isprintable() and not line.startswith("forged") for line in lines)


@settings(max_examples=examples(60))
@given(st.text())
def test_printable_text_stays_and_all_other_is_escaped(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable() or not set(text).isdisjoint("\u3164\u2800")
    assert printable(shown) == shown


@settings(max_examples=examples(60))
@given(st.recursive(st.text() | st.integers(), lambda inside: st.dictionaries(st.text(), inside)))
def test_json_is_equal_in_value(data: Any) -> None:
    text = json.dumps(data, ensure_ascii=False)
    shown = printable_json(text)
    assert json.loads(shown) == data
    assert shown.isprintable()


@pytest.mark.parametrize("text", CORPUS)
def test_every_way_out_of_a_command_escapes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_line(text)
    write_lines([text, text])
    write_json({text: [text]})
    note(text)
    shown = capsys.readouterr()
    assert is_clean(shown.out + shown.err + CommandError(text, where=text, fix=text).text())


def test_markup_is_printed_literally() -> None:
    for screen in (PlainScreen(plain := io.StringIO()), RichScreen(rich := io.StringIO())):
        screen.print_line(HOSTILE)
        screen.alert(alert(explanation=HOSTILE), 1.0)
    for shown in (plain.getvalue(), rich.getvalue()):
        assert is_clean(shown)
        for markup in ("[bold red]x[/bold red]", ":smile:"):
            assert markup in " ".join(shown.split())


@pytest.mark.parametrize("tty", [True, False])
def test_logs_escape(monkeypatch: pytest.MonkeyPatch, tty: bool) -> None:  # noqa: FBT001
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: tty)
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure("INFO")
        structlog.get_logger("test").info("event " + HOSTILE, model=HOSTILE)
        logging.getLogger("library").warning("received %s", HOSTILE)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # the logger's own colours
    assert len(shown.splitlines()) == 2
    assert is_clean(shown.replace("\x7f", "")) if not tty else is_clean(shown)


def run(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert is_clean(done.output), done.output
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit)
    return done


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_replay_of_the_case(options: list[str]) -> None:
    case = ROOT / "tests/cases/data/escapes.csv"
    run("replay", case, "--reference", "first:50%", *options)


@pytest.mark.parametrize(
    "command",
    [
        ["replay", "FILE", "--reference", "first:50%"],
        ["replay", "FILE", "--reference", "first:50%", "--json"],
        ["check", "FILE", "FILE"],
        ["check", "FILE", "FILE", "--json"],
        ["profile", "build", "FILE", "--model", "m", "--version", "1", "-o", "OUT"],
        ["publish", "FILE", "--model", "m", "--version", "1", "--prediction", "p", "--dry-run"],
        ["explain", "calibration", "FILE"],
        ["explain", "power", "FILE"],
        ["explain", "power", "FILE", "--json"],
        ["replay", "FILE", "--reference", "first:50%", "--prediction", HOSTILE],
        ["replay", HOSTILE, "--reference", "first:50%"],
        ["models", "show", HOSTILE],
    ],
)
def test_columns_and_values_of_a_file(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "traffic.jsonl"
    hostile = [text for text in CORPUS if text.isprintable() or not text.startswith(("\u00a0",))]
    rows = []
    for i in range(400):
        late = i >= 200
        row = {
            f"c{n} {text}": (f"{text} {late}" if i % 2 else text) for n, text in enumerate(hostile)
        }
        rows.append(row | {"x": i % 17 + 100 * late, "p": i % 5})
    file.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    words = {"FILE": str(file), "OUT": str(tmp_path / "p.json")}
    run(*(words.get(word, word) for word in command))


@pytest.fixture
def _hostile_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    started = alert(
        model=HOSTILE,
        version=HOSTILE,
        explanation=HOSTILE,
        episode_id="e" + HOSTILE,
        feature=HOSTILE,
        series=f"feature/{HOSTILE}",
        actor=HOSTILE,
        reason=HOSTILE,
    )
    later = msgspec.structs.replace(
        started, alert_id="b", phase="acknowledged", acknowledged_by=HOSTILE
    )
    values = [msgspec.json.encode(one) for one in (started, later)]
    topics = {"driftline.alerts.v1": records(*values, kind=ALERT_CE_TYPE)}
    use_fake_topics(monkeypatch, topics)


@pytest.mark.usefixtures("_hostile_alerts")
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    "command",
    [
        ["alerts", "tail", "--no-follow"],
        ["alerts", "list"],
        ["incidents", "list"],
        ["incidents", "digest"],
        ["incidents", "show", ""],
    ],
)
def test_alerts(command: list[str], options: list[str]) -> None:
    done = run(*command, *options)
    assert done.exit_code == 0
    assert "forged" in done.stdout
    if options:
        first = done.stdout if command[1] == "show" else done.stdout.splitlines()[0]
        assert json.loads(first)["model"] == HOSTILE


@pytest.mark.usefixtures("_hostile_alerts")
def test_words_of_the_command_line_itself() -> None:
    assert "open episode has an id that begins with" in run("alerts", "acknowledge", HOSTILE).stderr
    assert "is not a duration" in run("alerts", "snooze", "e", "--for", HOSTILE).stderr


def test_commands_write_in_one_way_only() -> None:
    """Use `driftline.cli.output`: it escapes text from events."""
    wrong = re.compile(r"typer\.echo|secho|\bprint\(|sys\.std(out|err)\.write")
    files = (ROOT / "driftline/commands").glob("*.py")
    assert [
        f"{path.name}: {line.strip()}"
        for path in sorted(files)
        if path.name != "output.py"
        for line in path.read_text("utf-8").splitlines()
        if wrong.search(line) and not line.lstrip().startswith(">>>")
    ] == []
