"""The pages as HTML, from the read model."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from jinja2 import Environment
from markupsafe import Markup

from driftline.dashboard.incident_view import worst_first
from driftline.dashboard.page_templates import url
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.retrain_view import retrain_jobs
from driftline.monitor_state.coverage_report import reasons_of
from producer.printable import printable_json
from stream_monitor.contracts import DriftAlert

INCIDENTS_LISTED: Final = 40
JOBS_LISTED: Final = 100
MAX_SEARCH_CHARS: Final = 300


ANSWERS: Final = frozenset({"acknowledge", "snooze", "resolve"})


def _indented(alert: DriftAlert) -> Markup:
    """An alert as JSON on several lines."""
    text = msgspec.json.format(msgspec.json.encode(alert), indent=2).decode()
    return Markup.escape(printable_json(text))


class PageNotFound(LookupError):  # noqa: N818 - names what happened
    """There is no such page; the text has the reason."""


class Pages:
    """Renders each page; ``place`` names the installation.

    ``writable``: incidents can be answered with a token.
    """

    def __init__(
        self, read: ReadModel, environment: Environment, place: str, *, writable: bool
    ) -> None:
        self._read, self._environment, self._place = read, environment, place
        self._writable = writable

    def _render(self, template: str, *, here: str, refresh: str | None = None, **data: Any) -> str:
        self._read.observer.viewed()
        return self._environment.get_template(template).render(
            place=self._place, here=here, refresh=refresh or here, **data
        )

    def overview(self, q: str = "") -> str:
        """The first screen; ``q`` searches models."""
        search = q[:MAX_SEARCH_CHARS]
        return self._render(
            "overview.html",
            here="/",
            refresh=url("/", q=search) if search else "/",
            screen=self._read.first_screen(search),
            search=search,
        )

    def incidents(self) -> str:
        """All incidents, open ones first."""
        seen = self._read.observer.current
        found = worst_first(self._read.incidents(seen))
        jobs = retrain_jobs(seen.retrains)
        cards = self._read.cards(seen, found[:INCIDENTS_LISTED], jobs)
        return self._render("incidents.html", here="/incidents", cards=cards, n_all=len(found))

    def model(self, name: str = "", feature: str = "") -> str:
        """One model, with ``feature`` first.

        Raises:
            PageNotFound: the model is unknown.
        """
        view = self._read.model_page(name, feature)
        if view is None:
            raise PageNotFound(f"No model is named {name}")
        return self._render(
            "model.html", here="", refresh=url("/model", name=name, feature=feature), view=view
        )

    def incident(self, incident_id: str, answer: str = "", failed: str = "") -> str:
        """One incident; ``answer`` is what a person did a moment ago, ``failed`` why it failed.

        Raises:
            PageNotFound: there is no such incident.
        """
        incident = self._read.incident(incident_id)
        if incident is None:
            raise PageNotFound("There is no such incident; its alerts may have been deleted")
        view = self._read.incident_page(incident)
        return self._render(
            "incident.html",
            here="",
            refresh=f"/incidents/{incident.incident_id}",
            view=view,
            alert_json=_indented(view.alert),
            examples=self._read.examples(view),
            writable=self._writable,
            answer=answer if answer in ANSWERS else "",
            failed=failed,
        )

    def retrains(self) -> str:
        """Every decision of the trainer."""
        jobs = retrain_jobs(self._read.observer.current.retrains)
        return self._render(
            "retrains.html", here="/retrains", jobs=jobs[:JOBS_LISTED], n_all=len(jobs)
        )

    def coverage(self) -> str:
        """Render the share of each model's traffic that is watched."""
        seen = self._read.observer.current
        models = [(one, reasons_of(one)) for one in seen.coverage if one.model or one.events]
        models.sort(key=lambda each: 1.0 if each[0].share is None else each[0].share)
        return self._render("coverage.html", here="/coverage", models=models, seen=seen)

    def doctor(self) -> str:
        """The findings of doctor."""
        report = self._read.completed(self._read.observer.current.doctor)
        return self._render("doctor.html", here="/doctor", report=report)

    def failed(self, text: str, code: int) -> str:
        """A page about an error, which stays as it is."""
        return self._render("failed.html", here="", refresh="/", text=text, code=code)
