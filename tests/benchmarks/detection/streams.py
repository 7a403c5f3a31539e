"""Streams to watch: a latent normal series, its dependence, and the shape of what is seen of it.

Every shape is a monotone map of the same latent values, so one change means the same in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr, ndtri
from scipy.stats import poisson

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Column: TypeAlias = Floats | list[Any]
Dependence: TypeAlias = Literal["iid", "AR .5", "AR .9", "season"]
Shape: TypeAlias = Literal[
    "normal",
    "lognormal",
    "Pareto",
    "t2",
    "zero-inflated",
    "95 % zeros",
    "two decimals",
    "Poisson 2",
    "Bernoulli .01",
    "Bernoulli .05",
    "Bernoulli .5",
    "5 categories",
    "200 categories",
]

DAY_MS: Final = 86_400_000
EVENTS_PER_DAY: Final = 1_440
"""So a reference of 10,000 events covers just under seven days."""
N_REFERENCE: Final = 7 * EVENTS_PER_DAY  # 10,080 events: whole days
SEASON_SHARE: Final = 1 / 3  # of the variance: a sine as strong as the noise is
_PHI: Final[dict[Dependence, float]] = {"AR .5": 0.5, "AR .9": 0.9}
_WARM_UP: Final = 200
MIX: Final = (0.35, 0.25, 0.20, 0.12, 0.08)


class Stream(NamedTuple):
    """A kind of stream; ``scale`` multiplies what is seen, where that is a number."""

    shape: Shape = "normal"
    dependence: Dependence = "iid"
    scale: float = 1.0

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.shape if self.scale == 1.0 else f"{self.shape} x {self.scale:g}"

    @property
    def autocorrelation_time(self) -> float:
        """By how much n latent events count for fewer; the season is known, and costs nothing."""
        phi = _PHI.get(self.dependence, 0.0)
        return (1 + phi) / (1 - phi)


def times_ms(start: int, n: int) -> Ints:
    """Event times of the ``start``-th and the next events, (n,)."""
    return np.arange(start, start + n, dtype=np.int64) * DAY_MS // EVENTS_PER_DAY


def latent(rng: np.random.Generator, dependence: Dependence, n: int) -> Floats:
    """Standard normal values (n,); with a season they are so over whole days."""
    phi = _PHI.get(dependence, 0.0)
    shocks = rng.standard_normal(n + _WARM_UP)
    if phi:
        filtered: Floats = lfilter([np.sqrt(1 - phi**2)], [1.0, -phi], shocks)
        return filtered[_WARM_UP:]
    values = shocks[_WARM_UP:]
    if dependence == "season":
        turn = 2 * np.pi * np.arange(n) / EVENTS_PER_DAY
        sine = np.sqrt(2 * SEASON_SHARE) * np.sin(turn)
        values = sine + np.sqrt(1 - SEASON_SHARE) * values
    return values


def shares_of(shape: Shape) -> tuple[float, ...] | None:
    """The shares of a shape's values in the order of the latent ones; ``None``: not discrete."""
    if shape.startswith("Bernoulli"):
        p = float(shape.split()[1])
        return (1 - p, p)
    if shape == "5 categories":
        return MIX
    if shape == "200 categories":
        weights = 1 / np.arange(1, 201)
        return tuple((weights / weights.sum()).tolist())
    if shape == "Poisson 2":
        return tuple(poisson.pmf(np.arange(16), 2).tolist())
    return None


def cuts_of(shares: Sequence[float]) -> Floats:
    """Where the latent axis is cut so that the parts have these shares; (len - 1,)."""
    cuts: Floats = ndtri(np.cumsum(shares)[:-1])
    return cuts


def seen(stream: Stream, z: Floats) -> Column:
    """What a model is sent for latent values ``z`` (n,)."""
    shape = stream.shape
    shares = shares_of(shape)
    if shares is None:
        return stream.scale * _CONTINUOUS[shape](z)
    codes = np.searchsorted(cuts_of(shares), z)
    if shape.endswith("categories"):
        names = [f"c{i}" for i in range(len(shares))]
        return [names[code] for code in codes.tolist()]
    if shape.startswith("Bernoulli"):
        return [code == 1 for code in codes.tolist()]
    return stream.scale * codes.astype(np.float64)


def _pareto(z: Floats) -> Floats:
    return (1 - _rank(z)) ** (-1 / 1.5)


def _student_t2(z: Floats) -> Floats:
    u = _rank(z)
    return (2 * u - 1) / np.sqrt(2 * u * (1 - u))


def _rank(z: Floats) -> Floats:
    return np.clip(ndtr(z), 1e-15, 1 - 1e-15)


_CONTINUOUS: Final[dict[Shape, Callable[[Floats], Floats]]] = {
    "normal": lambda z: z,
    "lognormal": lambda z: np.exp(1.5 * z),
    "Pareto": _pareto,
    "t2": _student_t2,
    "two decimals": lambda z: (50 + 10 * z).round(2),
    "zero-inflated": lambda z: np.where(z < ndtri(0.7), 0.0, np.exp(z)),
    "95 % zeros": lambda z: np.where(
        z < ndtri(0.95), 0.0, -np.log(np.clip(20 * ndtr(-z), 1e-300, 1))
    ),
}


def as_numbers(column: Column) -> Floats:
    """What a detector without transforms can be fed: numbers, codes for names, 0 for nothing."""
    if isinstance(column, np.ndarray):
        return np.where(np.isnan(column), 0.0, column)
    code = {f"c{i}": float(i) for i in range(200)}
    return np.array([code.get(v, -1.0) if isinstance(v, str) else float(v or 0) for v in column])
