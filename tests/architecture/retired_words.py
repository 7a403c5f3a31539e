"""Count retired words by package: ``python -m tests.architecture.retired_words`` prints them."""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs" / "glossary.md"
ALLOWED_FILE = Path(__file__).with_name("retired_words.toml")
FOLDERS = ("producer", "stream_monitor", "trainer", "driftline", "tests", "infra", "examples")
SUFFIXES = frozenset({".py", ".md", ".toml", ".yaml", ".lua"})
NOT_COUNTED = frozenset(
    {
        GLOSSARY,
        ALLOWED_FILE,
        ROOT / "CHANGELOG.md",
        ROOT / "stream_monitor" / "renamed_settings.py",
        ROOT / "driftline" / "cli" / "renamed_options.py",
        ROOT / "tests" / "unit" / "test_renamed_names.py",
        ROOT / "tests" / "golden" / "behaviour.py",
    }
)
"""Files that have to name retired words."""


def patterns() -> list[str]:
    """The patterns of the glossary's table."""
    table = GLOSSARY.read_text("utf-8").split("## Retired words")[1]
    rows = re.findall(r"^\| `(.+?)` \| .+ \|$", table, re.MULTILINE)
    return [row.replace(r"\|", "|") for row in rows]


def matches(text: str) -> Counter[str]:
    """How often each pattern matches whole words of `words`."""
    sources = patterns()
    groups = "|".join(f"(?P<p{i}>{source})" for i, source in enumerate(sources))
    any_of_them = re.compile(rf"(?<![a-z])(?:{groups})(?![a-z])")
    return Counter(
        sources[int(match.lastgroup[1:])]
        for match in any_of_them.finditer(text)
        if match.lastgroup is not None
    )


def words(text: str) -> str:
    """Text in lower case with one space between words: names split, line breaks and `#` gone."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[\s#_-]+", " ", text).lower()


def files() -> dict[str, list[Path]]:
    """The counted files by package; ``documents`` are those at the top and in ``docs``."""
    of_package = {
        folder: [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
        for folder in FOLDERS
    }
    of_package["documents"] = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return {
        package: sorted(path for path in paths if path not in NOT_COUNTED)
        for package, paths in of_package.items()
    }


def read(path: Path) -> str:
    """The text of a file without the code map, which repeats docstrings."""
    return re.sub(r"<!-- code map -->.*", "", path.read_text("utf-8"), flags=re.DOTALL)


def counted() -> dict[str, dict[str, Counter[Path]]]:
    """Matches by pattern, package and file."""
    of_package = files()
    found = {source: {package: Counter[Path]() for package in of_package} for source in patterns()}
    for package, paths in of_package.items():
        for path in paths:
            for source, number in matches(words(read(path))).items():
                found[source][package][path] = number
    return found


def allowed() -> dict[str, dict[str, int]]:
    """How many matches each pattern still has in each package."""
    return tomllib.loads(ALLOWED_FILE.read_text("utf-8"))


def main() -> None:
    """Print the counts of now, as they stand in ``retired_words.toml``."""
    rows = ["# Written by: python -m tests.architecture.retired_words > THIS_FILE"]
    for source, of_package in counted().items():
        numbers = {package: counts.total() for package, counts in of_package.items() if counts}
        if numbers:
            row = ", ".join(f"{package} = {number}" for package, number in numbers.items())
            rows.append(f"'{source}' = {{ {row} }}")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
