"""All detectors of one series: location and spread of its valid values, and their validity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from stream_monitor.detectors.channel import Channel, ChannelState
from stream_monitor.detectors.detection import Detection
from stream_monitor.reference.feature_reference import OF_REST, FeatureReference
from stream_monitor.reference.season import Season
from stream_monitor.reference.transform import Transform, Transformed
from stream_monitor.state_parts import CorruptState
from stream_monitor.statistics.fixed_point import FIXED_POINT, Ints


class SignalDetectors:
    """ADWIN and Page-Hinkley on every channel of one feature, prediction or loss.

    ``arl0_events``: mean events between false alarms, of each single detector.
    """

    def __init__(
        self,
        reference: FeatureReference,
        transform: Transform,
        arl0_events: float,
        state: Mapping[str, ChannelState] | None = None,
    ) -> None:
        """Start with the reference, or continue from `snapshot`.

        Raises:
            CorruptState: the state does not fit the reference.
        """
        self.arl0_events = arl0_events
        self.n_detectors = 2 * len(reference.channels)
        self._transform = transform
        self._tables: dict[str, Ints | None] = {
            c.channel: transform.table(c.channel) for c in reference.channels
        }
        point_mass = None if transform.point_mass < 0 else reference.point_mass
        n = len(reference.quantiles)
        self._per_rest = 1.0 if point_mass is None else n / (n - point_mass[1] + point_mass[0])
        self._seasons: dict[str, Season] = {
            c.channel: c.season for c in reference.channels if c.season is not None
        }
        self._reference = reference
        if state is not None:
            self.restore(state)

    @cached_property
    def _channels(self) -> list[tuple[str, Channel]]:
        """Started with the reference at their first use: a stored state replaces them before."""
        return [(c.channel, Channel(c, self.arl0_events)) for c in self._reference.channels]

    def observe(self, transformed: Transformed, times_ms: Ints | None = None) -> list[Detection]:
        """Apply n consecutive events; positions refer to all of them, valid or not.

        Event times (n,) are needed where the reference has a season.  Detections are sorted by
        position, channel and detector.
        """
        index, n = transformed.index, len(transformed.valid)
        signals: list[Detection] = []
        off: Ints | None = None  # the values off the point mass
        for name, channel in self._channels:
            if name == "validity":
                if len(index) == n:
                    signals += channel.observe_zeros(n)
                    continue
                values = np.multiply(~transformed.valid, FIXED_POINT, dtype=np.int64)
                signals += channel.observe(values)
                continue
            table = self._tables[name]
            if table is None:
                raise CorruptState(f"the reference has a {name} channel, its values have none")
            if name in OF_REST:
                if off is None:
                    off = np.flatnonzero(index != self._transform.point_mass)
                found = [self._of_rest(s, off) for s in channel.observe(table[index[off]])]
            else:
                found = channel.observe(self._left(name, table.take(index), transformed, times_ms))
            if found and len(index) < n:
                where = np.flatnonzero(transformed.valid)
                found = [s._replace(position=int(where[s.position])) for s in found]
            signals += found
        if len(signals) > 1:
            signals.sort(key=lambda s: (s.position, s.channel, s.detector))
        return signals

    def _of_rest(self, signal: Detection, off: Ints) -> Detection:
        """A detection among the values off the point mass, with positions among all values."""
        onset = round(signal.onset_events * self._per_rest)
        return signal._replace(position=int(off[signal.position]), onset_events=onset)

    def _left(
        self, name: str, values: Ints, transformed: Transformed, times_ms: Ints | None
    ) -> Ints:
        """The values of a channel without its season."""
        season = self._seasons.get(name)
        if season is None:
            return values
        if times_ms is None:
            raise ValueError("a channel with a season needs the times of its events")
        valid = transformed.valid
        return season.residuals(values, times_ms if len(values) == len(valid) else times_ms[valid])

    def snapshot(self) -> dict[str, ChannelState]:
        """The state, by channel."""
        return {name: channel.snapshot() for name, channel in self._channels}

    def restore(self, state: Mapping[str, ChannelState]) -> None:
        """Continue from `snapshot`.

        Raises:
            CorruptState: the state does not fit the reference.
        """
        channels = self._reference.channels
        if state.keys() != {c.channel for c in channels}:
            raise CorruptState("series state: not the channels of its reference")
        self._channels = [
            (c.channel, Channel(c, self.arl0_events, state[c.channel])) for c in channels
        ]
