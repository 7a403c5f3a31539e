"""The glossary holds one term for each concept, and retired words disappear from the repository."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.architecture.retired_words import (
    GLOSSARY,
    ROOT,
    allowed,
    counted,
    matches,
    patterns,
    words,
)

COUNTED = counted()


def terms() -> list[str]:
    text = GLOSSARY.read_text("utf-8").split("## Retired words")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", text, re.MULTILINE)
    return [row.removesuffix(" (PSI)") for row in rows if row != "term"]


def test_every_term_is_defined_once() -> None:
    found = terms()
    assert len(found) > 100
    assert [term for term, times in Counter(found).items() if times > 1] == []


def test_no_definition_uses_a_retired_word() -> None:
    assert matches(words(GLOSSARY.read_text("utf-8").split("## Retired words")[0])) == {}


@pytest.mark.parametrize("source", COUNTED)
def test_a_retired_word_does_not_come_back(source: str) -> None:
    """The counts may only fall; lower the numbers in retired_words.toml when they do."""
    limits = allowed().get(source, {})
    above = {
        package: {str(path.relative_to(ROOT)): number for path, number in counts.most_common()}
        for package, counts in COUNTED[source].items()
        if counts.total() > limits.get(package, 0)
    }
    assert above == {}, f"write another word, see docs/glossary.md; allowed: {limits}"


def test_the_table_of_counts_names_patterns_of_the_glossary_only() -> None:
    assert allowed().keys() <= set(patterns())
