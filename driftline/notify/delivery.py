"""Send messages to targets: through apprise, to Alertmanager-like webhooks, and to PagerDuty.

An error names what failed and what to do, never the URL or the secret of the target.
"""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

import apprise
import requests

from driftline.notify.messages import Text, pagerduty_event_of, text_of, webhook_of
from driftline.notify.plan import Action
from driftline.notify.settings import TargetSettings
from driftline.notify.subjects import Subject
from stream_monitor.shared_settings import InvalidSetting

_MAX_REASON: Final = 300


class DeliveryFailed(RuntimeError):  # noqa: N818 - a finding, named for what it is
    """A target did not accept a message; ``fix`` is what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason[:_MAX_REASON])
        self.fix = fix


class Message(NamedTuple):
    """A message about a subject."""

    subject: Subject
    action: Action


class Sender(Protocol):
    """Sends to one target, in the thread of the caller."""

    in_place: bool
    """Whether a later message about a subject replaces the earlier one."""

    def send(self, message: Message) -> None:
        """Send a message; raises DeliveryFailed."""

    def send_text(self, text: Text) -> None:
        """Send a text that concerns no single subject; raises DeliveryFailed."""


def sender_of(
    name: str, settings: TargetSettings, *, dashboard_url: str, timeout_s: float
) -> Sender:
    """The sender of a target.

    Raises:
        InvalidSetting: the URL is of no known service, or a file of a secret cannot be read.
    """
    url, secret = settings.read_url(), settings.read_secret()
    if settings.kind == "apprise":
        return AppriseSender(name, url, dashboard_url, timeout_s)
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidSetting(
            f"[notify.targets.{name}] url of kind {settings.kind} must begin with https:// or "
            "http://"
        )
    if settings.kind == "pagerduty":
        return PagerDutySender(name, url, secret, dashboard_url, timeout_s)
    return WebhookSender(name, url, secret, dashboard_url, timeout_s)


class AppriseSender:
    """Sends texts through apprise, which supports the URLs of more than a hundred services."""

    in_place = False

    def __init__(self, name: str, url: str, dashboard_url: str, timeout_s: float) -> None:
        self._name, self._dashboard_url, self._timeout_s = name, dashboard_url, timeout_s
        self._secrets = [url, *_secrets_of(url)]
        asset = apprise.AppriseAsset(
            app_id="driftline",
            app_desc="driftline",
            async_mode=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
        )
        self._apprise = apprise.Apprise(asset=asset)
        logging.getLogger("apprise").propagate = False  # its lines may name URLs
        if not self._apprise.add(url):
            raise InvalidSetting(
                f"[notify.targets.{name}] apprise does not know the service of this url, or a "
                "part of it is missing; the URLs are at https://appriseit.com/services/"
            )

    def send(self, message: Message) -> None:
        """Send the text of a message; raises DeliveryFailed."""
        self.send_text(text_of(message.subject, message.action, self._dashboard_url))

    def send_text(self, text: Text) -> None:
        """Send a text; raises DeliveryFailed."""
        kind = apprise.NotifyType.WARNING
        if text.is_resolved:
            kind = apprise.NotifyType.SUCCESS
        elif text.severity == "high":
            kind = apprise.NotifyType.FAILURE
        result = self._apprise.notify(
            body=text.body,
            title=text.title,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=self._timeout_s,
            log_level=logging.WARNING,
        )
        if not result:
            lines = [entry.message for each in result for tried in each for entry in tried.logs]
            reason = "; ".join(dict.fromkeys(lines)) or f"no answer within {self._timeout_s:g} s"
            for secret in self._secrets:
                reason = reason.replace(secret, "***")
            raise DeliveryFailed(
                reason,
                f"check the url of [notify.targets.{self._name}] and that the service can be "
                f"reached from here, then: driftline notify --test {self._name}",
            )


def _secrets_of(url: str) -> list[str]:
    """The parts of a URL that may be secret: all but the scheme and short words."""
    rest = url.partition("://")[2]
    for sign in "/:@?&=,":
        rest = rest.replace(sign, " ")
    return sorted((part for part in rest.split() if len(part) >= 8), key=len, reverse=True)


class WebhookSender:
    """Posts the JSON of Alertmanager's webhook, version 4."""

    in_place = True

    def __init__(
        self, name: str, url: str, token: str, dashboard_url: str, timeout_s: float
    ) -> None:
        self._name, self._url, self._timeout_s = name, url, timeout_s
        self._dashboard_url = dashboard_url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, message: Message) -> None:
        """Post the group of the subject's episodes; raises DeliveryFailed."""
        body = webhook_of(message.subject, message.action, self._name, self._dashboard_url)
        _post(self._name, self._url, body, self._timeout_s, self._headers)

    def send_text(self, text: Text) -> None:
        """Post a text as a group without alerts; raises DeliveryFailed."""
        body = {
            "version": "4",
            "groupKey": "{}:{digest}",
            "truncatedAlerts": 0,
            "status": "resolved" if text.is_resolved else "firing",
            "receiver": self._name,
            "groupLabels": {},
            "commonLabels": {"severity": text.severity},
            "commonAnnotations": {"title": text.title, "explanation": text.body},
            "externalURL": self._dashboard_url,
            "alerts": [],
        }
        _post(self._name, self._url, body, self._timeout_s, self._headers)


class PagerDutySender:
    """Sends events to PagerDuty's Events API v2."""

    in_place = True

    def __init__(
        self, name: str, url: str, routing_key: str, dashboard_url: str, timeout_s: float
    ) -> None:
        self._name, self._url, self._timeout_s = name, url, timeout_s
        self._dashboard_url, self._routing_key = dashboard_url, routing_key

    def send(self, message: Message) -> None:
        """Trigger, acknowledge or resolve the subject's incident; raises DeliveryFailed."""
        subject, action = message
        event = pagerduty_event_of(subject, action, self._routing_key, self._dashboard_url)
        _post(self._name, self._url, event, self._timeout_s, {})

    def send_text(self, text: Text) -> None:
        """Trigger and resolve an incident of the text, so that it pages for a moment only."""
        event: dict[str, Any] = {
            "routing_key": self._routing_key,
            "dedup_key": "driftline/text",
            "payload": {"summary": text.title, "source": "driftline", "severity": "info"},
        }
        for action in ("trigger", "resolve"):
            body = event | {"event_action": action}
            _post(self._name, self._url, body, self._timeout_s, {})


def _post(
    name: str, url: str, body: dict[str, Any], timeout_s: float, headers: dict[str, str]
) -> None:
    """Post JSON; a redirect is a failure, because it would lose the body.

    Raises:
        DeliveryFailed: the target did not answer with 2xx.
    """
    host = urlsplit(url).hostname or "the target"
    section = f"[notify.targets.{name}]"
    try:
        answer = requests.post(
            url, json=body, headers=headers, timeout=timeout_s, allow_redirects=False
        )
    except requests.Timeout as error:
        raise DeliveryFailed(
            f"{host} did not answer within {timeout_s:g} s", f"check the url of {section}"
        ) from error
    except (requests.RequestException, ValueError) as error:
        raise DeliveryFailed(
            f"cannot connect to {host} ({type(error).__name__})",
            f"check the url of {section}, and that {host} can be reached from here",
        ) from None  # the text of the error contains the URL
    if answer.ok and not answer.is_redirect:
        return
    fixes = {
        401: f"check the secret of {section}",
        403: f"check the secret of {section}",
        429: "nothing: it is retried; send less to this target with [[notify.routes]]",
    }
    fix = fixes.get(answer.status_code, f"check the url of {section}")
    if answer.status_code >= 500:
        fix = f"nothing if {host} is down for a moment: it is retried"
    raise DeliveryFailed(f"{host} answered HTTP {answer.status_code}", fix)
