"""Alert rules, dashboard and their page: queries use metrics that a Server has, and each alert is tested and explained."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.generate_docs import cli_page

from lyftdata.core.refusals import IdentityClonedError
from lyftdata.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "examples" / "prometheus"
RULES = PROMETHEUS / "lyftdata-alerts.yml"
RULE_TESTS = PROMETHEUS / "lyftdata-alerts-test.yml"
DASHBOARD = ROOT / "examples" / "grafana" / "lyftdata.json"
PAGE = (ROOT / "docs" / "reference" / "alerts.md").read_text(encoding="utf-8")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here")


@pytest.fixture(scope="module")
def exposed() -> dict[str, set[str]]:
    """Return the metrics of a Server with the names of their labels."""
    metrics = Metrics(
        online=lambda: 1,
        workers=lambda: 1,
        pending=lambda: 0,
        audit_is_intact=lambda: True,
        last_checkpoint_at=lambda: 0.0,
        is_writing=lambda: True,
    )
    metrics.keep_destinations({"siem": {}})
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(\w+)(\{.*\})? ", metrics.render().decode(), re.MULTILINE):
        found[name] = set(re.findall(r'(\w+)="', labels))
    return found


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def dashboard_queries() -> list[str]:
    """Return the queries of the dashboard's panels, with values for Grafana's variables."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    return [query.replace("$__rate_interval", "5m").replace("$job", "lyftdata") for query in queries]


def promtool(*arguments: str, directory: Path) -> str:
    """Run promtool, which must succeed; return its output."""
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_prometheus_accepts_the_examples():
    """Prometheus' own tool reads the rules and the scrape configuration."""
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES.name, directory=PROMETHEUS)
    promtool("check", "config", "lyftdata-server.yml", directory=PROMETHEUS)


@needs_promtool
def test_the_rules_pass_their_tests():
    """`promtool test rules` passes."""
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS.name, directory=PROMETHEUS)


def test_each_alert_is_tested_both_ways():
    """For each alert there is a time at which it fires, and one at which it does not."""
    cases = [
        case for test in yaml.safe_load(RULE_TESTS.read_text())["tests"] for case in test["alert_rule_test"]
    ]
    firing = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}

    assert firing == silent == {rule["alert"] for rule in rules()}


@needs_promtool
def test_each_query_of_the_dashboard_can_be_evaluated(tmp_path):
    """Prometheus parses all of them; otherwise a mistake would only show as an empty panel."""
    made = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": made}]}))

    assert f"{len(made)} rules found" in promtool("check", "rules", "panels.yml", directory=tmp_path)


def asked_for(query: str) -> list[tuple[str, set[str]]]:
    """Return each metric in a query, with the labels that it selects or groups by."""
    grouped = {
        label.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for label in group.split(",")
    }
    return [
        (name, grouped | set(re.findall(r"(\w+)=", selector)))
        for name, selector in re.findall(r"\b((?:lyftdata_\w+|up\b))(\{[^}]*\})?", query)
    ]


def test_queries_use_metrics_that_a_server_has(exposed):
    """Every metric in a rule or a panel is exposed, with every label that it is selected or grouped by."""
    queries = [*dashboard_queries(), *(rule["expr"] for rule in rules())]
    for query in queries:
        assert asked_for(query), query
        for name, labels in asked_for(query):
            known = exposed | {"up": set()}
            assert name in known, query
            # Prometheus adds `job` and `instance`.
            assert labels <= {"job", "instance"} | known[name], query


def test_every_metric_is_on_the_page_and_on_the_dashboard(exposed):
    """The page's table lists each metric with its labels, and no metrics that do not exist."""
    table = dict(re.findall(r"^\| `(lyftdata_\w+)` \| \w+ \| (.*?) \|", PAGE, re.MULTILINE))
    on_the_dashboard = {name for query in dashboard_queries() for name, _ in asked_for(query)}

    assert set(table) == set(exposed)
    assert set(exposed) <= on_the_dashboard
    for name, labels in exposed.items():
        assert all(f"`{label}`" in table[name] for label in labels), name


def test_each_alert_links_to_its_section():
    """The link's anchor is a heading of the page, and the section has the alert's meaning, cause and action."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))

    assert list(sections) == [rule["alert"] for rule in rules()]
    for rule in rules():
        assert rule["annotations"]["runbook_url"].endswith(f"/reference/alerts.html#{rule['alert'].lower()}")
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert [
            part
            for part in ("**Meaning.**", "**Cause.**", "**Action.**")
            if part not in sections[rule["alert"]]
        ] == []


def test_commands_and_log_events_on_the_page_exist():
    """An operator pastes them in an incident."""
    events = (ROOT / "docs" / "reference" / "log-events.md").read_text(encoding="utf-8")
    commands = cli_page()
    for quoted in re.findall(r"`(lyftdata [a-z][^`]*)`", PAGE):
        words = re.match(r"lyftdata(?: [a-z][a-z-]*)+", quoted)
        assert words
        assert f"`{words[0]}`" in commands or f"## {words[0]}\n" in commands, quoted
    for event in re.findall(r"log event `(\w+)`", PAGE):
        assert f"| `{event}` |" in events, event


def test_the_alert_for_a_copied_identity_uses_the_code_of_the_refusal():
    """The rule's `cause` is the code of the refusal."""
    (rule,) = (rule for rule in rules() if rule["alert"] == "LyftdataIdentityCloned")
    assert f'cause="{IdentityClonedError.code}"' in rule["expr"]
    assert IdentityClonedError.proved
