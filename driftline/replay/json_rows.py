"""JSON lines, or a JSON array, as rows."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pandas as pd

from driftline.replay.refusal import BadSource

_decode = msgspec.json.Decoder().decode


def frame_of_json(raw: bytes, where: str) -> pd.DataFrame:
    """A row for each object; a name that an object lacks is missing there.

    Raises:
        BadSource: a line is no object; says which.
    """
    if not raw.strip():
        raise BadSource(f"{where}: it is empty")
    if raw.lstrip()[:1] == b"[":
        values = enumerate(_value(raw, where), start=1)
        rows = [_row(value, f"{where}: object {number}") for number, value in values]
    else:
        rows = [
            _row(_value(line, f"{where}: line {number}"), f"{where}: line {number}")
            for number, line in enumerate(raw.splitlines(), start=1)
            if line.strip()
        ]
    return pd.DataFrame(rows)


def _value(raw: bytes, where: str) -> Any:
    try:
        try:
            return _decode(raw)
        except msgspec.DecodeError:
            return json.loads(raw)  # NaN and Infinity are no JSON, but many write them
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{where}: it is not UTF-8", fix="convert it: iconv -f LATIN1 -t UTF-8"
        ) from error
    except ValueError as error:
        raise BadSource(f"{where}: {error}", fix="one JSON object a line") from error


def _row(value: Any, where: str) -> dict[str, Any]:
    """An event of the log as a row: its map of features becomes columns."""
    if not isinstance(value, dict):
        raise BadSource(f"{where} is no object", fix="one JSON object a line: {...}")
    features = value.get("features")
    if not isinstance(features, dict):
        return value
    clash = sorted((features.keys() & value.keys()) - {"features"})
    if clash:
        raise BadSource(f"{where}: a feature and a field are both called {clash[0]!r}")
    return {name: value[name] for name in value if name != "features"} | features
