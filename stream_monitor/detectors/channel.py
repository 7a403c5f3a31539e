"""One channel of a series: exact block means, and the two detectors that process them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from stream_monitor.detectors.adwin import Adwin
from stream_monitor.detectors.adwin_state import AdwinState, adwin_clock
from stream_monitor.detectors.calibration import adwin_delta, page_hinkley_threshold
from stream_monitor.detectors.detection import Detection, DetectorAlarm, DetectorName
from stream_monitor.detectors.page_hinkley import PageHinkley, PageHinkleyState
from stream_monitor.reference.channel_calibration import Z_LIMIT
from stream_monitor.reference.feature_reference import ChannelReference
from stream_monitor.state_parts import CorruptState
from stream_monitor.statistics.fixed_point import FIXED_POINT, Ints

_MAX_VALUE: Final = 1 << 25  # fixed point: a channel value is at most 9
_FEW_VALUES: Final = 256
"""Fewer values are faster in plain Python: each array operation has a cost of its own."""


class ChannelState(msgspec.Struct, frozen=True, array_like=True):
    """The open block (``count`` values of sum ``total``), and the two detectors."""

    count: int
    total: int
    adwin: AdwinState
    page_hinkley: PageHinkleyState


class Channel:
    """The detectors of one channel, on block means.

    Block sums are integers, so the results do not depend on batches.  A block mean is standardised
    by the reference and clipped to +-8 before the detectors see it.
    """

    __slots__ = ("_adwin", "_count", "_page_hinkley", "_reference", "_total")

    def __init__(
        self, reference: ChannelReference, arl0_events: float, state: ChannelState | None = None
    ) -> None:
        """Start with the reference, or continue from `snapshot`.

        Raises:
            CorruptState: the state does not fit the reference.
        """
        self._reference = reference
        clock, delta = adwin_clock(reference.block), adwin_delta(reference, arl0_events)
        threshold = page_hinkley_threshold(reference, arl0_events)
        settings = threshold, reference.allowance, reference.n_blocks
        if state is None:
            self._count, self._total = 0, 0
            self._adwin = Adwin.primed(reference.adwin, delta, clock)
            self._page_hinkley = PageHinkley(*settings)
            return
        if not 0 <= state.count < reference.block or abs(state.total) > state.count * _MAX_VALUE:
            raise CorruptState("channel state: impossible count or sum")
        self._count, self._total = state.count, state.total
        self._adwin = Adwin.restore(delta, clock, state.adwin)
        self._page_hinkley = PageHinkley.restore(*settings, state.page_hinkley)

    def observe(self, values: Ints) -> list[Detection]:
        """Apply the fixed-point values of consecutive events, shape (n,)."""
        block, n = self._reference.block, len(values)
        start = block - self._count  # values that fill the open block
        if n <= _FEW_VALUES:
            plain: list[int] = values.tolist()
            if n < start:
                self._count += n
                self._total += sum(plain)
                return []
            few = [self._total + sum(plain[:start])]
            few += [sum(plain[i : i + block]) for i in range(start, n - block + 1, block)]
            self._count = (n - start) % block
            self._total = sum(plain[n - self._count :])
            return self._detect(self._standardised(few), start - 1)
        if n < start:
            self._count += n
            self._total += int(values.sum())
            return []
        self._count = (n - start) % block
        end = n - self._count
        places = np.arange(start - block, end, block)
        places[0] = 0  # the rest of the open block
        sums = np.add.reduceat(values[:end], places)
        sums[0] += self._total
        self._total = int(values[end:].sum())
        reference = self._reference
        z = (sums / (block * FIXED_POINT) - reference.mean) / reference.sd
        return self._detect(z.clip(-Z_LIMIT, Z_LIMIT).tolist(), start - 1)

    def observe_zeros(self, n: int) -> list[Detection]:
        """Apply ``n`` values of 0, as `observe` would."""
        start = self._reference.block - self._count
        if n < start:
            self._count += n
            return []
        full, self._count = divmod(n - start, self._reference.block)
        z = self._standardised((self._total, 0) if full else (self._total,))
        self._total = 0
        return self._detect([*z, *(z[1:] * (full - 1))], start - 1)

    def _standardised(self, sums: Sequence[int]) -> list[float]:
        """Block means as the detectors see them; the same numbers as those of an array.

        Exact: a sum is below 2^53, and so is the divisor.
        """
        of = self._reference
        n, mean, sd = of.block * FIXED_POINT, of.mean, of.sd
        z = [(total / n - mean) / sd for total in sums]
        if max(z) > Z_LIMIT or min(z) < -Z_LIMIT:
            return [max(-Z_LIMIT, min(Z_LIMIT, value)) for value in z]
        return z

    def _detect(self, z: Sequence[float], first_end: int) -> list[Detection]:
        scale = self._reference.adwin_scale
        adwin = self._adwin.observe([value * scale for value in z])
        page_hinkley = self._page_hinkley.observe(z)
        if not adwin and not page_hinkley:
            return []
        found = [self._signal("adwin", alarm, first_end) for alarm in adwin]
        found += [self._signal("page_hinkley", alarm, first_end) for alarm in page_hinkley]
        return sorted(found)

    def _signal(self, detector: DetectorName, alarm: DetectorAlarm, first_end: int) -> Detection:
        block, back = self._reference.block, alarm.onset_blocks
        return Detection(
            first_end + alarm.block * block,
            detector,
            self._reference.channel,
            alarm.direction,
            back,
            back * block + block - 1,
        )

    def snapshot(self) -> ChannelState:
        """The state."""
        return ChannelState(
            self._count, self._total, self._adwin.snapshot(), self._page_hinkley.snapshot()
        )
