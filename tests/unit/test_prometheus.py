"""deploy/prometheus: the alert rules do as their tests say, and speak of metrics that there are."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.health import Health
from streams.sections import Web
from streams.tally import Tally
from streams.telemetry import Telemetry
from tests.unit.test_telemetry import PIPELINE

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES_FILE, TESTS_FILE, CONFIG = FOLDER / "sellerpulse.rules.yml", FOLDER / "sellerpulse.tests.yml", "prometheus.yml"
RULES: list[dict[str, Any]] = yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]
TESTS: list[dict[str, Any]] = yaml.safe_load(TESTS_FILE.read_text())["tests"]


@pytest.mark.parametrize(
    "words", [("test", "rules", TESTS_FILE.name), ("check", "config", CONFIG)], ids=lambda words: words[0]
)
def test_promtool_finds_nothing_wrong(words: tuple[str, ...]) -> None:
    if shutil.which("promtool") is None:
        reason = "the rules are tested by promtool, of Debian's package prometheus"
        if "SELLERPULSE_CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [rule["alert"] for rule in RULES])
def test_an_alert_is_shown_to_fire_and_not_to(name: str) -> None:
    cases = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == name]
    assert {bool(case.get("exp_alerts")) for case in cases} == {True, False}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_about_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert rule["labels"]["severity"] in ("warning", "critical")
    tally = Tally()
    health = Health(tally, lambda: None, lambda: None)
    told = Telemetry(tally, health, lambda: PIPELINE, lambda: None).text().decode()
    known = set(re.findall(r"^# TYPE (sellerpulse_\w+)", told, re.MULTILINE))
    named = set(re.findall(r"sellerpulse_\w+", rule["expr"]))
    assert {name.removesuffix("_bucket") for name in named} <= known


def test_the_prometheus_of_the_compose_file_loads_the_same_rules() -> None:
    compose = yaml.safe_load((FOLDER.parents[1] / "docker-compose.yml").read_text())
    inside = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    example = yaml.safe_load((FOLDER / CONFIG).read_text())
    assert inside["rule_files"] == example["rule_files"] == [RULES_FILE.name]
    assert inside["scrape_configs"][0]["job_name"] == example["scrape_configs"][0]["job_name"]
    assert compose["configs"]["rules"]["file"] == f"deploy/prometheus/{RULES_FILE.name}"


def test_the_example_asks_where_a_worker_answers_by_default() -> None:
    (job,) = yaml.safe_load((FOLDER / CONFIG).read_text())["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{Web().host}:{Web().port}"]
    assert all(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES if "up{" in rule["expr"])
