"""`alerts check` and `alerts test`: the default rules by a file of rule tests, and what such a file cannot say."""

import csv
import json
import tomllib
from pathlib import Path

import pytest

from streams.commands.cli import main
from streams.core.rules import DEFAULT_RULES
from streams.ruletests import read_tests
from streams.settings import Settings

DEFAULTS = Path(__file__).parent / "default_rules.toml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no sellerpulse.toml."""
    monkeypatch.chdir(tmp_path)


def write(tmp_path: Path, text: str, name: str = "tests.toml") -> str:
    (tmp_path / name).write_text(text)
    return name


# --- the default rules ---------------------------------------------------------------------------------------


def test_the_default_rules_do_what_their_tests_say(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["alerts", "test", str(DEFAULTS)])
    assert (code, capsys.readouterr().out) == (0, "34 tests with 57 expectations: all met\n")


@pytest.mark.parametrize("rule", [rule.name for rule in DEFAULT_RULES])
def test_each_default_rule_fires_just_does_not_has_too_small_a_sample_and_resolves(rule: str) -> None:
    _, tests = read_tests(DEFAULTS, Settings())
    mine = [test for test in tests if test.name.startswith(f"{rule}: ")]
    states = {expected.state for test in mine for expected in test.expect if expected.rule == rule}
    assert {"firing", "none", "resolved"} <= states
    assert any("too few" in test.name for test in mine)
    assert any("no breach" in test.name or " under " in test.name for test in mine)


# --- rules that hold, clear and are about some accounts alone ------------------------------------------------

RULES = """
[[alerts.rules]]
name = "claims"
metric = "odr_claims_60d"
comparison = ">="
threshold = { info = 3, warning = 6 }
clear = { info = 1, warning = 4 }
for = 2
only_sellers = ["S*"]
only_marketplaces = ["M"]
"""
TESTS = """
settings = "rules.toml"

[[tests]]
name = "holds, then fires until it clears"
start = 2025-03-01
events = [
  { at = "0d6h", count = 3, kind = "CLAIM_OPENED" },
  { at = "0d", count = 6, kind = "PLACED" },
  { at = "3d", order_id = "{n}x", count = 3, kind = "PLACED" },
  { at = "3d12h", order_id = "{n}x", count = 3, kind = "CLAIM_OPENED" },
  { at = "4d", count = 2, kind = "CLAIM_DENIED" },
  { at = "5d", order_id = "{n}x", count = 2, kind = "CLAIM_DENIED" },
  { at = "6d", order_id = "3", kind = "CLAIM_DENIED" },
  { at = "8d", kind = "CLAIM_OPENED" },
  { at = "8d", order_id = "2", kind = "CLAIM_OPENED" },
  { at = "9d", kind = "CLAIM_DENIED" },
  { at = "0d", seller_id = "other", count = 9, kind = "PLACED" },
  { at = "0d", seller_id = "other", count = 9, kind = "CLAIM_OPENED" },
]
expect = [
  { at = "0d", rule = "claims", state = "pending", severity = "info", threshold = 3, since = "0d", orders = 3 },
  { at = "1d", rule = "claims", state = "pending" },
  { at = "2d", rule = "claims", state = "firing", since = "0d" },
  { at = "3d", rule = "claims", state = "firing", severity = "warning", threshold = 6 },
  { at = "4d", rule = "claims", state = "firing", severity = "info" },
  { at = "5d", rule = "claims", state = "firing", since = "0d" },
  { at = "6d", rule = "claims", state = "resolved", since = "0d" },
  { at = "8d", rule = "claims", state = "pending", since = "8d" },
  { at = "9d", rule = "claims", state = "resolved", since = "0d" },
  { at = "9d", rule = "claims", seller_id = "other", state = "none" },
]
"""


def test_a_rule_that_holds_and_clears_is_tested_by_the_settings_that_the_file_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, RULES, "rules.toml")
    assert main(["alerts", "test", write(tmp_path, TESTS)]) == 0, capsys.readouterr().out
    unscoped = RULES.replace("only_sellers", "# only_sellers")
    write(tmp_path, unscoped, "rules.toml")
    assert main(["alerts", "test", "tests.toml"]) == 1


def test_what_is_not_met_is_told_as_expected_and_got(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(
        tmp_path,
        """
        [[tests]]
        name = "wrong twice"
        events = [{ at = "0d", count = 20, rating = 1 }]
        expect = [
          { at = "0d", rule = "negative_rate", state = "resolved", severity = "info", value = 0.5, since = "1d" },
          { at = "0d", rule = "cs_score", state = "firing" },
          { at = "0d", rule = "negative_rate", state = "firing" },
        ]
        """,
    )
    assert main(["alerts", "test", file]) == 1
    assert capsys.readouterr().out == (
        "tests.toml: wrong twice\n"
        "  expected negative_rate on 2025-01-06: resolved, severity info, value 0.5, since 2025-01-07\n"
        "  got      negative_rate on 2025-01-06: "
        "firing, severity warning, value 1, threshold 0.05, since 2025-01-06, orders 20\n"
        "tests.toml: wrong twice\n"
        "  expected cs_score on 2025-01-06: firing\n"
        "  got      cs_score on 2025-01-06: none\n"
        "1 tests with 3 expectations: 2 not met\n"
    )


# --- what is refused -----------------------------------------------------------------------------------------

GOOD = {
    "name": '"x"',
    "events": '[{ at = "0d", rating = 1 }]',
    "expect": '[{ at = "0d", rule = "cs_score", state = "none" }]',
}


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({"events": '[{ at = "0d", ratng = 1 }]'}, "tests.toml:3: tests[0].events[0]: missing kind"),
        ({"events": '[{ at = "0d", rating = 1, coment = "" }]'},
         'tests.toml:3: tests[0].events[0]: coment is unknown, did you mean "comment"?'),
        ({"events": '[{ at = "0d", rating = 9 }]'}, "tests.toml:3: tests[0].events[0]: rating is not 1 to 5"),
        ({"events": '[{ at = "soon", rating = 1 }]'}, "tests.toml:3: tests[0].events[0].at: must be a time since"),
        ({"events": '[{ at = "", rating = 1 }]'}, "tests.toml:3: tests[0].events[0].at: must be a time since"),
        ({"events": "[]"}, "tests.toml:3: tests[0].events: tuple should have at least 1 item"),
        ({"expect": '[{ at = "0d", rule = "cs_scor", state = "none" }]'},
         'tests.toml:4: rule "cs_scor" is unknown, did you mean "cs_score"?'),
        ({"expect": '[{ at = "0d", rule = "cs_score", state = "on" }]'}, ":4: tests[0].expect[0].state: input"),
        ({"expct": "1"}, 'tests.toml:5: tests[0].expct is unknown, did you mean "tests.expect"?'),
        ({"settings": '"nowhere.toml"'}, "nowhere.toml cannot be read: No such file or directory"),
        ({"name": ""}, "tests.toml is not TOML"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_is_refused_with_line_and_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], expected: str
) -> None:
    said = GOOD | changed
    first = f"settings = {said.pop('settings')}\n" if "settings" in said else ""
    write(tmp_path, first + "[[tests]]\n" + "".join(f"{key} = {value}\n" for key, value in said.items()))
    assert main(["alerts", "test", "tests.toml"]) == 2
    assert expected in capsys.readouterr().err


def test_the_example_of_the_help_is_a_good_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "test", "--help"]) == 0
    shown = capsys.readouterr().out
    example = shown[shown.index("settings =") : shown.index("Times count")]
    write(tmp_path, "", "sellerpulse.toml")
    assert tomllib.loads(example)["tests"]
    assert main(["alerts", "test", write(tmp_path, example)]) == 0, capsys.readouterr().out


# --- check ---------------------------------------------------------------------------------------------------


def test_the_rules_in_force_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    off = '[[alerts.rules]]\nname = "cs_score"\nenabled = false\n'
    write(tmp_path, RULES + off, "rules.toml")
    assert main(["alerts", "check", "rules.toml", "--format", "json"]) == 0
    told = {one["rule"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert told["claims"] == {
        "rule": "claims", "fires when": "odr_claims_60d", "is": ">= 3 (info), >= 6 (warning)", "with at least": "",
        "for": "2 d", "clears at": "1 (info), 4 (warning)", "silences": "", "only": "S* on M",
    }  # fmt: skip
    assert "cs_score" not in told
    assert told["source_silent"]["is"] == "(critical)"
    assert "case_target" not in told
    assert main(["alerts", "check", "rules.toml", "--format", "csv"]) == 0
    assert {row["rule"]: row for row in csv.DictReader(capsys.readouterr().out.splitlines())} == told
    assert main(["alerts", "check", "rules.toml"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert " ".join(table[0].split()) == "rule fires when is with at least for clears at silences only"
    assert len(table) == len(told) + 1


def test_a_bad_rule_is_named_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, '# rules\n[[alerts.rules]]\nname = "negative_rate"\nclear = 0.07\n', "rules.toml")
    assert main(["alerts", "check", "rules.toml"]) == 2
    assert capsys.readouterr().err == (
        'sellerpulse: rules.toml:2: alerts.rules[0]: rule "negative_rate" needs clear below the threshold 0.05, '
        "it is 0.07\n"
    )
    assert main(["alerts", "check", "nowhere.toml"]) == 2
    assert main(["worker", "--settings", "rules.toml"]) == 2
