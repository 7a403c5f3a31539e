"""The parts of a report, the same for every kind, and its file.

Every text is escaped.  The file holds its style and its pictures; it loads nothing.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from jinja2 import Environment
from markupsafe import Markup

from driftline.dashboard.page_templates import environment

Level: TypeAlias = Literal["high", "medium", "low", "ok", "gone"]

_TEMPLATES: Final = Path(__file__).parent / "templates"
MAX_ROWS: Final = 500
"""The rows of a table; the report states how many were left out."""
MAX_PICTURES: Final = 60
"""The pictures of a report; the report states how many were left out."""


class Finding(NamedTuple):
    """A row of a table: a label with a level, short cells, and a sentence."""

    level: Level
    label: str
    cells: tuple[str, ...]
    sentence: str


class FindingTable(NamedTuple):
    """A table of findings; ``heads`` name the cells, ``empty`` is shown where there is none."""

    title: str
    heads: tuple[str, ...]
    rows: list[Finding]
    empty: str


class Picture(NamedTuple):
    """A picture as SVG with its title; ``before`` and ``after`` explain its two colours."""

    title: str
    svg: Markup
    note: str = ""
    before: str = ""
    after: str = ""


class Facts(NamedTuple):
    """A list of names and texts, such as settings, or columns that are not watched."""

    title: str
    rows: list[tuple[str, str]]
    empty: str


class Document(NamedTuple):
    """A report: what was compared, the result in a sentence, tables, pictures and facts."""

    title: str
    compared: list[tuple[str, str]]
    level: Level
    result: str
    tables: list[FindingTable]
    pictures: list[Picture]
    facts: list[Facts]
    made_ms: int


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return environment(_TEMPLATES)


def render(document: Document) -> str:
    """The report as one HTML file."""
    style = (_TEMPLATES / "report.css").read_text("utf-8")
    tables = [table._replace(rows=table.rows[:MAX_ROWS]) for table in document.tables]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=document._replace(tables=tables, pictures=document.pictures[:MAX_PICTURES]),
            rows_left_out=[max(0, len(table.rows) - MAX_ROWS) for table in document.tables],
            pictures_left_out=[one.title for one in document.pictures[MAX_PICTURES:]],
            style=Markup(style),  # noqa: S704 - a file of this package
        )
    )
