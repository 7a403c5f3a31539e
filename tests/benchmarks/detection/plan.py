"""Which streams and changes are measured, and how long: all of them, or a minute's worth."""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.benchmarks.detection.changes import Change
from tests.benchmarks.detection.dependence import Pairing, Turn
from tests.benchmarks.detection.streams import Dependence, Shape, Stream

SHAPES: Final[tuple[Shape, ...]] = (
    "normal",
    "zero-inflated",
    "Poisson 2",
    "Bernoulli .01",
    "Bernoulli .05",
    "Bernoulli .5",
    "5 categories",
    "200 categories",
)
RANGED: Final[tuple[Shape, ...]] = ("normal", "lognormal", "Pareto", "t2", "zero-inflated")
DEPENDENCE: Final[tuple[Dependence, ...]] = ("iid", "AR .5", "AR .9", "season")
CONTINUOUS: Final = (
    Stream("normal"),
    Stream("normal", scale=1e-3),
    Stream("normal", scale=1e6),
    Stream("lognormal"),
    Stream("Pareto"),
    Stream("t2"),
)
SHIFTS: Final = tuple(Change(f"{size:g} sd", shift=size) for size in (0.1, 0.25, 0.5, 1.0))
TWO_SD: Final = Change("2 sd", shift=2.0)
WIDER: Final = Change("variance x 1.5", spread=1.5**0.5)
MUCH_WIDER: Final = Change("variance x 3", spread=3**0.5)
RAMP: Final = Change("ramp to 1 sd in 20,000", shift=1.0, ramp_events=20_000)
SWAP: Final = Change("5 points of the mix", swap=True)
UNSEEN: Final = Change("1 % unseen", unseen=0.01)
MISSING: Final = Change("missing 1 to 5 %", missing_before=0.01, missing=0.05)
HIDDEN: Final = tuple(
    Change(f"lowest {share:.0%} gone", hidden=share) for share in (0.05, 0.3, 0.6)
)
ODD: Final = (
    *(Change(f"{share:.1%} are -999", odd=share, odd_value=-999.0) for share in (0.005, 0.04)),
    *(Change(f"{share:.1%} beyond 1e9", odd=share) for share in (0.005, 0.04)),
    Change("0.5% are 0.25", odd=0.005, odd_value=0.25),
)
# Of values that partly repeat: found within ten occurrences.
AMONG_REPEATING: Final = tuple(
    Change(f"{share:.1%} are 77.77", odd=share, odd_value=77.77) for share in (0.02, 0.04)
)
NOT_ZERO_TREBLES: Final = Change("what is not zero trebles", times=3.0)
# The bound (342 events) knows how the rest is distributed.  Detectors see normal scores, in blocks
# of 8 values that are not zero, 160 events: 1.3 times the bound and a block is out of their reach.
# What is asked for is that it is found, while 50 such values come.
TREBLES_ASKED: Final = 1000

TURNS: Final = (
    Turn(Pairing(0.6), -0.6, 32),
    Turn(Pairing(0.6), 0.0, 80),
    Turn(Pairing(0.6), 0.3, 228),
    Turn(Pairing(0.0), 0.5, 88),
    Turn(Pairing(0.9), 0.6, 196),
)


class Cell(NamedTuple):
    """A stream and what happens to it; ``asked``: in how many events, where that is stated."""

    stream: Stream
    change: Change
    cap: int = 20_000
    asked: int | None = None


class Lasting(NamedTuple):
    """A change that ends after ``n_lasting`` events; the stream is watched as long again, twice."""

    stream: Stream
    change: Change
    n_lasting: int = 10_000


class Model(NamedTuple):
    """A model that is watched for ``n_days`` in which nothing changes."""

    n_features: int
    n_days: int


class Plan(NamedTuple):
    """What is measured."""

    stationary: tuple[Stream, ...]
    cells: tuple[Cell, ...]
    n_references: int
    n_events: int
    n_baseline_events: int
    n_runs: int
    n_baseline_runs: int
    lasting: tuple[Lasting, ...] = ()
    n_lasting_runs: int = 0
    model: Model | None = None
    pairs: tuple[Pairing, ...] = ()
    turns: tuple[Turn, ...] = ()


def full() -> Plan:
    """Every shape, dependence, scale and change.  Rank transforms need no scales in false alerts.

    The first shape stands for all continuous ones there: by its ranks it is each of them.
    """
    cells = [Cell(stream, shift) for stream in CONTINUOUS for shift in SHIFTS]
    cells += [Cell(Stream(), WIDER, asked=288), Cell(Stream(), MUCH_WIDER, asked=56)]
    cells += [Cell(Stream("Pareto"), WIDER), Cell(Stream(), RAMP, 30_000, asked=3048)]
    for shape in SHAPES[1:]:
        cells += [Cell(Stream(shape), shift, 40_000) for shift in SHIFTS[1:]]
    cells.append(Cell(Stream("5 categories"), SWAP, asked=4080))
    cells.append(Cell(Stream("5 categories"), UNSEEN, asked=1144))
    cells.append(Cell(Stream(), MISSING, asked=376))
    cells += [Cell(Stream(shape), odd) for shape in RANGED for odd in ODD]
    cells.append(Cell(Stream("95 % zeros"), NOT_ZERO_TREBLES, asked=TREBLES_ASKED))
    for dependence in DEPENDENCE[1:]:
        cells += [
            Cell(Stream(dependence=dependence), change, 40_000)
            for change in (*SHIFTS[1:], WIDER, RAMP)
        ]
    cells += [
        Cell(Stream("two decimals"), odd, asked=round(10 / odd.odd)) for odd in AMONG_REPEATING
    ]
    stationary = tuple(Stream(shape, kind) for shape in SHAPES for kind in DEPENDENCE)
    # Ranges know no ranks: their tails are those of each shape.
    stationary += tuple(Stream(shape, kind) for shape in RANGED[1:4] for kind in DEPENDENCE[:3])
    stationary += tuple(Stream("95 % zeros", kind) for kind in DEPENDENCE)
    stationary += tuple(Stream("two decimals", kind) for kind in DEPENDENCE)
    lasting = [
        Lasting(Stream(shape), shift) for shape in ("normal", *SHAPES[1:]) for shift in SHIFTS[2:]
    ]
    lasting += [Lasting(Stream(shape), SHIFTS[1]) for shape in ("normal", "lognormal", "t2")]
    lasting += [Lasting(Stream(), MUCH_WIDER), Lasting(Stream("5 categories"), SWAP)]
    lasting += [Lasting(Stream(dependence="season"), shift) for shift in SHIFTS[1:]]
    lasting += [Lasting(Stream(dependence="AR .5"), shift, 20_000) for shift in SHIFTS[2:]]
    lasting += [Lasting(Stream(dependence="AR .9"), shift, 60_000) for shift in SHIFTS[2:]]
    lasting.append(Lasting(Stream(), TWO_SD))
    lasting.append(Lasting(Stream(dependence="AR .5"), TWO_SD, 20_000))
    lasting.append(Lasting(Stream(dependence="AR .9"), TWO_SD, 60_000))
    lasting += [
        Lasting(Stream(shape), gone) for shape in ("normal", "5 categories") for gone in HIDDEN
    ]
    lasting += [Lasting(Stream("5 categories"), UNSEEN), Lasting(Stream(), MISSING)]
    lasting.append(Lasting(Stream(dependence="season"), HIDDEN[1]))
    pairs = tuple(Pairing(rho, dependence=kind) for rho in (0.0, 0.6) for kind in DEPENDENCE)
    pairs += tuple(Pairing(0.6, shape) for shape in SHAPES[1:])
    turns = TURNS + tuple(Turn(Pairing(0.6, dependence=kind), 0.0) for kind in DEPENDENCE[1:])
    turns += tuple(Turn(Pairing(0.6, shape), 0.0) for shape in SHAPES[1:])
    return Plan(
        stationary,
        tuple(cells),
        10,
        400_000,
        100_000,
        40,
        10,
        tuple(lasting),
        40,
        Model(200, 91),
        pairs,
        turns,
    )


def quick() -> Plan:
    """A minute's worth: what a change of the code would spoil first."""
    stationary = (
        *(Stream(dependence=kind) for kind in DEPENDENCE),
        Stream("200 categories"),
        Stream("Bernoulli .01"),
        Stream("Pareto"),
        Stream("95 % zeros"),
    )
    cells = (
        *(Cell(Stream(), change) for change in SHIFTS[1:]),
        Cell(Stream(), WIDER, asked=288),
        Cell(Stream("lognormal", scale=1e6), SHIFTS[2]),
        Cell(Stream("5 categories"), SWAP, asked=4080),
        Cell(Stream(), MISSING, asked=376),
        Cell(Stream(dependence="season"), SHIFTS[2]),
        *(Cell(Stream(), odd) for odd in ODD),
        Cell(Stream("95 % zeros"), NOT_ZERO_TREBLES, asked=TREBLES_ASKED),
    )
    lasting = (
        Lasting(Stream(), SHIFTS[2]),
        Lasting(Stream("5 categories"), SWAP),
        Lasting(Stream("5 categories"), HIDDEN[1]),
        Lasting(Stream(), MISSING),
    )
    pairs = (Pairing(0.6), Pairing(0.6, dependence="AR .9"))
    return Plan(
        stationary, cells, 2, 250_000, 20_000, 9, 3, lasting, 9, Model(40, 14), pairs, TURNS
    )
