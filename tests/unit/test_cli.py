"""The program's outside: help that teaches, exit codes, settings by precedence, a log without passwords."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click
import pytest

from schemas.errors import ConfigurationError, SellerpulseError, Unavailable
from sink.connect import connect, message_of
from streams.commands.cli import COMMANDS, cli, configured, main
from streams.commands.status import Report, judge
from streams.commands.telling import tell
from streams.log import FORMATS, configure_logging
from streams.sections import Kafka
from streams.settings import Settings
from streams.topics import wanted

ROOT = Path(__file__).parents[2]
GROUPS = {name: getattr(cli.get_command(click.Context(cli), name), "commands", {}) for name in COMMANDS}
LINES = [[name] for name in COMMANDS] + [[name, below] for name, group in GROUPS.items() for below in group]
HEAVY = ("aiokafka", "chdb", "clickhouse_connect", "confluent_kafka", "faust", "numpy", "pyarrow", "pydantic", "rich")


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder without settings, an environment that says nothing."""
    monkeypatch.chdir(tmp_path)
    for variable in ("SETTINGS", "KAFKA__BOOTSTRAP", "CLICKHOUSE__URL"):
        monkeypatch.delenv(f"SELLERPULSE_{variable}", raising=False)


@pytest.fixture
def command() -> Iterator[Any]:
    """Adds a command `try` to the program, which does what it is told."""

    def add(function: Any) -> None:
        cli.add_command(click.command("try")(function))

    yield add
    cli.commands.pop("try", None)


# --- help ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_help_of_every_command_teaches_by_example(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Examples:\n" in shown
    assert f"sellerpulse {' '.join(words)}" in shown.partition("Examples:")[2]


def test_help_lists_every_command_and_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown and summary in shown for name, summary in COMMANDS.items())
    assert main(["--version"]) == 0


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from streams.commands.cli import main; main(['--help']); print({*sys.argv} & {*sys.modules})"
    asked = [sys.executable, "-c", code, *HEAVY]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# --- exit codes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["sql"], "Missing argument 'QUERY'"),
        (["sql", "SELECT 1", "--colour"], "No such option: --colour"),
        (["simulate", "--events", "many", "-o", "x.jsonl"], "'many' is not a valid integer"),
        (["simulate", "-o", "x.csv"], "written as .jsonl"),
        (["topics"], "Missing command"),
        (["alerts", "list", "--format", "xml"], "'xml' is not one of"),
        (["sql", "SELECT 1", "--db", "nowhere"], "nowhere does not exist"),
        (["alerts", "list", "--db", "."], "is no Sellerpulse database"),
        (["dlq", "list", "--db", "ftp://somewhere/x"], "must be a folder or http[s]://"),
        (["dlq", "list", "--since", "yesterday"], "not like 2025-06-30"),
        (["dlq", "drop", "--yes"], "say which"),
        (["worker", "--dlq-limit", "0"], "0.0 is not in the range"),
        (["status", "--settings", "missing.toml"], "missing.toml"),
        (["clickhouse", "--db", "http://localhost:8123/x"], "serves a folder"),
    ],
)
@pytest.mark.usefixtures("_nowhere")
def test_wrong_usage_is_one_line_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sellerpulse: ")
    assert err.count("\n") == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_no_command_shows_the_help_and_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "raised, code, said",
    [
        (ConfigurationError("no such place"), 2, "sellerpulse: no such place\n"),
        (Unavailable("http://me:secret@db:8123/x\nis away"), 1, "sellerpulse: http://me:***@db:8123/x is away\n"),
        (SellerpulseError("failed"), 1, "sellerpulse: failed\n"),
        (click.exceptions.Exit(1), 1, ""),
        (click.exceptions.Exit(0), 0, ""),
        (SystemExit(3), 3, ""),
        (OSError(28, "No space left on device", "/x"), 1, "sellerpulse: [Errno 28] No space left on device: '/x'\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_an_error_is_its_line_and_its_code(
    command: Any, raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise raised

    command(fail)
    streams = sys.stdout, sys.stderr
    try:
        assert main(["try"]) == code
    finally:
        sys.stdout, sys.stderr = streams  # click puts others in place when a pipe breaks
    assert capsys.readouterr().err == said


def test_an_interrupt_is_130_and_no_traceback(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    command(interrupted)
    assert main(["try"]) == 130
    assert capsys.readouterr().err.strip() == ""


@pytest.mark.parametrize("raised", [KeyError("x"), EOFError("x"), OSError(2, "No such file", "x")])
def test_a_bug_shows_its_traceback_and_says_so_last(
    command: Any, raised: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise raised

    command(fail)
    assert main(["try"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("Traceback") for line in lines)
    assert "this is a bug" in lines[-1]


def test_nobody_reads_on_and_the_program_ends_quietly() -> None:
    code = "import sys; from streams.commands.cli import main; sys.exit(main(['--help']))"
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=reader.stdin, stderr=subprocess.PIPE, text=True, check=False
    )
    assert reader.stdin is not None
    reader.stdin.close()
    assert done.stderr == ""


# --- settings and log ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_nowhere")
def test_flags_beat_environment_beats_file(
    command: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(settings: Settings) -> None:
        click.echo(f"{settings.kafka.bootstrap} {settings.clickhouse.url}")

    command(configured("kafka", "db")(show))
    Path("sellerpulse.toml").write_text('[kafka]\nbootstrap = "file:1"\n[clickhouse]\nurl = "from-file"\n')
    assert main(["try"]) == 0
    monkeypatch.setenv("SELLERPULSE_KAFKA__BOOTSTRAP", "environment:1")
    assert main(["try"]) == 0
    assert main(["try", "--kafka", "flag:1", "--db", "flagged"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "file:1 from-file",
        "environment:1 from-file",
        "flag:1 flagged",
    ]


@pytest.mark.parametrize("log_format", FORMATS)
def test_log_tells_ours_quietens_others_and_hides_passwords(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(log_format)
    logging.getLogger("streams.pipeline").info("writing to %s", "https://me:pä:ss@db/x")
    logging.getLogger("streams.pipeline").debug("too much")
    logging.getLogger("urllib3.connectionpool").warning("retrying")
    logging.getLogger("elsewhere").info("hello")
    line = capsys.readouterr().err.rstrip("\n")
    assert "\n" not in line
    assert "https://me:***@db/x" in line
    if log_format == "json":
        assert json.loads(line)["logger"] == "streams.pipeline"
        assert json.loads(line)["level"] == "info"


# --- places that cannot be had, topics, judgement ------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@db:8123",
        "http://me:secret@db:8123/",
        "http://me:se/cret@db:8123/x",
        "http://me:se#cret@db:8123/x",
        "http://db:8123/x/y",
        "http://db:8123/x?password=secret",
        "http://me:secret@db:port/x",
        "ftp://me:secret@db/x",
        "http:///x",
    ],
)
def test_an_address_of_another_form_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not of the form http\[s\]://") as refused:
        connect(url)
    assert "cret" not in str(refused.value)


def test_a_server_out_of_reach_is_unavailable_and_named_without_password() -> None:
    with pytest.raises(Unavailable) as away:
        connect("http://me:secret@127.0.0.1:1/x")
    assert str(away.value) == "http://127.0.0.1:1/x cannot be used: Connection refused"


def test_engine_messages_lose_what_drivers_and_servers_put_around_them() -> None:
    text = (
        "Received ClickHouse exception, code: 47, server response: Code: 47. DB::Exception: Unknown\n identifier x. "
        "(UNKNOWN_IDENTIFIER) (version 26.9.2.1 (official build)) (for url http://db:8123)"
    )
    assert message_of(RuntimeError(text)) == "Unknown identifier x. (UNKNOWN_IDENTIFIER)"


def test_topics_of_events_have_equal_partitions_and_dead_letters_their_own_retention() -> None:
    topics = {topic.name: topic for topic in wanted(Kafka(partitions=12, replication=3, dlq_retention_days=2))}
    assert set(topics) == {
        "orders", "feedback", "surveys", "alerts", "orders.dlq", "feedback.dlq", "surveys.dlq", "unknown.dlq",
    }  # fmt: skip
    assert {topics[name].partitions for name in ("orders", "feedback", "surveys")} == {12}
    assert {topic.replication for topic in topics.values()} == {3}
    assert topics["unknown.dlq"].config["retention.ms"] == "172800000"


TODAY = date(2025, 7, 1)


@pytest.mark.parametrize(
    "kafka, database, wrong",
    [
        ({}, {}, None),
        ({"workers": 1, "lag": {"orders": 5}}, {"accounts_behind": 2, "as_of": TODAY}, None),
        ({"workers": 0, "lag": {"orders": 0}}, {"accounts_behind": 0, "as_of": date(2020, 1, 1)}, None),
        ({"workers": 0, "lag": {"orders": 5, "feedback": 1}}, {}, "no worker runs: 6"),
        ({"workers": 0, "lag": {}}, {"accounts_behind": 2}, "behind their events: 2"),
        ({}, {"accounts_behind": 2}, "behind their events: 2"),
        ({"workers": 1, "lag": {}}, {"as_of": date(2025, 6, 29)}, "still 2025-06-29"),
        ({"workers": 1, "lag": {}}, {"as_of": date(2025, 6, 30)}, None),  # the day has just turned
        ({"workers": 1, "lag": {}}, {"as_of": None}, None),
        ({"workers": 1, "lag": {}}, {"rows_checked": 9, "rows_differing": 0}, None),
        ({"workers": 1, "lag": {}}, {"rows_checked": 9, "rows_differing": 3}, "other than their events give: 3"),
    ],
)
def test_status_tells_what_is_wrong(kafka: dict[str, Any], database: dict[str, Any], wrong: str | None) -> None:
    report = Report(kafka, database)
    judge(report, TODAY)
    assert [wrong in problem for problem in report.problems if wrong] == ([True] if wrong else [])
    assert bool(report.problems) == (wrong is not None)


def test_a_comment_is_no_formula_of_a_spreadsheet(capsys: pytest.CaptureFixture[str]) -> None:
    tell([{"order_id": "-1", "comment": comment, "points": -500} for comment in ("=1+1", "@x", "2-1=1", None)], "csv")
    assert capsys.readouterr().out == "order_id,comment,points\n-1,'=1+1,-500\n-1,'@x,-500\n-1,2-1=1,-500\n-1,,-500\n"
