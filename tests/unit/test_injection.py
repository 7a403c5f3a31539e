"""The grammar of injected changes: any name of a column, and a clear error for anything else."""

from __future__ import annotations

import pytest

from driftline.offline.injection import parse

NAMES = (
    "temp",
    "utm:source",
    "a@b",
    "a:b@c:d",
    "mean",
    "+1sd",
    "température (°C)",
    "a@5",
    "x:1@2-3",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["mean", "scale", "missing"])
def test_a_column_with_any_name_is_changed(kind: str, name: str) -> None:
    found = parse(f"{kind}:{name}:0.5@100-200")

    assert (found.kind, found.column, found.amount) == (kind, name, 0.5)
    assert (found.first, found.last) == (100, 200)


@pytest.mark.parametrize("name", NAMES)
def test_a_column_with_any_name_is_converted(name: str) -> None:
    assert parse(f"celsius:{name}@7").column == name


@pytest.mark.parametrize(("old", "new"), [("UA", "AA"), ("10:30", "a@b"), ("http://x", "c@1")])
def test_a_category_with_any_name_is_replaced(old: str, new: str) -> None:
    found = parse(f"swap:source:{old}={new}@100")

    assert (found.column, found.swap) == ("source", (old, new))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mean:temp@5", "needs a column and more, as in mean:temp"),
        ("mean::+1@5", "needs a column and more"),
        ("mean:temp:+1", "is not KIND:COLUMN"),
        ("double:temp:2@5", "is not KIND:COLUMN"),
        ("mean:temp:high@5", "needs a number, not 'high'"),
        ("swap:carrier@5", "swap needs OLD=NEW"),
    ],
)
def test_an_error_names_the_part_that_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as found:
        parse(text)

    assert str(found.value).startswith(repr(text))
