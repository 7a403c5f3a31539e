"""The read model: what the pages and the API show, computed from an `Observation`.

What follows from the alerts alone is computed once for each new alert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from confluent_kafka import KafkaException

from driftline.dashboard.feature_view import FeatureView, feature_views
from driftline.dashboard.incident_page import Examples, IncidentView, examples_of, incident_view
from driftline.dashboard.incident_view import (
    IncidentCard,
    alerts_by_episode,
    incident_card,
    with_newest_events,
    worst_first,
)
from driftline.dashboard.model_row import ModelRow, model_row
from driftline.dashboard.model_state import ModelState, model_states
from driftline.dashboard.model_view import ModelView, model_view
from driftline.dashboard.observation import DoctorReport, Observation, deploys_of
from driftline.dashboard.observer import ModelDetail, Observer
from driftline.dashboard.overview import Headline, Tile, counts_by_state, headline_of, tiles_of
from driftline.dashboard.recent_values import N_RECENT, NONE_RECENT, RecentValues, recent_values
from driftline.dashboard.retrain_view import RetrainJob, retrain_jobs
from driftline.topics.alert_history import open_alerts
from driftline.topics.events_around import EventAt, read_events_around
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import Incident, incidents_of

if TYPE_CHECKING:
    from stream_monitor.settings import Settings

MODELS_SHOWN: Final = 40
INCIDENTS_SHOWN: Final = 3
INCIDENTS_NAMED: Final = 6
JOBS_SHOWN: Final = 8
N_EXAMPLES: Final = 5
EXAMPLES_KEPT: Final = 200
RECENT_MS: Final = 30_000
"""The newest events are read again after this time."""
RECENT_KEPT: Final = 200


class FirstScreen(msgspec.Struct, frozen=True, kw_only=True):
    """The first screen; ``n_matching`` models fit the search, of which ``rows`` are shown."""

    seen: Observation
    headline: Headline
    tiles: list[Tile]
    rows: list[ModelRow]
    n_models: int
    n_matching: int
    by_state: dict[str, int]
    cards: list[IncidentCard]
    more_cards: list[IncidentCard]
    n_open: int
    jobs: list[RetrainJob]
    n_jobs: int


class ReadModel:
    """Computes the views from the latest observation.

    ``complete`` adds the options of the installation to the commands in a text.
    """

    def __init__(
        self,
        observer: Observer,
        settings: Settings,
        *,
        complete: Callable[[str], str] = lambda text: text,
    ) -> None:
        self.observer = observer
        self.settings = settings
        self._complete = complete
        self._examples: dict[str, Examples] = {}
        self._recent: dict[tuple[str, str, int], tuple[int, RecentValues]] = {}
        self._policy = settings.incident_policy()
        self._incidents: tuple[tuple[int, int], list[Incident]] = ((-1, -1), [])

    def incidents(self, seen: Observation) -> list[Incident]:
        """All incidents, in the order in which they opened."""
        key = (len(seen.alerts), len(seen.versions))
        if self._incidents[0] != key:
            found = incidents_of(seen.alerts, self._policy, deploys=deploys_of(seen.versions))
            self._incidents = (key, found)
        return self._incidents[1]

    def states(self, seen: Observation) -> list[ModelState]:
        """The state of each model, the worst first."""
        alive = bool(seen.workers) or bool(seen.away())  # unknown, where Redis cannot be asked
        return model_states(seen, workers_alive=alive)

    def first_screen(self, search: str = "", *, n_models: int = MODELS_SHOWN) -> FirstScreen:
        """The first screen; ``search`` is a part of a model's name, or of its state."""
        seen = self.observer.current
        states = self.states(seen)
        wanted = search.casefold()
        matching = [
            s for s in states if wanted in s.model.casefold() or wanted in s.label.casefold()
        ]
        shown = matching[:n_models]
        incidents = self.incidents(seen)
        opened = [one for one in worst_first(incidents) if one.closed_ms is None]
        jobs = retrain_jobs(seen.retrains)
        cards = self.cards(seen, opened[: INCIDENTS_SHOWN + INCIDENTS_NAMED], jobs)
        seen = msgspec.structs.replace(seen, doctor=self.completed(seen.doctor))
        return FirstScreen(
            seen=seen,
            headline=headline_of(seen, states, incidents),
            tiles=tiles_of(seen),
            rows=self.rows(seen, shown),
            n_models=len(states),
            n_matching=len(matching),
            by_state=dict(counts_by_state(states)),
            cards=cards[:INCIDENTS_SHOWN],
            more_cards=cards[INCIDENTS_SHOWN:],
            n_open=len(opened),
            jobs=jobs[:JOBS_SHOWN],
            n_jobs=len(jobs),
        )

    def rows(self, seen: Observation, states: Sequence[ModelState]) -> list[ModelRow]:
        """The rows of some models."""
        n = len(states)
        return [model_row(s, seen, self.observer.detail(s.model, n)) for s in states]

    def cards(
        self, seen: Observation, incidents: Sequence[Incident], jobs: Sequence[RetrainJob]
    ) -> list[IncidentCard]:
        """The cards of some incidents."""
        alerts = alerts_by_episode(seen.alerts)
        n = len({one.model for one in incidents})
        return [
            incident_card(one, alerts, self.observer.detail(one.model, n), jobs)
            for one in incidents
        ]

    def episode_alerts(self, seen: Observation) -> list[DriftAlert]:
        """The latest alert of each episode, open or ended, the newest first."""
        latest = [alerts[-1] for alerts in alerts_by_episode(seen.alerts).values()]
        return sorted(latest, key=lambda alert: (-alert.decided_ms, alert.alert_id))

    def model_page(self, name: str, feature: str = "") -> ModelView | None:
        """The page of a model, with ``feature`` first; ``None`` if the model is unknown."""
        seen = self.observer.current
        state = next((one for one in self.states(seen) if one.model == name), None)
        if state is None:
            return None
        detail = self.observer.detail(name)
        return model_view(
            state,
            seen,
            detail,
            self.observer.warming_up(name),
            limits=self.settings.drift_limits(),
            feature=feature,
            recent=self.recent_of_shown(name, detail),
        )

    def recent_of_shown(self, name: str, detail: ModelDetail) -> RecentValues:
        """The newest events of the version that is shown.

        Features are counted only while the version has no closed window.
        """
        version = detail.shown_version(self.observer.current.champion_of(name))
        return self.recent(name, detail, version, features=not detail.windows_of(version).windows)

    def recent(
        self,
        name: str,
        detail: ModelDetail,
        version: str | None,
        *,
        features: bool,
        since_ms: int = 0,
    ) -> RecentValues:
        """The newest events of a version, from ``since_ms`` on; nothing while Kafka is away."""
        seen = self.observer.current
        profile = detail.reference_of(version)
        if profile is None or any(server.name == "Kafka" for server in seen.away()):
            return NONE_RECENT
        if profile.prediction is None and not features:
            return NONE_RECENT
        key = (name, profile.version, since_ms)
        known = self._recent.get(key)
        if known is not None and seen.now_ms - known[0] < RECENT_MS:
            return known[1]
        try:
            events = self.newest_events(name, profile.version)
        except KafkaException:
            return NONE_RECENT
        if len(self._recent) >= RECENT_KEPT:
            self._recent.clear()
        found = recent_values(profile, events, features=features, since_ms=since_ms)
        self._recent[key] = (seen.now_ms, found)
        return found

    def newest_events(self, name: str, version: str) -> list[EventAt]:
        """The newest events of a version, by partition.

        Raises:
            KafkaException: no broker answers, or Kafka denies a permission.
        """
        watched = self.observer.partitions_of(name)
        rows = [row for row in self.observer.current.partitions if row.partition in watched]
        return [
            each
            for row in rows
            for each in read_events_around(
                self.settings.kafka.client(),
                self.settings.topics.events,
                row.partition,
                row.end or 0,
                model=name,
                version=version,
                n_each=N_RECENT,
                n_records=3 * N_RECENT,
            ).before
        ]

    def features(self, name: str) -> list[FeatureView]:
        """The features of the version that is shown: drifting ones first."""
        detail = self.observer.detail(name)
        recent = self.recent_of_shown(name, detail)
        limits = self.settings.drift_limits()
        return feature_views(name, self.observer.current, detail, limits, recent.features)

    def incident(self, incident_id: str) -> Incident | None:
        """The incident with this id."""
        found = self.incidents(self.observer.current)
        return next((one for one in found if one.incident_id == incident_id), None)

    def incident_page(self, incident: Incident) -> IncidentView:
        """The page of an incident."""
        seen = self.observer.current
        detail = self.observer.detail(incident.model)
        alerts = alerts_by_episode(seen.alerts)
        jobs = retrain_jobs(seen.retrains, incident.model)
        card = incident_card(incident, alerts, detail, jobs)
        shown = card.picture
        if shown is not None and shown.shape is None and shown.feature and not shown.until_ms:
            recent = self.recent(
                incident.model, detail, card.worst.version, features=True, since_ms=shown.since_ms
            )
            card = with_newest_events(card, detail, recent)
        return incident_view(card, seen, alerts, detail, jobs, self._complete)

    def open_episodes_of(self, incident: Incident) -> list[DriftAlert]:
        """The latest alert of each open episode of an incident."""
        members = {member.episode_id for member in incident.members}
        opened = open_alerts(self.observer.current.alerts)
        return [alert for alert in opened if alert.episode_id in members]

    def examples(self, view: IncidentView) -> Examples | None:
        """Events before and after the worst episode began; ``None`` while Kafka is away."""
        alert = view.alert
        known = self._examples.get(alert.episode_id)
        if known is not None:
            return known
        if any(server.name == "Kafka" for server in self.observer.current.away()):
            return None
        try:
            onset, detection = (
                read_events_around(
                    self.settings.kafka.client(),
                    alert.topic,
                    alert.partition,
                    offset,
                    model=alert.model,
                    version=alert.version,
                    n_each=N_EXAMPLES,
                )
                for offset in (alert.onset_offset, alert.detected_offset + 1)
            )
        except KafkaException:
            return None
        changed = [row.latest.feature for row in view.episodes if row.latest.feature is not None]
        examples = examples_of(onset, detection, list(dict.fromkeys(changed)))
        if len(self._examples) >= EXAMPLES_KEPT:
            self._examples.clear()
        self._examples[alert.episode_id] = examples
        return examples

    def completed(self, report: DoctorReport) -> DoctorReport:
        """The findings of doctor, with commands that can be pasted."""
        results = [
            msgspec.structs.replace(one, fix=self._complete(one.fix)) for one in report.results
        ]
        return msgspec.structs.replace(report, results=results)
