"""When a suspicion becomes an episode, and when an episode ends."""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec

from stream_monitor.contracts import Severity

_LAST_TEST_WINDOWS: Final = 8  # windows; after four, one in seven small changes was missed
_STEPS_PER_TAU: Final = 8


class EpisodePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of an episode.

    ``min_effect`` is the smallest adjusted population stability index that counts as a change
    (0.008 is a mean shift of about 0.09 standard deviations of a normal feature).  A suspicion is
    tested after ``first_test_events`` fresh events and at every doubling up to eight windows, each
    time at ``significance`` divided by the number of interim tests (Bonferroni).  An episode
    recovers when there is evidence that its change has ended (`recovery`), or after
    ``clear_windows`` consecutive windows whose effect is below half of ``min_effect``.  An episode
    that starts within ``cooldown_ms`` of event time after that is reported at the end of the
    cooldown, or when it is worse than before.
    """

    min_effect: float = 0.008
    significance: float = 0.01
    first_test_events: int = 64
    min_window_events: int = 500
    clear_windows: int = 3
    medium_effect: float = 0.1
    high_effect: float = 0.25
    cooldown_ms: Annotated[int, msgspec.Meta(ge=0)] = 3_600_000

    def window_events(self, n_bins: int, tau: float) -> int:
        """Length W of a window, so that the bias of its distance stays below ``min_effect``.

        >>> EpisodePolicy().window_events(10, 1.0), EpisodePolicy().window_events(10, 19.0)
        (1125, 21375)
        """
        return max(self.min_window_events, math.ceil((n_bins - 1) * tau / self.min_effect))

    def step_events(self, tau: float) -> int:
        """The number of events in one step of the recovery test.

        >>> EpisodePolicy().step_events(1.0), EpisodePolicy().step_events(19.0)
        (64, 152)
        """
        return round(self.first_test_events * max(1.0, tau / _STEPS_PER_TAU))

    def n_interim_tests(self, window_events: int) -> int:
        """The number of interim tests of a suspicion before it is dismissed.

        >>> EpisodePolicy().n_interim_tests(500)
        6
        """
        return max(
            1,
            int(math.log2(max(1.0, _LAST_TEST_WINDOWS * window_events / self.first_test_events)))
            + 1,
        )

    def weighed(self, importance: float) -> EpisodePolicy:
        """Return the policy for a feature of this importance (0 to 1), which scales its effects.

        It changes the severity of episodes, not which ones are found, nor when.

        >>> EpisodePolicy().severity(0.3), EpisodePolicy().weighed(0.5).severity(0.3)
        ('high', 'medium')
        >>> EpisodePolicy().weighed(0.0).severity(9.0)
        'low'
        """
        if importance == 1.0:
            return self
        return msgspec.structs.replace(
            self,
            medium_effect=self.medium_effect / importance if importance else math.inf,
            high_effect=self.high_effect / importance if importance else math.inf,
        )

    def severity(self, effect: float) -> Severity:
        """The severity of an effect, by the customary limits of the population stability index."""
        if effect > self.high_effect:
            return "high"
        return "medium" if effect >= self.medium_effect else "low"


def loss_severity(before: float, after: float) -> Severity:
    """The severity of a change of the mean loss: by its relative increase, not by its distance.

    >>> loss_severity(0.2, 0.31), loss_severity(0.2, 0.25), loss_severity(0.2, 0.15)
    ('high', 'medium', 'low')
    """
    increase = (after - before) / before if before > 0 else math.inf if after > 0 else 0.0
    if increase >= 0.5:
        return "high"
    return "medium" if increase >= 0.2 else "low"
