"""`driftline backtest`: what retraining would have gained, on recorded events."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from tests.cases.command_runner import run

pytestmark = pytest.mark.slow

HERE: Final = Path(__file__).parent
POLICIES: Final = "never,schedule:1000:2000,adwin,driftline,driftline:pool"


@pytest.fixture(autouse=True)
def path_of_the_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command adds the current folder to the import path, to import a factory from it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(HERE)


def result_of(file: Path, *options: str) -> dict[str, Any]:
    done = run("backtest", file, "--json", *options)
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return found


def rows_of(n: int, *, turned_from: int) -> pd.DataFrame:
    """Rows whose label depends on x, and from ``turned_from`` on on its opposite."""
    rng = np.random.default_rng(5)
    x, noise = rng.standard_normal((2, n))
    label = (x + 0.5 * rng.standard_normal(n) > 0) ^ (np.arange(n) >= turned_from)
    at = pd.date_range("2024-01-01", periods=n, freq="10min", tz="UTC")
    return pd.DataFrame({"at": at.astype(str), "x": x, "noise": noise, "y": label.astype(int)})


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("backtest") / "turned.csv"
    rows_of(8_000, turned_from=4_000).to_csv(file, index=False)
    return file


def test_driftline_repairs_a_model_after_concept_drift(turned: Path) -> None:
    options = ("--time", "at", "--label", "y", "--factory", "backtest_factories:logistic")
    limits = ("--train", "first:1000", "--label-delay", "100events")
    command = [sys.executable, "-m", "driftline", "backtest", str(turned), "--json"]

    done = subprocess.run(
        [*command, *options, *limits, "--policies", POLICIES],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["events"] == 7_000
    policies = found["policies"]
    assert list(policies) == POLICIES.split(",")
    assert policies["never"]["fits"] == policies["never"]["swaps"] == 0
    assert policies["never"]["error"] > 0.4
    assert policies["schedule:1000:2000"]["fits"] == 7
    for name in ("driftline", "driftline:pool"):
        assert policies[name]["error"] < policies["never"]["error"] - 0.1
        assert policies[name]["error"] < policies["schedule:1000:2000"]["error"] + 0.02
    assert min(one["regret"] for one in policies.values()) == 0


def test_names_that_the_reference_does_not_have_do_not_stop_retraining(tmp_path: Path) -> None:
    """Every seventh row has a new agent from 2,000 on: an episode of unknown values stays open."""
    rows = rows_of(8_000, turned_from=4_000)
    number = np.arange(len(rows))
    is_new = (number >= 2_000) & (number % 7 == 0)
    rows["agent"] = np.where(is_new, "new-" + (number // 700).astype(str), "a")
    rows.loc[number % 3 == 1, "agent"] = "b"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    options = ("--time", "at", "--label", "y", "--factory", "backtest_factories:logistic_of_names")
    limits = ("--train", "first:1000", "--label-delay", "100events")

    found = result_of(tmp_path / "rows.csv", *options, *limits, "--policies", "never,driftline")

    policies = found["policies"]
    assert policies["driftline"]["fits"] > 0
    assert policies["driftline"]["error"] < policies["never"]["error"] - 0.1


def test_the_same_rows_give_the_same_result_in_any_order_of_the_file(
    turned: Path, tmp_path: Path
) -> None:
    shuffled = tmp_path / "shuffled.csv"
    pd.read_csv(turned).sample(frac=1, random_state=1).to_csv(shuffled, index=False)
    options = (
        "--time",
        "at",
        "--label",
        "y",
        "--factory",
        "backtest_factories:logistic",
        "--train",
        "first:1000",
        "--label-delay",
        "6h",
        "--policies",
        "never,driftline",
    )

    def errors(file: Path) -> list[float]:
        return [one["error"] for one in result_of(file, *options)["policies"].values()]

    assert errors(turned) == errors(shuffled)


def test_numbers_have_an_absolute_error_and_the_picture_is_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal(4_000)
    file, picture = tmp_path / "numbers.csv", tmp_path / "backtest.png"
    pd.DataFrame({"x": x, "y": 3 * x + 1}).to_csv(file, index=False)

    done = run(
        "backtest",
        file,
        "--label",
        "y",
        "--factory",
        "backtest_factories:linear",
        "--train",
        "first:1000",
        "--policies",
        "never,driftline",
        "--plot",
        str(picture),
    )

    assert done.code == 0, done.err
    assert "never" in done.out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--label", "y", "--factory", "backtest_factories:broken"), "database of features"),
        (("--label", "y", "--factory", "nowhere:make"), "the factory gives no model"),
        (("--label", "z", "--factory", "backtest_factories:logistic"), "no column 'z'"),
        (("--factory", "backtest_factories:logistic"), "--label is needed"),
        (("--label", "y"), "--factory is needed"),
        (
            ("--label", "y", "--factory", "backtest_factories:logistic", "--time", "when"),
            "no column 'when'",
        ),
        (
            ("--label", "y", "--factory", "backtest_factories:logistic", "--policies", "best"),
            "there is no policy 'best'",
        ),
        (
            ("--label", "y", "--factory", "backtest_factories:logistic", "--label-delay", "soon"),
            "is not a delay",
        ),
        (
            ("--label", "y", "--factory", "backtest_factories:logistic", "--train", "first:9"),
            "are needed",
        ),
        (("--label", "at", "--factory", "backtest_factories:linear"), "cannot be fitted"),
    ],
)
def test_a_backtest_that_cannot_run_ends_with_a_message(
    turned: Path, options: tuple[str, ...], sentence: str
) -> None:
    done = run("backtest", turned, *options)

    assert done.code == 2, done.out
    assert sentence in done.err
    assert "Traceback" not in done.err
