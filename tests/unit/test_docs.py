"""Undocumented means failing: README names every metric, rule, command, setting and table. The site: `test_site`."""

import re
from pathlib import Path

import pytest

from streams.commands.cli import COMMANDS
from streams.connectors.files import FORMATS
from streams.core.metrics import METRICS, Metric
from streams.core.rules import DEFAULT_RULES
from streams.gateway.telemetry import Telemetry as GatewayTelemetry
from streams.health import Health
from streams.receivertables import Alertmanager, Email, Slack, Webhook
from streams.ruletables import RuleTable
from streams.sections import Access
from streams.settings import Settings
from streams.tally import Tally
from streams.telemetry import Telemetry
from tests.unit.test_telemetry import PIPELINE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(
    r"```toml\n(.*?)```", README, re.DOTALL
)  # settings: all but access, then access, then rules, then receivers


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_readme_has_a_row_for_every_metric_with_its_unit_and_formula(metric: Metric) -> None:
    assert f"| `{metric.name}` | {metric.unit} | {metric.formula} |" in README


def test_readme_names_every_rule() -> None:
    assert not [rule.name for rule in DEFAULT_RULES if f"| `{rule.name}` |" not in README]


def test_readme_names_every_key_of_a_rule() -> None:
    keys = [field.alias or name for name, field in RuleTable.model_fields.items()]
    assert not [key for key in keys if f"| `{key}` |" not in README]


def test_readme_names_every_command() -> None:
    assert not [name for name in COMMANDS if f"sellerpulse {name}" not in README and f"make {name}" not in README]


def test_readme_shows_every_setting() -> None:
    shown = "".join(SHOWN)
    settings = Settings()
    keys = [
        key
        for section in (
            settings.kafka,
            settings.kafka.registry,
            settings.clickhouse,
            settings.clickhouse.http,
            settings.metrics,
            settings.cases,
            settings.outreach,
            settings.web,
            settings.gateway,
        )
        for key in type(section).model_fields
        if key not in ("marketplaces", "registry", "http", "keys")
    ]
    keys += [
        key
        for section in (Webhook, Slack, Email, Alertmanager)
        for key in section.model_fields
        if key not in Access.model_fields
    ]
    assert keys
    assert not [key for key in keys if not re.search(rf"^(# )?{key} = |# or {key}\b", shown, re.MULTILINE)]


def test_the_settings_that_readme_shows_are_good_settings(tmp_path: Path) -> None:
    from streams.settings import load_settings

    file = tmp_path / "sellerpulse.toml"
    file.write_text(SHOWN[1])
    assert load_settings(file, {}, {}).kafka.speaks_tls
    file.write_text(SHOWN[2])
    assert {rule.name: rule.for_days for rule in load_settings(file, {}, {}).alerts.rules if rule.for_days} == {
        "negative_rate": 2
    }
    file.write_text(SHOWN[3])
    assert load_settings(file, {}, {}).receivers.email is not None
    file.write_text(SHOWN[4])
    assert load_settings(file, {}, {}).digest.enabled
    file.write_text(SHOWN[0])
    settings = load_settings(file, {}, {})
    assert settings.terms_of("MKT-JP").cs_min_responses == 20
    assert settings.metrics.terms_of("MKT-DE") == Settings().metrics.terms_of("MKT-DE")
    assert settings.terms_of("MKT-DE").partial_sources == {"feedback-report-jp"}


def test_readme_names_every_view() -> None:
    ddl = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "sink" / "ddl").glob("*.sql"))
    views = re.findall(r"^CREATE VIEW (\w+)", ddl, re.MULTILINE)
    assert views
    assert not [view for view in views if f"`{view}`" not in README]


def test_the_page_of_connectors_names_every_format() -> None:
    page = (ROOT / "docs" / "connectors.md").read_text(encoding="utf-8")
    assert not [name for name in FORMATS if f"| `{name}` |" not in page]


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), (document.name, link)


def test_the_metrics_of_a_worker_and_a_gateway_are_told() -> None:
    document = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    told = Telemetry(Tally(), Health(Tally(), lambda: None, lambda: None), lambda: PIPELINE, lambda: None).text()
    told += GatewayTelemetry(lambda: 0, lambda: True).text()
    families = re.findall(r"^# HELP (sellerpulse_\w+)", told.decode(), re.MULTILINE)
    assert len(families) > 10
    assert not [name for name in families if f"`{name}`" not in document]
