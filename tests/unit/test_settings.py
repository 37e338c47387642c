"""Settings: who beats whom, what is refused and in which words, and that no secret is in them."""

import json
import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.errors import ConfigurationError
from streams.core.comments import CAUSES
from streams.core.metrics import Terms
from streams.core.rules import DEFAULT_RULES, Condition, Level, Rule, Scope
from streams.sections import Cause
from streams.settings import Settings, load_settings

SECRET = "hunter" + "2"


def said(tmp_path: Path, toml: str, **more: Any) -> Settings:
    path = tmp_path / "pulse.toml"
    path.write_text(toml)
    return load_settings(path, **({"environ": {}} | more))


def complaint(tmp_path: Path, toml: str, **more: Any) -> str:
    """What is said of it, without the line of the file."""
    return re.sub(r"^(pulse.toml):\d+:", r"\1:", whole_complaint(tmp_path, toml, **more))


def whole_complaint(tmp_path: Path, toml: str, **more: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        said(tmp_path, toml, **more)
    text = str(refused.value)
    assert "\n" not in text
    return text.removeprefix(f"{tmp_path}/")


def rules(tmp_path: Path, toml: str) -> dict[str, Rule]:
    return {rule.name: rule for rule in said(tmp_path, toml).alerts.rules}


# --- who beats whom ------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(environ={})
    assert settings == Settings()
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.terms_of("anywhere") == Terms()
    assert settings.alerts.rules == DEFAULT_RULES
    assert (settings.receivers.log, settings.receivers.webhook) == (True, None)


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    settings = said(
        tmp_path,
        '[kafka]\nbootstrap = "file:1"\ngroup = "file"\npartitions = 8\nreplication = 3',
        environ={"SELLERPULSE_KAFKA__BOOTSTRAP": "environment:1", "SELLERPULSE_KAFKA__GROUP": "environment"},
        overrides={"kafka": {"bootstrap": "flag:1", "replication": None}},
    )
    kafka = settings.kafka
    assert (kafka.bootstrap, kafka.group, kafka.partitions, kafka.replication) == ("flag:1", "environment", 8, 3)
    assert kafka.retention_days == 30


def test_the_file_is_found_by_flag_then_variable_then_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sellerpulse", "variable", "flag"):
        Path(f"{name}.toml").write_text(f'[kafka]\ngroup = "{name}"')
    variable = {"SELLERPULSE_SETTINGS": "variable.toml"}
    assert load_settings(environ={}).kafka.group == "sellerpulse"
    assert load_settings(environ=variable).kafka.group == "variable"
    assert load_settings(Path("flag.toml"), environ=variable).kafka.group == "flag"


def test_the_environment_says_numbers_lists_and_marketplaces(tmp_path: Path) -> None:
    settings = said(
        tmp_path,
        "[metrics.marketplaces.DE]\nodr_lag_days = 3",
        environ={
            "SELLERPULSE_CI": "1",
            "SELLERPULSE_KAFKA__PARTITIONS": "12",
            "SELLERPULSE_RECEIVERS__LOG": "false",
            "SELLERPULSE_RECEIVERS__WEBHOOK__URL": "https://example.com/hook",
            "SELLERPULSE_METRICS__MARKETPLACES__DE__CS_MIN_RESPONSES": "20",
            "SELLERPULSE_ALERTS__RULES": json.dumps([{"name": "cs_score", "enabled": False}]),
        },
    )
    assert settings.kafka.partitions == 12
    assert settings.receivers.log is False
    assert settings.receivers.webhook is not None
    assert settings.receivers.webhook.timeout_s == 10
    assert settings.terms_of("DE") == Terms(odr_lag_days=3, cs_min_responses=20)
    assert "cs_score" not in [rule.name for rule in settings.alerts.rules]


def test_settings_are_frozen_and_travel(tmp_path: Path) -> None:
    settings = said(tmp_path, '[metrics.marketplaces.DE]\nodr_lag_days = 3\n[[alerts.rules]]\nname = "cs_score"')
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301  # our own
    assert again == settings
    assert again.metrics.terms_of("DE").odr_lag_days == 3
    assert again.alerts.rules == settings.alerts.rules
    with pytest.raises(ValueError, match="frozen"):
        settings.kafka.group = "other"


# --- terms ---------------------------------------------------------------------------------------------------


def test_metrics_have_every_term_with_its_default() -> None:
    assert Settings().metrics.model_dump(exclude={"marketplaces"}) | {"partial_sources": frozenset()} == asdict(Terms())


def test_marketplaces_differ_from_what_holds_everywhere(tmp_path: Path) -> None:
    metrics = said(
        tmp_path, "[metrics]\nmedium_days = 60\ncs_red_below = 5.0\n[metrics.marketplaces.DE]\npoints_negative = -100"
    ).metrics
    assert metrics.terms_of("UK") == Terms(medium_days=60, cs_red_below=5.0)
    assert metrics.terms_of("DE") == Terms(medium_days=60, cs_red_below=5.0, points_negative=-100)


@pytest.mark.parametrize(
    "toml, expected",
    [
        ("[metrics]\nshort_days = 0", "metrics.short_days: input should be greater than or equal to 1"),
        ("[metrics]\nodr_lag_days = -1", "metrics.odr_lag_days: input should be greater than or equal to 0"),
        ("[metrics]\ncs_yellow_below = 10.5", "metrics.cs_yellow_below: input should be less than or equal to 10"),
        ("[metrics]\npoints_negative = 500", "metrics.points_negative: input should be less than or equal to 0"),
        ("[metrics]\ncs_red_below = 9.0", "metrics: cs_red_below is above cs_yellow_below"),
        ("[metrics.marketplaces.DE]\ncs_yellow_below = 5.0", "metrics: cs_red_below is above cs_yellow_below on DE"),
        (
            "[clickhouse]\nkeep_rejected_days = 7",
            "clickhouse.keep_rejected_days: input should be greater than or equal to 30",
        ),
        (
            "[outreach]\nfeedback_days = [30, 4]",
            "outreach.feedback_days: must be two numbers of days, the lower one first",
        ),
        ("[metrics.marketplaces.DE]\nodr_lag = 1", 'metrics.marketplaces.DE.odr_lag is unknown, did you mean "'),
    ],
)
def test_terms_that_cannot_be_are_refused(tmp_path: Path, toml: str, expected: str) -> None:
    assert complaint(tmp_path, toml).startswith(f"pulse.toml: {expected}")


# --- rules ---------------------------------------------------------------------------------------------------


def test_a_rule_is_merged_by_name_over_its_default(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
        [[alerts.rules]]
        name = "negative_rate"
        threshold = 0.03
        marketplaces = { DE = 0.02 }

        [[alerts.rules]]
        name = "positive_rate"
        enabled = false

        [[alerts.rules]]
        name = "cs_score"
        threshold = { info = 8.5, warning = 7, critical = 5 }
        marketplaces = { DE = { critical = 4.5 } }

        [[alerts.rules]]
        name = "feedback_coverage"
        severity = "warning"
        minimum = { orders_90d = 100 }

        [[alerts.rules]]
        name = "average_stars"
        metric = "average_stars_30d"
        """,
    )
    default = {rule.name: rule for rule in DEFAULT_RULES}
    assert found["negative_rate"].levels == (Level(0.03, "warning"),)
    assert found["negative_rate"].marketplaces == {"DE": (0.02,)}
    assert found["negative_rate"].conditions == default["negative_rate"].conditions
    assert found["negative_rate"].silences == ("positive_rate", "average_stars")
    assert found["cs_score"].levels == (Level(8.5, "info"), Level(7, "warning"), Level(5, "critical"))
    assert found["cs_score"].marketplaces == {"DE": (8.5, 7, 4.5)}
    assert found["feedback_coverage"].levels == (Level(1, "warning"),)
    assert found["feedback_coverage"].conditions == (Condition("feedback_per_100_orders_90d", {"orders_90d": 100}),)
    assert found["average_stars"].conditions == (
        Condition("average_stars_30d", default["average_stars"].conditions[0].minimum),
    )
    assert [*found] == [name for name in default if name != "positive_rate"]
    assert found["order_defect_rate"] == default["order_defect_rate"]


def test_a_rule_of_ones_own_can_be_on_any_number(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
        [[alerts.rules]]
        name = "claims"
        metric = "odr_claims_60d"
        comparison = ">="
        threshold = 3
        minimum = { "orders_30d+orders_90d" = 10 }
        silences = ["order_defect_rate"]

        [[alerts.rules]]
        name = "either"
        conditions = [{ metric = "negative_30d" }, { metric = "negative_90d", minimum = { orders_90d = 5 } }]
        comparison = ">"
        threshold = 7
        severity = "info"
        """,
    )
    assert found["claims"] == Rule(
        "claims", (Condition("odr_claims_60d", {"orders_30d + orders_90d": 10}),), ">=", (Level(3, "warning"),),
        silences=("order_defect_rate",),
    )  # fmt: skip
    assert found["either"].conditions == (Condition("negative_30d"), Condition("negative_90d", {"orders_90d": 5}))


@pytest.mark.parametrize(
    "table, expected",
    [
        ('name = "x"\ntreshold = 3', ': alerts.rules[0].treshold is unknown, did you mean "alerts.rules.threshold"?'),
        ('name = "negative_rte"', ': alerts.rules[0]: rule "negative_rte" is unknown, did you mean "negative_rate"?'),
        ('name = "x"\nmetric = "orders_90d"\ncomparison = ">"',
         ': alerts.rules[0]: rule "x" is unknown (one of your own'),
        ('name = "x"\nthreshold = 1\ncomparison = ">"', ': alerts.rules[0]: rule "x" is unknown (one of your own'),
        ('name = "x"\nmetric = "oders_90d"',
         'rules[0].metric: metric "oders_90d" is unknown, did you mean "orders_90d"?'),
        ('name = "x"\nmetric = "cs_band"', ': alerts.rules[0].metric: metric "cs_band" is unknown'),
        ('name = "x"\nminimum = { "orders_90d + oders_30d" = 1 }',
         'metric "oders_30d" is unknown, did you mean "orders_30d"?'),
        ('name = "x"\ncomparison = "=="', ": alerts.rules[0].comparison: input should be '<', '<=', '>' or '>='"),
        ('name = "cs_score"\nthreshold = 7', 'rule "cs_score" has several severities: say threshold = {'),
        ('name = "cs_score"\nthreshold = { info = 5, warning = 7 }',
         'rule "cs_score" needs 2 thresholds, the severer one'),
        ('name = "cs_score"\nmarketplaces = { DE = 7 }', 'rule "cs_score" has the severities info, warning'),
        ('name = "cs_score"\nmarketplaces = { DE = { critical = 1 } }', 'rule "cs_score" has the severities'),
        ('name = "order_defect_rate"\nminimum = { odr_orders_60d = 9 }', "has several conditions: say conditions = ["),
        ('name = "negative_rate"\nthreshold = "high"', ": alerts.rules[0].threshold: must be a number, or numbers by"),
        ('name = "negative_rate"\nthreshold = nan', ": alerts.rules[0].threshold: must be a number"),
        ('name = "negative_rate"\nthreshold = { grave = 1 }', ": alerts.rules[0].threshold: must be a number"),
        ('name = "negative_rate"\nthreshold = {}', ": alerts.rules[0].threshold: must be a number"),
        ('name = "positive_rate"\nsilences = ["average_star"]',
         '[0]: rule "positive_rate" silences "average_star", which is unknown, did you mean "average_stars"?'),
        ('name = "positive_rate"\nsilences = ["negative_rate"]', ": alerts.rules[0]: rules silence each other: "),
        ('name = "case_overdue"\nthreshold = 3',
         'rule "case_overdue" is about cases or sources, not about a metric: it has no threshold'),
        ('name = "case_overdue"\nfor = 3', "not about a metric: it has no for"),
        ('name = "cs_score"\n[[alerts.rules]]\nname = "cs_score"', ': alerts.rules[1]: rule "cs_score" is there twice'),
        ('name = "cs_score"\nfor = -1', ": alerts.rules[0].for: input should be greater than or equal to 0"),
        ('name = "cs_score"\nfor = 1.5', ": alerts.rules[0].for: input should be a valid integer"),
        ('name = "negative_rate"\nclear = 0.05', "needs clear below the threshold 0.05, it is 0.05"),
        ('name = "positive_rate"\nclear = 0.9', "needs clear above the threshold 0.95, it is 0.9"),
        ('name = "negative_rate"\nclear = 0.03\nmarketplaces = { DE = 0.02 }', "below the threshold 0.02, it is 0.03"),
        ('name = "negative_rate"\nclear = { info = 0.03 }', "the severities warning: clear says one number for each"),
        ('name = "cs_score"\nclear = 9', "has the severities info, warning: clear says one number for each"),
        ('name = "cs_score"\nclear = { warning = 8.5 }', "the severer severity to clear no later than the milder"),
        ('name = "cs_score"\nonly_sellers = [""]', ".only_sellers[0]: string should have at least 1 character"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(tmp_path: Path, table: str, expected: str) -> None:
    assert expected in complaint(tmp_path, f"[[alerts.rules]]\n{table}")


def test_a_refund_limit_is_of_a_root_cause_that_there_is(tmp_path: Path) -> None:
    assert get_args(Cause) == CAUSES
    wrong = complaint(tmp_path, "[cases]\nrefund_limits = { packing = 5 }")
    assert "cases.refund_limits.packing: input should be 'late', " in wrong


def test_a_rule_may_ask_to_hold_to_clear_and_be_about_some_accounts_alone(tmp_path: Path) -> None:
    found = rules(
        tmp_path,
        """
        [[alerts.rules]]
        name = "negative_rate"
        for = 3
        clear = 0.04
        only_sellers = ["shop-*", "S1"]

        [[alerts.rules]]
        name = "cs_score"
        clear = { info = 8.5, warning = 7 }
        only_marketplaces = ["MKT-DE"]
        """,
    )
    assert found["negative_rate"].levels == (Level(0.05, "warning", 0.04),)
    assert found["negative_rate"].for_days == 3
    sellers = ("shop-1", "S1", "s1", "S10", "my-shop-1")
    assert [name for name in sellers if found["negative_rate"].scope.has((name, "M"))] == ["shop-1", "S1"]
    assert found["cs_score"].levels == (Level(8, "info", 8.5), Level(6, "warning", 7))
    assert [found["cs_score"].scope.has(("S", market)) for market in ("MKT-DE", "MKT-DEU")] == [True, False]


def test_rules_on_cases_and_sources_can_be_switched_and_said_to_be_more_or_less_severe(tmp_path: Path) -> None:
    default = {rule.name: rule for rule in said(tmp_path, "").alerts.other_rules}
    assert {name: rule.severity for name, rule in default.items()} == {
        "negative_feedback": "warning", "case_overdue": "warning", "case_closing": "warning",
        "case_follow_up": "warning", "source_silent": "critical",
    }  # fmt: skip
    alerts = said(
        tmp_path,
        """
        [[alerts.rules]]
        name = "negative_feedback"
        enabled = false

        [[alerts.rules]]
        name = "case_target"
        enabled = true
        only_sellers = ["S*"]

        [[alerts.rules]]
        name = "case_overdue"
        severity = "critical"
        """,
    ).alerts
    found = {rule.name: rule for rule in alerts.other_rules}
    assert found.keys() == default.keys() - {"negative_feedback"} | {"case_target"}
    assert found["case_target"].scope == Scope(("S*",), ())
    assert found["case_overdue"].severity == "critical"
    assert alerts.rules == DEFAULT_RULES


RULE = '[[alerts.rules]]\nname = "cs_running_score"\n'


@pytest.mark.parametrize(
    "toml, line",
    [
        (f'{RULE}\n# [[alerts.rules]]\n[[alerts.rules]]\nname = "x"\n\nthreshold = "high"', 8),  # the key
        (f'{RULE}\n[[ alerts . rules ]]  # another\nname = "negative_rate"\nclear = 0.06', 4),  # the table
        (f'{RULE}{RULE}', 3),
        (f'{RULE}silences = [\n]\n[[alerts.rules]]\nname = """\n[[alerts.rules]]\n"""', 5),
        ('[receivers]\nlog = true\n[alerts]\nrules = [\n  { name = "cs_score" },\n  { name = "x" },\n]', 7),
        ("[alerts]\n\n\nrulez = 1", 4),
        ("[kafka]\n\npartitions = 0", 3),
    ],
)  # fmt: skip
def test_a_complaint_names_the_line_of_the_file(tmp_path: Path, toml: str, line: int) -> None:
    assert whole_complaint(tmp_path, toml).startswith(f"pulse.toml:{line}: ")


# --- refusals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "toml, expected",
    [
        ("[kafak]\nx = 1", 'pulse.toml: kafak is unknown, did you mean "kafka"?'),
        ('[kafka]\nbootstrp = "a"', 'pulse.toml: kafka.bootstrp is unknown, did you mean "kafka.bootstrap"?'),
        ('bootstrap = "a"', 'pulse.toml: bootstrap is unknown, did you mean "kafka.bootstrap"?'),
        ("[zzz]\nx = 1", "pulse.toml: zzz is unknown"),
        ('kafka = "a"', "pulse.toml: kafka: input should be a valid dictionary"),
        ("[kafka]\npartitions = 0", "pulse.toml: kafka.partitions: input should be greater than or equal to 1"),
        ("[receivers.webhook]\ntimeout_s = 3", "pulse.toml: receivers.webhook.url: field required"),
        ("[receivers.webhook]\nurls = 3",
         'pulse.toml: receivers.webhook.urls is unknown, did you mean "receivers.webhook.url"?'),
        ("[kafka", "pulse.toml is not TOML: "),
    ],
)  # fmt: skip
def test_a_file_is_refused_in_one_line_with_a_hint(tmp_path: Path, toml: str, expected: str) -> None:
    assert complaint(tmp_path, toml).startswith(expected)


@pytest.mark.parametrize(
    "variable, value, expected",
    [
        ("SELLERPULSE_KAFKA__BOOTSTRP", "a", 'kafka.bootstrp is unknown, did you mean "kafka.bootstrap"?'),
        ("SELLERPULSE_KAFAK", "a", 'kafak is unknown, did you mean "kafka"?'),
        ("SELLERPULSE_KAFKA__PARTITIONS", "many", "kafka.partitions: input should be a valid integer"),
        ("SELLERPULSE_KAFKA__BOOTSTRAP", "", "kafka.bootstrap: string should have at least 1 character"),
    ],
)
def test_a_variable_is_refused_by_its_name(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    text = complaint(tmp_path, '[kafka]\nbootstrap = "a"\npartitions = 3', environ={variable: value})
    assert text.startswith(f"{variable}: {expected}")


def test_a_flag_is_refused_as_one(tmp_path: Path) -> None:
    text = complaint(tmp_path, '[clickhouse]\nurl = "a"', overrides={"clickhouse": {"url": "ftp://host/db"}})
    assert text.startswith("command line: clickhouse.url: must be a folder or http[s]://")


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml cannot be read: No such file"):
        load_settings(tmp_path / "missing.toml", environ={})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        load_settings(tmp_path / "binary.toml", environ={})


EMAIL = '[receivers.email]\nhost = "a"\nsender = "a@example.org"\n'
TO = 'to = ["b@example.org"]\n'


@pytest.mark.parametrize(
    "toml, expected",
    [
        ("[receivers.slack]\ntimeout_s = 3", "receivers.slack: needs either url or url_file"),
        (EMAIL, "receivers.email.to: field required"),
        (f"{EMAIL}to = []", "receivers.email.to: tuple should have at least 1 item"),
        (f'{EMAIL}to = ["a\\nBcc: b@example.org"]', "receivers.email.to[0]: must be one line"),
        (f'{EMAIL}{TO}user = "me"', "receivers.email: user and password (or password_file) need each other"),
        (f'{EMAIL}{TO}user = "me"\npassword = "x"\nsecurity = "none"',
         'receivers.email: password, ca_file and certificate_file need security "starttls" or "tls"'),
        ('[receivers.alertmanager]\nurl = "alertmanager:9093"',
         "receivers.alertmanager.url: must be an address, http[s]://..."),
    ],
)  # fmt: skip
def test_receivers_that_cannot_be_told_are_refused(tmp_path: Path, toml: str, expected: str) -> None:
    assert expected in complaint(tmp_path, toml)


# --- who may come in -----------------------------------------------------------------------------------------

SASL = 'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nusername = "me"\n'
REGISTRY = '[kafka]\nschema_registry_url = "https://registry"\n[kafka.registry]\n'


@pytest.mark.parametrize(
    "toml, expected",
    [
        (f'[kafka]\n{SASL}password = "a"\npassword_file = "b"', "kafka: password and password_file are both given"),
        (f"[kafka]\n{SASL}", "kafka: security_protocol SASL_SSL needs sasl_mechanism, username and password"),
        ('[kafka]\nsecurity_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\npassword = "a"',
         "kafka: security_protocol SASL_PLAINTEXT needs sasl_mechanism, username and password (or password_file)"),
        ('[kafka]\nsecurity_protocol = "SASL_SSL"\nusername = "me"\npassword = "a"',
         "kafka: security_protocol SASL_SSL needs sasl_mechanism,"),
        ('[kafka]\nusername = "me"', "kafka: sasl_mechanism, username and password need security_protocol SASL_SSL or"),
        ('[kafka]\npassword_file = "a"', "kafka: sasl_mechanism, username and password need security_protocol"),
        ('[kafka]\nca_file = "a"', "kafka: ca_file and certificate_file need security_protocol SASL_SSL or SSL"),
        ('[kafka]\nsecurity_protocol = "SSL"\ncertificate_file = "a"', "kafka: certificate_file and key_file need"),
        ('[kafka]\nsecurity_protocol = "SSL"\nkey_password = "a"', "kafka: a password of a key needs key_file"),
        ('[kafka]\nsecurity_protocol = "ssl"', "kafka.security_protocol: input should be 'PLAINTEXT', 'SSL'"),
        ('[kafka]\nsasl_mechanism = "GSSAPI"', "kafka.sasl_mechanism: input should be 'PLAIN', 'SCRAM-SHA-256'"),
        ('[clickhouse]\nurl = "http://db/x"\nca_file = "a"',
         "clickhouse: ca_file and certificate_file need an address https://..."),
        ('[clickhouse]\nurl = "http://me:a@db/x"\npassword_file = "b"',
         "clickhouse: user or password is given in the address and beside it"),
        ('[clickhouse]\nurl = "http://me@db/x"\nuser = "me"', "clickhouse: user or password is given in the address"),
        ('[kafka.registry]\nuser = "me"\npassword = "a"', "kafka: registry needs schema_registry_url"),
        (f'{REGISTRY}user = "me"', "kafka.registry: user and password (or password_file) need each other"),
        ('[kafka]\nschema_registry_url = "http://me:a@registry"\n[kafka.registry]\nuser = "me"\npassword = "b"',
         "kafka: user or password is given in the address and beside it"),
    ],
)  # fmt: skip
def test_access_that_contradicts_itself_is_refused(tmp_path: Path, toml: str, expected: str) -> None:
    assert complaint(tmp_path, toml).startswith(f"pulse.toml: {expected}")


def test_a_folder_needs_neither_user_nor_tls_and_may_stand_in_for_a_server(tmp_path: Path) -> None:
    toml = '[clickhouse]\nurl = "https://db/x"\nuser = "me"\npassword_file = "a"\nca_file = "b"'
    assert said(tmp_path, toml, overrides={"clickhouse": {"url": "folder"}}).clickhouse.url == "folder"


def test_a_user_in_the_address_may_have_a_password_beside_it(tmp_path: Path) -> None:
    settings = said(
        tmp_path, '[clickhouse]\nurl = "https://me@db/x"', environ={"SELLERPULSE_CLICKHOUSE__PASSWORD": "{a"}
    )
    assert settings.clickhouse.password is not None
    assert settings.clickhouse.password.get_secret_value() == "{a"


# --- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "toml",
    [
        f'[clickhouse]\nurl = "http://me:{SECRET}/x@host:8123/db"',  # the part before "/" looks like a port
        f'[clickhouse]\nurl = "ftp://me:{SECRET}@host/db"',
        f'[clickhouse]\nurl = ["{SECRET}"]',
        f'[receivers.webhook]\nurl = "hooks.example.com/{SECRET}"',
        f'[receivers.webhook]\nurl = "http://a"\nsecret = "{SECRET}"\nsecret_file = "{SECRET}"',
        f'[receivers.slack]\nurl = "http://a/{SECRET}"\nurl_file = "{SECRET}"',
        f'[receivers.email]\nhost = "a"\nsender = "a"\nto = ["a"]\npassword = "{SECRET}"',
        f'[receivers.alertmanager]\nurl = "http://me:{SECRET}@a"\nuser = "me"\npassword = "{SECRET}"',
        f'[kafka]\nschema_registry_url = "{SECRET}"',
        f'[kafka]\npartitions = "{SECRET}"',
        f'[kafka]\npasswort = "{SECRET}"',
        f'[kafka]\npassword = "{SECRET}"',
        f'[kafka]\npassword = ["{SECRET}"]',
        f'[kafka]\n{SASL}password = "{SECRET}"\npassword_file = "{SECRET}"',
        f'[clickhouse]\nurl = "http://me:{SECRET}@db/x"\npassword = "{SECRET}"',
    ],
)
def test_a_value_is_never_repeated(tmp_path: Path, toml: str) -> None:
    assert SECRET not in complaint(tmp_path, toml)


def test_a_variable_that_is_not_json_is_not_repeated(tmp_path: Path) -> None:
    text = complaint(tmp_path, "", environ={"SELLERPULSE_RECEIVERS__WEBHOOK": '{"url": "' + SECRET})
    assert text == "SELLERPULSE_RECEIVERS__WEBHOOK is not JSON"


def test_addresses_and_passwords_are_not_shown(tmp_path: Path) -> None:
    settings = said(
        tmp_path,
        f"""
        [kafka]
        {SASL}password = "{SECRET}"
        certificate_file = "a"
        key_file = "b"
        key_password = "{SECRET}"
        schema_registry_url = "http://me:{SECRET}@registry:8081"
        [clickhouse]
        url = "https://me:{SECRET}@host:8443/db"
        [receivers.webhook]
        url = "https://example.com/{SECRET}"
        """,
    )
    assert SECRET not in f"{settings!r} {settings} {settings.kafka.model_dump()['password']}"
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == SECRET
    assert settings.clickhouse.url == f"https://me:{SECRET}@host:8443/db"
