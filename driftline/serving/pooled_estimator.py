"""The weighted vote of several versions, with the methods of one estimator.

A prediction costs one prediction of each member.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from trainer.evaluation.vote import vote
from trainer.fitting.predictions import class_name

if TYPE_CHECKING:
    import pandas as pd


class Voter(NamedTuple):
    """A member of a pool: its version, its estimator and its weight."""

    version: str
    estimator: Any
    weight: float


def _have_probabilities(pool: PooledEstimator) -> bool:
    return all(hasattr(voter.estimator, "predict_proba") for voter in pool.voters)


class PooledEstimator:
    """The vote of ``voters``, whose weights sum to 1.

    Numbers and probabilities are weighted means.  Of more than two classes, or without
    probabilities, `predict` returns the class with the largest weight.  The methods take a frame
    with the columns of each voter.  ``classes_`` are the classes of all voters.

    Raises:
        ValueError: there is no voter, or some predict classes and others numbers.
    """

    def __init__(self, voters: Sequence[Voter]) -> None:
        self.voters = tuple(voters)
        known = [_classes(voter) for voter in self.voters if hasattr(voter.estimator, "classes_")]
        if not voters or len(known) not in (0, len(self.voters)):
            raise ValueError(
                f"versions {', '.join(v.version for v in self.voters) or 'none'} cannot vote: "
                "all have to predict classes, or all numbers"
            )
        self._places: dict[str | None, int] = {}
        if known:
            named: dict[str | None, Any] = {}
            for classes in sorted(known, key=len, reverse=True):
                for value in classes:
                    named.setdefault(class_name(value), value)
            self._places = {name: place for place, name in enumerate(named)}
            self.classes_ = np.array(list(named.values()))

    @available_if(_have_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """The weighted mean of the voters' probabilities of ``classes_``, (n, k)."""
        found = np.zeros((len(frame), len(self._places)))
        for voter in self.voters:
            columns = [self._places[class_name(value)] for value in _classes(voter)]
            found[:, columns] += voter.weight * voter.estimator.predict_proba(_of(voter, frame))
        return found

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """The predictions of the vote, (n,)."""
        if 0 < len(self._places) <= 2 and _have_probabilities(self):
            likeliest: NDArray[Any] = self.classes_[self.predict_proba(frame).argmax(axis=1)]
            return likeliest
        weights = {voter.version: voter.weight for voter in self.voters}
        predicted = {
            voter.version: np.asarray(voter.estimator.predict(_of(voter, frame))).tolist()
            for voter in self.voters
        }
        if not self._places:
            return np.array(vote(predicted, weights), dtype=np.float64)
        places = {
            version: [str(self._places[class_name(value)]) for value in values]
            for version, values in predicted.items()
        }
        chosen: NDArray[Any] = self.classes_[[int(str(p)) for p in vote(places, weights)]]
        return chosen


def _classes(voter: Voter) -> list[Any]:
    found: list[Any] = np.asarray(voter.estimator.classes_).tolist()
    return found


def _of(voter: Voter, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that a voter was fitted on, in its order."""
    names = getattr(voter.estimator, "feature_names_in_", None)
    return frame if names is None else frame[list(names)]
