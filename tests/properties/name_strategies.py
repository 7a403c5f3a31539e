"""Hypothesis strategies for valid names, hostile ones among them."""

from __future__ import annotations

from hypothesis import strategies as st

from producer.names import MAX_NAME_BYTES

# Separators of our own keys, signs of patterns and paths, and what escapes are made of.
_TRICKY = "@/|~%=:.*?[]\\# -_aA1"
_PARTS = st.sampled_from(["feature", "prediction", "segment", "%2F", "..", "model", "champion"])


def _longest(char: str) -> str:
    return char * (MAX_NAME_BYTES // len(char.encode()))


NAMES = st.one_of(
    st.text(alphabet=_TRICKY, min_size=1, max_size=8),
    st.lists(_PARTS | st.sampled_from("/|@~=%"), min_size=1, max_size=5).map("".join),
    st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30),
    st.sampled_from(["x", "é", "猫", "~", "%"]).map(_longest),
)
