"""Driftline's own loop over a stream: the monitor's core, the trainer's decisions, no Kafka.

The decisions are those that run live: `PartitionMonitor` for the alerts, `handle_alert` for the
jobs, `candidate_windows`, `compare` and `check_refit` for the challenger, `SwapTest` and
`VersionVote` for the stored versions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from driftline.offline.backtest.fitted_versions import FittedVersion, FittedVersions
from driftline.offline.backtest.labelled_stream import Ints
from driftline.offline.backtest.plain_policies import Change
from driftline.offline.backtest.retrain_guards import RetrainGuards
from producer.codec import encode
from producer.events import CE_TYPE_OF, InferenceEvent, Label, ModelUpdate, Prediction
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from stream_monitor.windows.tumbling import WindowSpec
from trainer.evaluation.gate import best_window, check_refit, compare
from trainer.evaluation.losses import Floats, Metric, losses, resolve_metric
from trainer.evaluation.version_swap import SwapState, SwapTest
from trainer.evaluation.vote import RECENT_EVENTS, VersionVote, VoteState, vote, vote_weights
from trainer.fitting.model_fit import FitSpec, can_fit
from trainer.jobs.champions import Champion, set_champion
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job import Job
from trainer.jobs.job_store import active_jobs, excluded_ranges_of, transition
from trainer.policy.excluded_ranges import is_excluded
from trainer.policy.retrain_policy import is_grown, rows_to_grow
from trainer.policy.training_window import TrainingWindow, candidate_windows
from trainer.service.alert_consumer import handle_alert, reconsider
from trainer.service.context import TrainerContext

TOPIC: Final = "backtest"
MODEL: Final = "backtest"
FIRST_VERSION: Final = "1"
_YEAR_MS: Final = 365 * 86_400_000
_ONE_WINDOW: Final = WindowSpec(size_ms=_YEAR_MS, idle_close_ms=_YEAR_MS)
"""Windows are for people; their comparisons would take half of the time."""


class StoredVersion:
    """A version with its model and reference profile."""

    def __init__(
        self, name: str, fitted: FittedVersion, profile: ReferenceProfile, window: TrainingWindow
    ) -> None:
        self.name, self.fitted, self.profile, self.window = name, fitted, profile, window


class Driftline:
    """The loop in mode ``auto``; ``pool`` serves the weighted vote of the stored versions."""

    def __init__(
        self,
        versions: FittedVersions,
        context: TrainerContext,
        spec: MonitorSpec,
        folder: Path,
        *,
        pool: bool,
    ) -> None:
        self._versions, self._context, self._pool = versions, context, pool
        self._stream = stream = versions.stream
        self._metric: Metric = resolve_metric(context.gate.metric, stream.task)
        spec = msgspec.structs.replace(spec, windows=_ONE_WINDOW)
        self._monitor = PartitionMonitor(TOPIC, 0, spec)
        self._offset = 0
        self._guards = RetrainGuards(stream, context, MODEL)
        self._database = Database(folder)
        self.fits = self.trial_fits = self.swaps = 0
        self.changes: list[Change] = []
        rows = stream.training_rows
        first = self._store(FIRST_VERSION, rows, TrainingWindow("all"))
        self.fits = 0
        self.stored: dict[str, StoredVersion] = {FIRST_VERSION: first}
        self._references = {FIRST_VERSION: first.profile.features}
        self._champion, self._served_from = FIRST_VERSION, 0
        self._served_by = [""] * len(stream)
        """The version that served each row; none served the training rows."""
        self._vote = VersionVote(VoteState(champion=FIRST_VERSION, weights={FIRST_VERSION: 1.0}))
        self._members: dict[str, FittedVersion] = {}
        self._to_grow: dict[str, int] = {}
        """The rows that have to grow after a version that a retrain for growth made."""
        self._is_better = False
        """Whether the gate proved the newest version better than the champion."""
        self._test = SwapTest(context.swap, SwapState(champion=FIRST_VERSION))
        self._is_scored = np.zeros(len(stream), dtype=np.bool_)
        self._is_scored[stream.known_rows(stream.n_training)] = True
        self._unscored: list[int] = []
        self._announce(first, stream.n_training, "registered")
        by_known = np.argsort(stream.known_at, kind="stable")
        self._label_order = by_known[stream.known_at[by_known] >= 0]
        self._next_label = 0

    def predict(self, start: int, end: int) -> list[Prediction | None]:
        """Return the predictions of the champion, or of the vote."""
        if not self._members:
            return self.stored[self._champion].fitted.predict(start, end)
        predicted = {name: one.predict(start, end) for name, one in self._members.items()}
        return vote(predicted, self._vote.state.weights)

    def advance(self, start: int, end: int) -> None:
        """Apply the chunk and its labels to the monitor; decide on alerts; compare the versions."""
        now_ms = int(self._stream.times_ms[end - 1])
        alerts = self._monitor.observe(self._batch(start, end)).alerts
        with self._database.transaction() as rows:
            for alert in alerts:
                handle_alert(rows, alert, self._context, wall_ms=now_ms)
            for waiting in deferred_alerts(rows):
                reconsider(rows, waiting, self._context, wall_ms=now_ms)
            jobs = active_jobs(rows)
        for job in jobs:
            self._work_on(job, end, now_ms)
        if not jobs:
            self._grow(end)
        self._compare_versions(end)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _batch(self, start: int, end: int) -> RecordBatch:
        """The events of the rows, each followed by the labels that become known with it.

        All have the append time of the last row: the records of a chunk arrive together.
        """
        stream, records = self._stream, []
        first = self._offset
        predicted = self.predict(start, end)
        self._guards.record_served(start, predicted)
        self._served_by[start:end] = [self._champion] * (end - start)
        appended_ms = int(stream.times_ms[end - 1])
        order = self._label_order
        for row in range(start, end):
            event = InferenceEvent(
                id=f"row-{row}",
                model=MODEL,
                version=self._champion,
                time_ms=int(stream.times_ms[row]),
                features={name: values[row] for name, values in stream.values.items()},
                prediction=predicted[row - start],
            )
            records.append(self._record(event, appended_ms))
            while self._next_label < len(order):
                labelled = int(order[self._next_label])
                if stream.known_at[labelled] > row:
                    break
                self._next_label += 1
                label = stream.labels[labelled]
                if label is not None:
                    truth = Label(
                        id=f"row-{labelled}", model=MODEL, label=label, time_ms=event.time_ms
                    )
                    records.append(self._record(truth, appended_ms))
        return RecordBatch(TOPIC, 0, "", first, self._offset, records)

    def _record(self, event: InferenceEvent | Label | ModelUpdate, time_ms: int) -> ConsumerRecord:
        offset, self._offset = self._offset, self._offset + 1
        return ConsumerRecord(offset, time_ms, CE_TYPE_OF[type(event)], encode(event))

    def _work_on(self, job: Job, end: int, now_ms: int) -> None:
        """Do the whole of a job once it has enough labels; give it up when it waits too long."""
        policy = self._context.policy
        usable = self._usable_rows(end)
        onset_ms = job.work.onset_ms
        times_ms = self._stream.times_ms[usable]
        since = 0 if onset_ms is None else int((times_ms >= onset_ms).sum())
        fresh = int((times_ms >= (job.work.labels_since_ms or onset_ms or 0)).sum())
        waits = fresh < policy.min_labelled_events
        late = now_ms > job.asked_ms + policy.give_up_after_ms
        if waits and not late:
            return
        waiting = job.to("waiting", now_ms=now_ms)
        started = waiting.to("reading")  # no alert cancels it any more
        with self._database.transaction() as rows:
            transition(rows, job, waiting)
            transition(rows, waiting, started)
        if waits:
            ended = started.ended("gave_up")
        else:
            promoted = self._retrain(job, usable, since, end)
            ended = started.ended("promoted" if promoted else "rejected")
        with self._database.transaction() as rows:
            transition(rows, started, msgspec.structs.replace(ended, challenger=self._newest))

    @property
    def _newest(self) -> str:
        return next(reversed(self.stored))

    def _usable_rows(self, end: int) -> Ints:
        """The rows with a known label outside of excluded time ranges."""
        known = self._stream.known_rows(end)
        excluded = excluded_ranges_of(
            self._database.rows, MODEL, lambda version: self._references[version]
        )
        if not excluded:
            return known
        times, values = self._stream.times_ms, self._stream.values
        partial = {one.feature for one in excluded if one.feature}
        kept = [
            not is_excluded(
                int(times[row]),
                self._served_by[row],
                excluded,
                {name: values[name][row] for name in partial},
            )
            for row in known
        ]
        usable: Ints = known[np.array(kept)]
        return usable

    def _retrain(self, job: Job | None, usable: Ints, since: int, end: int) -> bool:
        """Choose a window, evaluate the challenger, fit it again on all rows, and serve it."""
        gate, stream = self._context.gate, self._stream
        holdout_rows = self._context.policy.holdout_rows
        champion = self.stored[self._champion].fitted
        onset_ms = None if job is None else job.work.onset_ms
        new_ms = int(stream.times_ms[champion.rows[-1]]) + 1 if onset_ms is None else onset_ms
        usable, declined = self._guards.usable_rows(usable, new_ms, has_drift=onset_ms is not None)
        if declined is not None:
            self.changes.append(Change(end, "declined", declined))
            return False
        if len(usable) <= 2 * holdout_rows:
            return False
        earlier, later = usable[:-holdout_rows], usable[-holdout_rows:]
        known_changes = {"since the champion's first row": int((earlier >= champion.rows[0]).sum())}
        if since:
            known_changes["since the onset"] = since - holdout_rows
        windows = candidate_windows(len(earlier), known_changes)
        tried: dict[str, Floats] = {}
        for window in windows:
            rows = earlier[slice(*window.range(len(earlier)))]
            labels = [stream.labels[row] for row in rows.tolist()]
            if window.rows is not None and not can_fit(stream.task, labels):
                continue
            tried[window.name] = self._losses_of(self._versions.fit(rows), later)
            self.trial_fits += 1
        window = best_window(windows, tried)
        ours = self._champions_losses(later)
        decision = compare(ours, tried[window.name], gate)
        wanted = window
        if window.name in known_changes and window.rows is not None:
            wanted = TrainingWindow(window.name, window.rows + holdout_rows)
        rows = usable[slice(*wanted.range(len(usable)))]
        name = str(int(self._newest) + 1)
        version = self._store(name, rows, wanted)
        refit = check_refit(tried[window.name], self._losses_of(version.fitted, later), gate)
        golden = self._guards.on_golden_set(champion.estimator, version.fitted.estimator)
        decision = refit or (golden if decision.promote and golden is not None else decision)
        self._is_better = decision.rule == "better"
        self.stored[name] = version
        self._references[name] = version.profile.features
        self._limit_versions()
        cause = (
            "more labelled events"
            if job is None or job.work.alert is None
            else (f"{job.work.alert.kind} {job.work.alert.series} ({job.work.alert.severity})")
        )
        reason = f"{cause}; window {wanted.name}; {decision.reason}"
        if not decision.promote:
            self.changes.append(Change(end, "rejected", reason))
            return False
        self.changes.append(Change(end, "fit", reason))
        self._serve(name, end, "growth" if job is None else job.caused_by)
        return True

    def _store(self, name: str, rows: Ints, window: TrainingWindow) -> StoredVersion:
        stream = self._stream
        spec = FitSpec(
            stream.features,
            MODEL,
            name,
            task=stream.task,
            positive=stream.positive,
            n_folds=self._context.limits.n_folds,
        )
        fitted, profile = self._versions.fit_with_profile(rows, spec)
        self.fits += 1
        self.trial_fits += spec.n_folds
        return StoredVersion(name, fitted, profile, window)

    def _limit_versions(self) -> None:
        """Forget the oldest versions beyond the limit; the champion stays."""
        while len(self.stored) > self._context.swap.max_versions:
            gone = next(name for name in self.stored if name != self._champion)
            del self.stored[gone]

    def _serve(self, name: str, end: int, caused_by: str) -> None:
        self._champion, self._served_from = name, end
        self._test.restart(name)
        if self._pool:
            self._form_pool()
        self._announce(self.stored[name], end, caused_by)

    def _announce(self, version: StoredVersion, end: int, caused_by: str) -> None:
        """Announce the version and its reference to the monitor; record the champion."""
        time_ms = int(self._stream.times_ms[end - 1])
        update = ModelUpdate(
            id=f"update-{version.name}-{end}",
            model=MODEL,
            version=version.name,
            time_ms=time_ms,
            profile=profile_to_data(version.profile),
        )
        first = self._offset
        record = self._record(update, time_ms)
        batch = RecordBatch(TOPIC, 0, "", first, self._offset, [record])
        alerts = self._monitor.observe(batch).alerts
        with self._database.transaction() as rows:
            set_champion(rows, Champion(MODEL, version.name, "", time_ms, f"{caused_by}-{end}"))
            for alert in alerts:  # episodes of the version before it are superseded
                handle_alert(rows, alert, self._context, wall_ms=time_ms)

    def _champions_losses(self, rows: Ints) -> Floats:
        """The losses of what the champion served, else of its model; NaN where it was fitted."""
        stream, champion = self._stream, self.stored[self._champion].fitted
        found = self._losses_of(champion, rows)
        if self._members:
            served = rows >= self._served_from
            labels = [stream.labels[row] for row in rows[served].tolist()]
            found[served] = losses(
                self._guards.served(rows[served]),
                labels,
                stream.task,
                positive=stream.positive,
                metric=self._metric,
            )
        found[np.isin(rows, champion.rows)] = np.nan
        return found

    def _losses_of(self, fitted: FittedVersion, rows: Ints) -> Floats:
        start, end = int(rows.min()), int(rows.max()) + 1
        found: Floats = fitted.losses(start, end, self._metric)[rows - start].copy()
        return found

    def _grow(self, end: int) -> None:
        """Retrain when the rows of the newest version have grown by the policy's factor."""
        newest = self.stored[self._newest]
        known = self._stream.known_rows(end)
        fresh = int((known >= newest.fitted.trained_until).sum())
        rows = self._to_grow.get(newest.name, len(newest.fitted.rows))
        if is_grown(rows, fresh, self._context.policy):
            self._retrain(None, self._usable_rows(end), 0, end)
            made = self.stored[self._newest]
            is_better = made is not newest and self._is_better
            trained = len(made.fitted.rows)
            wanted = rows_to_grow(rows + fresh, fresh, trained, is_better=is_better)
            self._to_grow = {made.name: wanted}

    def _compare_versions(self, end: int) -> None:
        """Take the losses of all versions on newly known labels; swap or weigh if due."""
        known = self._stream.known_rows(end)
        fresh = known[~self._is_scored[known]]
        self._is_scored[fresh] = True
        self._unscored += fresh.tolist()
        size = self._context.swap.block_events
        excluded = [
            one for one in excluded_ranges_of(self._database.rows, MODEL) if one.feature is None
        ]
        while len(self._unscored) >= size:
            block, self._unscored = np.array(self._unscored[:size]), self._unscored[size:]
            events = ((int(self._stream.times_ms[row]), self._served_by[row]) for row in block)
            ignored = np.array([is_excluded(*event, excluded) for event in events])
            by_version: dict[str, Floats] = {}
            for name, version in self.stored.items():
                by_version[name] = self._losses_of(version.fitted, block)
                by_version[name][(block < version.fitted.trained_until) | ignored] = np.nan
            swap = self._test.observe(by_version, self._scale())
            if swap is not None and self._context.swap.enabled and not self._pool:
                self.swaps += 1
                reason = (
                    f"version {swap.version} is better by {swap.improvement:.4f} on "
                    f"{swap.n_events} events"
                )
                self.changes.append(Change(end, "swap", reason))
                self._cancel_waiting_jobs(end)
                self._serve(swap.version, end, f"swap-{swap.version}")
            is_due = self._pool and self._vote.observe(by_version, self._scale())
            if is_due and self._champion != FIRST_VERSION:  # a pool begins with a retrain
                self._serve_pool(self._vote.weights(self.stored))

    def _cancel_waiting_jobs(self, end: int) -> None:
        """Cancel jobs that wait for labels: their drift was about the champion before a swap."""
        now_ms = int(self._stream.times_ms[end - 1])
        with self._database.transaction() as rows:
            for job in active_jobs(rows):
                swapped = job.to(job.state, now_ms=now_ms, rule="swapped")
                transition(rows, job, swapped.ended("cancelled"))

    def _scale(self) -> float:
        """The difference of two losses that counts in full."""
        if self._stream.task != "regression":
            return 1.0
        loss = next(iter(self.stored.values())).profile.loss
        return 1.0 if loss is None else max(4 * float(loss.mean or 1.0), 1e-12)

    def _form_pool(self) -> None:
        """Weigh the versions on the newest training rows of the champion, its own out of fold."""
        champion = self.stored[self._champion].fitted
        newest = champion.rows[-RECENT_EVENTS:]
        by_version: dict[str, Floats] = {}
        for name, version in self.stored.items():
            by_version[name] = self._losses_of(version.fitted, newest)
            by_version[name][newest < version.fitted.trained_until] = np.nan
        by_version[self._champion] = champion.out_of_fold_losses(self._metric)[-RECENT_EVENTS:]
        weights = vote_weights(by_version, self._scale())
        self._vote.state.champion = self._champion
        self._serve_pool(weights if self._champion in weights else {self._champion: 1.0})

    def _serve_pool(self, weights: dict[str, float]) -> None:
        before = self._vote.state.weights
        self._vote.serve(weights)
        self._members = {name: self.stored[name].fitted for name in weights}
        self.swaps += before.keys() != weights.keys()
