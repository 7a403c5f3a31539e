"""Messages arrive at real servers on loopback; an error names what to do and no secret."""

from __future__ import annotations

import email
import email.policy
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.notify.delivery import DeliveryFailed, Message, sender_of
from driftline.notify.messages import Text
from driftline.notify.settings import TargetSettings
from driftline.stack.server_process import free_port
from tests.integration.http_sink import HttpSink, http_sink
from tests.unit.notify_subjects import NOON_MS, a_subject

SECRET = "kE9-very-secret-token"  # noqa: S105 - it opens nothing


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


class Mailbox:
    """Keeps the mails that a local SMTP server accepts."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.arrived = threading.Event()

    async def handle_DATA(  # noqa: N802 - its name in aiosmtpd
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        """Keep a mail."""
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.arrived.set()
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    port = free_port()
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    yield box, port
    server.stop()


def target(**fields: Any) -> TargetSettings:
    return TargetSettings(**fields)


def send(settings: TargetSettings, message: Message, timeout_s: float = 5.0) -> None:
    sender = sender_of("ops", settings, dashboard_url="https://d.example", timeout_s=timeout_s)
    sender.send(message)


OPEN = Message(a_subject(), "open")
END = Message(a_subject(closed_ms=NOON_MS), "resolve")


def test_a_mail_arrives_with_title_text_and_link(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    url = f"mailto://127.0.0.1:{port}?from=driftline@d.example&to=team@d.example&mode=insecure"

    send(target(url=url), OPEN)

    assert box.arrived.wait(10)
    (mail,) = box.mails
    assert mail["Subject"] == "[medium] churn: broken data"
    assert mail["To"] == "team@d.example"
    text = "".join(
        part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"
    )
    assert "`age` changed. Began 15 Nov 2023 11:00 UTC." in text
    assert "https://d.example/incidents/i1" in text


def test_apprise_posts_to_a_webhook_of_its_own_format(sink: HttpSink) -> None:
    send(target(url=f"json://{sink.host}/hook"), OPEN)
    send(target(url=f"json://{sink.host}/hook"), END)

    begin, end = (posted.body for posted in sink.accepted)
    assert begin["title"] == "[medium] churn: broken data"
    assert "`age` changed." in begin["message"]
    assert (begin["type"], end["type"]) == ("warning", "success")


def test_a_webhook_gets_the_group_with_its_token(sink: HttpSink) -> None:
    settings = target(kind="alertmanager", url=f"http://{sink.host}/am", secret=SECRET)

    send(settings, OPEN)
    send(settings, END)

    begin, end = sink.accepted
    assert begin.path == "/am"
    assert begin.headers["Authorization"] == f"Bearer {SECRET}"
    assert (begin.body["status"], end.body["status"]) == ("firing", "resolved")
    assert begin.body["groupKey"] == end.body["groupKey"]


def test_pagerduty_gets_events_with_one_key(sink: HttpSink) -> None:
    settings = target(kind="pagerduty", url=f"http://{sink.host}/v2/enqueue", secret=SECRET)

    send(settings, OPEN)
    send(settings, END)

    begin, end = (posted.body for posted in sink.accepted)
    assert [begin["event_action"], end["event_action"]] == ["trigger", "resolve"]
    assert begin["dedup_key"] == end["dedup_key"]
    assert begin["routing_key"] == SECRET


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (302, "check the url"),
        (401, "check the secret"),
        (404, "check the url"),
        (429, "retried"),
        (503, "retried"),
    ],
)
def test_an_answer_that_is_no_success_is_a_failure_with_what_to_do(
    sink: HttpSink, status: int, fix: str
) -> None:
    sink.status = status
    url = f"http://{sink.host}/hook/{SECRET}"

    with pytest.raises(DeliveryFailed, match=f"HTTP {status}") as caught:
        send(target(kind="alertmanager", url=url, secret=SECRET), OPEN)

    assert fix in caught.value.fix
    assert SECRET not in str(caught.value) + caught.value.fix
    assert sink.accepted == []


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("alertmanager", f"http://127.0.0.1:{{port}}/{SECRET}"),
        ("apprise", f"json://user:{SECRET}@127.0.0.1:{{port}}/{SECRET}"),
        (
            "apprise",
            f"mailto://user:{SECRET}@127.0.0.1:{{port}}?from=d@b.example&to=a@b.example&mode=insecure",
        ),
    ],
)
def test_a_server_that_is_away_is_a_failure_without_secrets(
    kind: str, url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = target(kind=kind, url=url.format(port=free_port()))

    with pytest.raises(DeliveryFailed) as caught:
        send(settings, OPEN)

    assert "no answer within" not in str(caught.value)
    assert "[notify.targets.ops]" in caught.value.fix
    shown = str(caught.value) + caught.value.fix + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in shown


def test_the_digest_reaches_a_target_of_any_kind(sink: HttpSink) -> None:
    text = Text("[digest] 2 incidents", "churn: 2", "low", is_resolved=True)
    for kind, scheme in (("apprise", "json"), ("alertmanager", "http"), ("pagerduty", "http")):
        secret = {"secret": SECRET} if kind == "pagerduty" else {}
        settings = target(kind=kind, url=f"{scheme}://{sink.host}/x", **secret)
        sender_of("ops", settings, dashboard_url="", timeout_s=5).send_text(text)

    assert len(sink.accepted) == 4  # PagerDuty: trigger and resolve
    assert all("[digest] 2 incidents" in str(posted.body) for posted in sink.accepted[:3])


def test_the_command_sends_a_test_message_and_names_the_target_that_fails(
    sink: HttpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTLINE_NOTIFY__TARGETS__GOOD__URL", f"json://{sink.host}/hook")
    monkeypatch.setenv("DRIFTLINE_NOTIFY__TARGETS__BAD__URL", f"json://127.0.0.1:{free_port()}")

    one = CliRunner().invoke(app, ["notify", "--test", "good"])
    both = CliRunner().invoke(app, ["notify", "--test", "all"])

    assert (one.exit_code, one.stdout) == (0, "good: accepted the message\n")
    assert both.exit_code == 1
    assert "bad" in both.stderr
    assert len(sink.accepted) == 2


def test_the_command_without_a_target_explains_how_to_set_one() -> None:
    done = CliRunner().invoke(app, ["notify"])

    assert done.exit_code == 2
    assert "[notify.targets.team]" in done.stderr
