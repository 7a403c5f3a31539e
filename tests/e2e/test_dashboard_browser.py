"""The dashboard in a real browser, on a real Kafka, Redis and monitor, with hostile names.

The pictures of README and docs are made here, with plain names: ``DRIFTLINE_PICTURES=FOLDER``.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, sync_playwright

import driftline
from driftline.dashboard.page_templates import url
from producer.events import Event, Label
from tests.builders import inference_event
from tests.integration.monitor_harness import MonitorHarness, until
from tests.unit.self_contained import assert_self_contained

pytestmark = [pytest.mark.kafka]

CHROMIUM: Final = shutil.which("chromium") or "/usr/bin/chromium"
PICTURES: Final = os.environ.get("DRIFTLINE_PICTURES")
MODEL: Final = "churn" if PICTURES else "churn <script>alert(1)</script>"
FEATURE: Final = "tenure" if PICTURES else '<img src=x onerror=alert(2)> "tenure"'
PLAN: Final = "team" if PICTURES else "</text><script>alert(3)</script>"
TOKEN: Final = "a secret of this test"  # noqa: S105
START_MS: Final = 1_700_000_000_000 // 3_600_000 * 3_600_000
N_EVENTS: Final = 3_000


def drifting_log() -> Iterator[Event]:
    """Events of a model whose feature shifts after half of them, with labels."""
    rng = random.Random(3)  # noqa: S311
    for i in range(N_EVENTS):
        score = min(1.0, max(0.0, rng.gauss(0.4, 0.1)))
        values = {
            FEATURE: rng.gauss(30 if 2 * i < N_EVENTS else 48, 8),
            "age": rng.gauss(40, 10),
            "plan": rng.choice(("free", "pro", PLAN)),
        }
        time_ms = START_MS + 30_000 * i
        event = inference_event(f"e{i}", values, score, model=MODEL, time_ms=time_ms)
        yield event
        yield Label(id=event.id, model=MODEL, label=int(score > 0.45), time_ms=time_ms + 60_000)


@pytest.fixture(scope="module")
def installation(kafka_broker: str, redis_url: str) -> Iterator[dict[str, str]]:
    """The environment of commands on a topic that a monitor has read."""
    harness = MonitorHarness(kafka_broker, redis_url)
    log: list[Event | bytes] = list(drifting_log())
    harness.produce(MODEL, log)
    harness.start()
    until(lambda: harness.drained(len(log)), "the monitor reads all events")
    yield {
        **os.environ,
        "DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS": harness.broker,
        "DRIFTLINE_REDIS__URL": harness.redis_url,
        "DRIFTLINE_TOPICS__PREFIX": harness.prefix,
        "DRIFTLINE_DASHBOARD_TOKEN": TOKEN,
    }
    harness.close()


@pytest.fixture(scope="module")
def dashboard(installation: dict[str, str]) -> Iterator[str]:
    """The address of a dashboard of the installation."""
    process = subprocess.Popen(
        [sys.executable, "-m", "driftline", "dashboard", "--port", "0"],
        env=installation,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        until(lambda: _knows_the_incident(address), "the dashboard shows the incident")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        stopped = process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
        assert stopped == 0, "SIGTERM stops it cleanly"


def _knows_the_incident(address: str) -> bool:
    try:
        return bool(httpx.get(f"{address}/api/v1/incidents", timeout=10).json())
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_a_report_of_the_model_has_its_incident_and_loads_nothing(
    installation: dict[str, str], dashboard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a notebook."""
    [incident, *_] = httpx.get(f"{dashboard}/api/v1/incidents", timeout=10).json()
    file = tmp_path / "report.html"
    command = [sys.executable, "-m", "driftline", "report", "--html", str(file)]

    def report(model: str) -> int:
        return subprocess.run([*command, model], env=installation, check=False).returncode

    assert report("unknown") == 1
    assert not file.exists()
    assert report(MODEL) == 0
    texts = "".join(assert_self_contained(file.read_text("utf-8")).texts)
    assert incident["members"]
    for member in incident["members"]:
        assert member["explanation"].replace("`", "") in texts
    assert "1 incident in this range, 1 open" in texts

    for name, value in installation.items():
        monkeypatch.setenv(name, value)
    shown = driftline.report.model(MODEL, since=timedelta(days=7))
    assert "1 incident in this range, 1 open" in "".join(assert_self_contained(shown.html).texts)
    with pytest.raises(LookupError, match="unknown"):
        driftline.report.model("unknown")


class Visitor:
    """A page of the browser that notes dialogs, errors and violations of the content policy."""

    def __init__(self, browser: Browser, address: str, *, width: int, scheme: str) -> None:
        height = 844 if width < 600 else 900
        self._context = browser.new_context(
            base_url=address,
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        self.page: Page = self._context.new_page()
        self.problems: list[str] = []
        self.page.on("dialog", self._on_dialog)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._on_message)

    def _on_dialog(self, dialog: Dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def close(self) -> None:
        self._context.close()

    def picture(self, name: str, *, full: bool = False) -> None:
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=full)

    def fits(self) -> bool:
        """Whether the page needs no horizontal scrolling."""
        page = "document.documentElement"
        return bool(self.page.evaluate(f"{page}.scrollWidth <= {page}.clientWidth"))


def test_from_the_alert_to_the_answer_in_a_browser(browser: Browser, dashboard: str) -> None:
    """Three clicks: overview, incident, answer; nothing of a hostile name is executed."""
    visitor = Visitor(browser, dashboard, width=1280, scheme="light")
    page = visitor.page
    page.goto("/")
    assert MODEL in page.inner_text("h1")
    assert page.locator("tr.link .state").first.inner_text() == "Drift"
    assert visitor.fits()
    visitor.picture("dashboard-overview")

    page.get_by_role("link", name="Open the incident").first.click()
    page.wait_for_selector(".chart canvas")
    assert "One feature has changed" in page.inner_text("main")
    assert page.locator("table.dense tbody tr").count() > 5
    assert visitor.fits()
    visitor.picture("dashboard-incident")

    page.get_by_label("Your name").fill("ana <b>")
    page.get_by_label("Reason").fill("looking <i>")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Acknowledge").click()
    page.wait_for_selector("text=was written to the event topic")
    page.wait_for_selector("text=acknowledged by ana <b>", timeout=60_000)

    page.get_by_role("link", name=MODEL).first.click()
    page.wait_for_selector(".chart canvas")
    assert page.locator(".feature").count() == 3
    assert "against the newest 1,000 predictions" in page.inner_text("main")
    assert page.locator(".feature h3").first.inner_text().startswith(FEATURE)
    assert visitor.fits()
    visitor.picture("dashboard-model")
    assert visitor.problems == []
    visitor.close()


def test_on_a_phone_in_the_dark_by_keyboard(browser: Browser, dashboard: str) -> None:
    visitor = Visitor(browser, dashboard, width=390, scheme="dark")
    page = visitor.page
    for path in pages_of(dashboard):
        page.goto(path)
        assert visitor.fits(), path
        assert page.evaluate(CUT_FIELDS) == [], path
    page.goto("/")
    visitor.picture("dashboard-phone")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("no such model")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=No model fits")
    assert visitor.problems == []
    visitor.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(
    browser: Browser, dashboard: str, scheme: str
) -> None:
    visitor = Visitor(browser, dashboard, width=1280, scheme=scheme)
    for path in pages_of(dashboard):
        visitor.page.goto(path)
        weak = visitor.page.evaluate(WEAK_TEXTS)
        assert weak["failing"] == [], path
        assert weak["n"] > 10, path
    visitor.close()


def test_everything_that_reacts_is_reached_with_the_tab_key_and_has_a_name(
    browser: Browser, dashboard: str
) -> None:
    visitor = Visitor(browser, dashboard, width=1280, scheme="light")
    page = visitor.page
    for path in pages_of(dashboard):
        page.goto(path)
        found = page.evaluate(REACTING)
        assert [one for one in found if not one["name"]] == [], path
        for one in found:
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.outerHTML") == one["html"], path
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    visitor.close()


def pages_of(address: str) -> list[str]:
    """The address of every page, one of each kind."""
    [incident, *_] = httpx.get(f"{address}/api/v1/incidents", timeout=10).json()
    of_incident = f"/incidents/{incident['incident_id']}"
    of_model = url("/model", name=incident["model"])
    return ["/", "/incidents", "/retrains", "/coverage", "/doctor", of_model, of_incident]


CUT_FIELDS: Final = """() => [...document.querySelectorAll("input")].filter((field) =>
  field.getBoundingClientRect().right > field.parentElement.getBoundingClientRect().right + 1
).map((field) => field.outerHTML)"""
"""Fields that are wider than their place."""

REACTING: Final = """() => [...document.querySelectorAll(
  "a[href], button, input, select, summary")].filter((one) => one.checkVisibility()).map((one) => ({
    html: one.outerHTML,
    name: one.getAttribute("aria-label") || one.innerText || one.labels?.[0]?.innerText || "",
  }))"""
"""The visible links, buttons and fields in order, with the name that assistive programs use."""

WEAK_TEXTS: Final = """() => {
  const channel = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const rgba = (text) => {
    const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
  const light = (c) => c.map((v) => channel(v / 255))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => {
    const colour = rgba(getComputedStyle(one).backgroundColor);
    if (colour[3] === 1) return colour.slice(0, 3);
    return over(colour, one.parentElement ? behind(one.parentElement) : [255, 255, 255]);
  };
  const failing = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let n = 0;
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    const ignored = !walker.currentNode.data.trim() || one.closest("title, script, .skip");
    if (ignored || !one.checkVisibility()) continue;
    const style = getComputedStyle(one), below = behind(one);
    const text = over(rgba(one.closest("svg") ? style.fill : style.color), below);
    const [x, y] = [light(text), light(below)].sort((p, q) => q - p);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    n += 1;
    const ratio = (x + 0.05) / (y + 0.05);
    if (ratio < (large ? 3 : 4.5)) failing.push([walker.currentNode.data.trim(), ratio]);
  }
  return {n, failing};
}"""
"""The texts of a page with less than the contrast of WCAG AA; ``n`` texts were looked at."""
