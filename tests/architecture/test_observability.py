"""Rules and dashboards name metrics that exist, and Prometheus accepts each of their queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from driftline.notify import notifier
from driftline.notify.metrics import NotifyMetrics
from stream_monitor.metrics import Metrics
from stream_monitor.runtime import app as monitor_app
from trainer.service import trainer
from trainer.service.metrics import TrainerMetrics

INFRA = Path(__file__).parents[2] / "infra"
RULES = INFRA / "prometheus" / "driftline.rules.yaml"
DASHBOARDS = sorted((INFRA / "grafana" / "dashboards").glob("*.json"))
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
EVERY_RULE: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"] for rule in EVERY_RULE if "record" in rule}
VARIABLES = {"$__rate_interval": "5m", "$model": ".*", "$version": ".*"}
PROMTOOL = shutil.which("promtool")
COLUMNS = 24


def registries() -> list[CollectorRegistry]:
    monitor = Metrics()
    monitor.watch(list)
    return [monitor.registry, TrainerMetrics().registry, NotifyMetrics().registry]


def exported() -> set[str]:
    """The names of all time series that driftline's processes export."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        f"{family.name}{suffix}"
        for registry in registries()
        for family in registry.collect()
        for suffix in suffixes.get(family.type, [""])
    }


def panels(dashboard: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard.read_text("utf-8"))["panels"]
    return found


def queries(dashboard: Path) -> Iterator[str]:
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield target["expr"]
    for variable in json.loads(dashboard.read_text("utf-8"))["templating"]["list"]:
        yield variable["definition"]


EXPRESSIONS = {
    RULES.name: [rule["expr"] for rule in EVERY_RULE],
    **{dashboard.name: list(queries(dashboard)) for dashboard in DASHBOARDS},
}


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_every_metric_that_is_named_exists(source: str) -> None:
    named = {n for e in EXPRESSIONS[source] for n in re.findall(r"\bdriftline[_:][\w:]+", e)}

    assert len(named) > 10
    assert named - exported() - RECORDED == set()


def test_every_recording_rule_is_a_sum_or_extreme_over_processes() -> None:
    """A worker that leaves, or a second one, must not change what a rule means."""
    assert len(RECORDED) > 5
    for rule in EVERY_RULE:
        if "record" in rule:
            assert re.match(r"(sum|min|max|count) by \(", rule["expr"]), rule["record"]


def test_every_alert_states_what_happens_and_what_to_do() -> None:
    alerts = [rule for rule in EVERY_RULE if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    for rule in alerts:
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_the_panels_of_a_dashboard_do_not_overlap_and_are_explained(dashboard: Path) -> None:
    found = panels(dashboard)
    boxes = [
        (p["gridPos"]["x"], p["gridPos"]["y"], p["gridPos"]["w"], p["gridPos"]["h"]) for p in found
    ]

    assert len({panel["id"] for panel in found}) == len(found) > 10
    assert all(x >= 0 and x + w <= COLUMNS for x, _, w, _ in boxes)
    for (ax, ay, aw, ah), (bx, by, bw, bh) in combinations(boxes, 2):
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay
    assert all(panel.get("description") for panel in found if panel["type"] != "row")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_reads_the_provisioned_source_through_known_variables(dashboard: Path) -> None:
    sources = INFRA / "grafana" / "provisioning" / "datasources" / "prometheus.yaml"
    uid = yaml.safe_load(sources.read_text("utf-8"))["datasources"][0]["uid"]
    text = dashboard.read_text("utf-8")
    board = json.loads(text)

    assert {found["uid"] for found in _sources(board)} == {uid}
    defined = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(queries(dashboard))))
    assert used <= defined | {"__rate_interval"}
    assert defined <= used


def _sources(node: Any) -> Iterator[dict[str, str]]:
    if isinstance(node, dict):
        if isinstance(node.get("datasource"), dict):
            yield node["datasource"]
        for value in node.values():
            yield from _sources(value)
    elif isinstance(node, list):
        for value in node:
            yield from _sources(value)


def test_compose_mounts_files_that_exist() -> None:
    services = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))["services"]
    observability = {n: s for n, s in services.items() if "observability" in s.get("profiles", ())}

    assert set(observability) == {"prometheus", "grafana"}
    mounts = [v for service in observability.values() for v in service["volumes"]]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert len(files) >= 3
    assert [name for name in files if not (INFRA / name).exists()] == []


def test_compose_waits_for_each_service_of_driftline_at_its_port() -> None:
    """`up --wait` waits only for services with a health check."""
    services = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))["services"]
    checked = {
        name: re.findall(r'"127.0.0.1", (\d+)', service["healthcheck"]["test"][-1])
        for name, service in services.items()
        if "build" in service and service["command"][0] != "topics"
    }
    published = {name: [services[name]["ports"][0].rpartition(":")[2]] for name in checked}

    assert checked.keys() == {"monitor", "trainer", "notifier", "dashboard"}
    assert checked == published


def test_prometheus_scrapes_each_process_at_its_port() -> None:
    config = yaml.safe_load((INFRA / "prometheus" / "prometheus.yaml").read_text("utf-8"))
    ports = {
        job["job_name"]: int(re.findall(r"8\d\d\d", str(job))[0])
        for job in config["scrape_configs"]
    }

    assert ports == {
        "driftline-monitor": monitor_app.DEFAULT_PORT,
        "driftline-trainer": trainer.DEFAULT_PORT,
        "driftline-notifier": notifier.DEFAULT_PORT,
    }


def promtool(*arguments: str, stdin: str = "") -> str:
    if PROMTOOL is None:
        pytest.skip("promtool is not installed (`.ci/run` installs it)")
    done = subprocess.run(
        [PROMTOOL, *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_finds_nothing_to_correct_in_the_metrics() -> None:
    for registry in registries():
        promtool("check", "metrics", stdin=generate_latest(registry).decode())


def test_prometheus_accepts_the_rules_and_they_do_what_their_tests_state() -> None:
    promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_suffix(".test.yaml")))


def test_prometheus_accepts_every_query_of_the_dashboards(tmp_path: Path) -> None:
    expressions = [q for d in DASHBOARDS for q in queries(d) if not q.startswith("label_values")]
    for name, value in VARIABLES.items():
        expressions = [expression.replace(name, value) for expression in expressions]
    rules = [{"record": f"query:{i}", "expr": each} for i, each in enumerate(expressions)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), "utf-8")

    assert f"{len(expressions)} rules found" in promtool("check", "rules", str(file))
