"""The rules of every report: it loads nothing, runs nothing, and shows texts as texts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

FORBIDDEN: Final = {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
LOADING: Final = {"src", "href", "srcset", "data", "action", "background", "poster", "xlink:href"}


class ReportParser(HTMLParser):
    """The elements, attributes, texts and style of a report."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def assert_self_contained(page: str) -> ReportParser:
    """The report has no element that loads or runs anything; returns its parts."""
    found = ReportParser(page)
    assert found.tags.count("svg") >= 1
    assert FORBIDDEN.isdisjoint(found.tags)
    assert LOADING.isdisjoint(found.attributes)
    assert not [name for name in found.attributes if name.startswith("on")]
    assert "<script" not in page
    assert not re.search(r"url\(|@import|https?://", page)
    return found
