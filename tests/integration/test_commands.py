"""Commands against a real database and a real broker. chDB runs in processes of its own: each holds one folder."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from confluent_kafka import Consumer, Producer

from schemas.codec import Codec, digest_of
from schemas.rows import AlertChange, AlertRow, Notification, Rejected
from sink.connect import connect
from streams.commands.cli import main
from tests.integration.broker import Broker, fetch

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "import sys; from streams.commands.cli import main; sys.exit(main())"]
DAY = 19_675  # 2023-11-14
MOMENT = 1_700_000_000_123  # on that day
CHECK = "SELECT * EXCEPT (computed_at) FROM seller_daily ORDER BY seller_id, marketplace_id, day"

Run = Callable[..., subprocess.CompletedProcess[bytes]]


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *words], cwd=ROOT, input=stdin.encode(), capture_output=True, check=False)


def make(folder: str) -> None:
    """A small database: one event, two days, two alerts, two refused records."""
    store, codec = connect(folder), Codec()
    order = {
        "event_id": "e1", "seller_id": "S1", "marketplace_id": "M", "event_time": MOMENT, "source": "test",
        "order_id": "o1", "kind": "PLACED", "fulfilment": None, "deliver_by": None, "skus": ["ä"],
    }  # fmt: skip
    payload = codec.payload("orders", order)
    store.add_events("orders", [(payload, digest_of(payload))])
    store.move_as_of(DAY + 1)
    for day in (DAY, DAY + 1):
        store.client.command(
            "INSERT INTO stored_seller_daily (seller_id, marketplace_id, day, orders_30d, buy_box_points_90d, version) "
            f"VALUES ('S1', 'M', toDate({day}), 1, -500, 1)"
        )
    store.add_rejected(
        [
            Rejected("orders", 0, 5, "", -1, "unknown kind: SOLD", MOMENT),
            Rejected("feedback", -1, -1, "f.jsonl", 7, "missing rating", MOMENT + 1),
        ]
    )
    firing = AlertRow(
        "a1", "cs_score", "S1", "M", "cs_score", "firing", "warning", 5.5, 6.0, MOMENT, None, ["o1"], 1, 1
    )
    resolved = firing._replace(alert_id="a2", state="resolved", resolved_at=MOMENT, rule="negative_rate")
    change = AlertChange("a1", DAY, "cs_score", "S1", "M", "firing", 5.5, 1)
    store.add_alerts([firing, resolved], [change])
    store.notify([Notification("log", "S1", "M", "a1", DAY, "firing", 1, "told", MOMENT, 1, None, "")])
    store.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The database in a folder that nobody holds: copy it to hold it."""
    path = str(tmp_path_factory.mktemp("commands") / "db")
    code = f"from tests.integration.test_commands import make; make({path!r})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="module")
def served(folder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A copy of the folder, held by `sellerpulse clickhouse`, and its address with the password."""
    held = str(shutil.copytree(folder, tmp_path_factory.mktemp("served") / "db", symlinks=True))
    password = tmp_path_factory.mktemp("secret") / "password"
    password.write_text("geh:eim\n")
    words = ["clickhouse", "--db", held, "--port", "0", "--password-file", str(password)]
    with subprocess.Popen([*PROGRAM, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().rpartition(" ")[2].strip()
        yield held, address.replace("http://", "http://default:geh%3Aeim@")
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0


# --- the embedded database -----------------------------------------------------------------------------------


def test_the_daily_rows_come_as_json_lines_with_plain_numbers_and_nulls(folder: str) -> None:
    done = run("sql", CHECK, "--db", folder, "--format", "JSONEachRow")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["day"] for row in rows] == ["2023-11-14", "2023-11-15"]
    assert rows[0]["buy_box_points_90d"] == -500
    assert rows[0]["positive_rate_90d"] is None
    assert "computed_at" not in rows[0]


def test_no_text_of_a_stranger_steers_a_terminal(folder: str) -> None:
    query = "SELECT concat(char(27), '[2J', char(0xC2, 0x9B), '31m ', char(0xE2, 0x80, 0xAE), 'ä') AS comment"
    for words in ((), ("--format", "Vertical")):
        done = run("sql", query, "--db", folder, *words)
        assert "␛[2J�31m �ä" in done.stdout.decode()
    assert run("sql", query, "--db", folder, "--format", "TSV").stdout.startswith(b"\x1b")  # that is for programs


def test_parquet_on_stdout_is_parquet_byte_for_byte(folder: str) -> None:
    done = run("sql", "SELECT number FROM numbers(100000)", "--db", folder, "--format", "Parquet")
    assert pyarrow.parquet.read_table(io.BytesIO(done.stdout)).num_rows == 100_000


def test_a_query_may_come_from_stdin_and_a_reader_may_leave(folder: str) -> None:
    query = "SELECT number FROM numbers(10000000);"
    with subprocess.Popen(
        [*PROGRAM, "sql", "-", "--db", folder, "--format", "TSV"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as asked:  # fmt: skip
        assert asked.stdin is not None
        assert asked.stdout is not None
        assert asked.stderr is not None
        asked.stdin.write(query.encode())
        asked.stdin.close()
        assert asked.stdout.readline() == b"0\n"
        asked.stdout.close()
        assert asked.stderr.read() == b""


def test_an_interrupt_does_not_wait_for_the_engine(folder: str) -> None:
    query = "SELECT count() FROM numbers(1000000000000) WHERE cityHash64(number) % 7 = 0"
    words = ["sql", query, "--db", folder]
    with subprocess.Popen([*PROGRAM, *words], cwd=ROOT, stderr=subprocess.PIPE) as asked:
        assert asked.stderr is not None
        time.sleep(3)  # nothing tells from outside when the engine has begun
        assert asked.poll() is None
        asked.send_signal(signal.SIGINT)
        assert asked.wait(5) == -signal.SIGINT  # a shell's 130
        assert asked.stderr.read() == b""


def test_status_of_a_folder_says_that_rows_are_behind_their_events(folder: str) -> None:
    done = run("status", "--db", folder, "--format", "json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["database"]["as_of"] == "2023-11-15"
    assert told["database"]["rejected"] == 2
    assert told["database"]["last_event_time"] == "2023-11-14T22:13:20.123000+00:00"
    assert "behind their events: 1" in told["problems"][0]


def test_a_folder_that_another_process_holds_names_its_holder(served: tuple[str, str]) -> None:
    held, _ = served
    done = run("sql", "SELECT 1", "--db", held)
    assert done.returncode == 2
    assert re.fullmatch(rb"sellerpulse: \S+ is in use by process \d+ .*clickhouse.*\n", done.stderr)
    assert run("status", "--db", held).returncode == 0  # it is alive, only not to be looked into


# --- a server ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, output, shown",
    [
        ("SELECT toUInt64(-1) AS n, 0 / 0 AS r", "JSONEachRow", '{"n":18446744073709551615,"r":null}\n'),
        ("SELECT toDateTime(0) AS t, toDate(0) AS d", "CSVWithNames", '"t","d"\n"1970-01-01 00:00:00","1970-01-01"\n'),
        ("SELECT 'ä' AS s, [1, 2] AS a", "TSV", "ä\t[1,2]\n"),
        ("SELECT 1 AS x FORMAT TSVWithNames", None, "x\n1\n"),
        ("SELECT 'ä' AS s;", None, "┌─s─┐\n│ ä │\n└───┘\n"),
        ("SHOW TABLES LIKE 'seller_%'", "TSV", "seller_current\nseller_daily\n"),
        ("EXISTS TABLE seller_daily", "TSV", "1\n"),
    ],
)  # fmt: skip
def test_sql_shows_a_table_or_any_format(
    served: tuple[str, str], query: str, output: str | None, shown: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    words = ["sql", query, "--db", served[1]] + (["--format", output] if output else [])
    assert main(words) == 0
    assert capfdbinary.readouterr().out.decode() == shown


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["selec 1"], 1, "Syntax error"),
        (["SELECT nope FROM seller_daily"], 1, "nope"),
        (["SELECT 1", "--format", "Nonsense"], 1, "Unknown format Nonsense"),
        (["SELECT throwIf(number = 3000000, 'half-way') FROM numbers(4000000)", "--format", "TSV"], 1, "half-way"),
        (["SELECT 1; SELECT 2"], 2, "multi-statements"),
        (["SELECT 1 FORMAT TSV", "--format", "CSV"], 2, "names the format TSV itself"),
        (["DROP TABLE epochs"], 2, "sql only reads"),
        (["INSERT INTO epochs (epoch) VALUES (1)"], 2, "sql only reads"),
        (["SELECT 1 INTO OUTFILE 'x'"], 2, "files"),
        ([""], 2, "begins with a keyword"),
    ],
)
def test_a_query_that_fails_is_one_line(
    served: tuple[str, str], words: list[str], code: int, said: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["sql", *words, "--db", served[1]]) == code
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.startswith(b"sellerpulse: ")
    assert err.count(b"\n") == 1
    assert said in err.decode()


@pytest.mark.parametrize(
    "change, said",
    [
        (("geh%3Aeim", "wrong"), "wrong user or password"),
        (("/sellerpulse", "/elsewhere"), "is no Sellerpulse database"),
        (("/sellerpulse", "/default"), "is no Sellerpulse database"),
    ],
)
def test_a_server_that_cannot_be_used_is_one_line_without_the_password(
    served: tuple[str, str], change: tuple[str, str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["sql", "SELECT 1", "--db", served[1].replace(*change)]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert "eim" not in err


def test_a_database_is_made_for_who_writes(served: tuple[str, str]) -> None:
    fresh = connect(served[1].replace("/sellerpulse", "/fresh%60name"))
    assert fresh.client.command("SELECT currentDatabase()") == "fresh`name"
    assert fresh.as_of() is None
    fresh.close()


def test_alerts_are_listed_as_table_and_as_objects(served: tuple[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "list", "--db", served[1]]) == 0
    table = capfd.readouterr().out
    assert "cs_score" in table
    assert "negative_rate" not in table
    assert main(["alerts", "list", "--all", "--format", "json", "--db", served[1]]) == 0
    told = {row["alert_id"]: row for row in map(json.loads, capfd.readouterr().out.splitlines())}
    assert told.keys() == {"a1", "a2"}
    assert told["a1"]["order_ids"] == ["o1"]


def test_an_alert_is_shown_with_its_changes_and_who_was_told(
    served: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["alerts", "show", "a1", "--db", served[1]]) == 0
    shown = capfd.readouterr().out
    assert re.search(r"severity: +warning", shown)
    assert "│ log " in shown
    assert main(["alerts", "show", "a1", "--format", "json", "--db", served[1]]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["order_ids"] == ["o1"]
    assert [(one["receiver"], one["outcome"]) for one in told["notifications"]] == [("log", "told")]
    assert [(one["day"], one["state"]) for one in told["history"]] == [("2023-11-14", "firing")]
    assert main(["alerts", "show", "a1", "--format", "csv", "--db", served[1]]) == 0
    assert capfd.readouterr().out.startswith('"alert_id","rule"')
    assert main(["alerts", "history", "--rule", "cs?score", "--since", "2023-11-14", "--db", served[1]]) == 0
    assert "cs_score" in capfd.readouterr().out
    assert main(["alerts", "history", "--seller", "s1", "--format", "csv", "--db", served[1]]) == 0
    assert capfd.readouterr().out.count("\n") <= 1
    assert main(["alerts", "show", "a9", "--db", served[1]]) == 1
    assert capfd.readouterr().err == "sellerpulse: there is no alert a9\n"


def test_alerts_are_acknowledged_and_silenced_until_a_silence_is_ended(
    served: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str, code: int = 0) -> str:
        assert main(["alerts", *words, "--db", served[1]]) == code
        captured = capfd.readouterr()
        return captured.err if code else captured.out

    assert said("ack", "a1", "--by", "ana", "--comment", "courier's strike") == "ana knows of 1 alert\n"
    assert "is resolved" in said("ack", "a2", "--by", "ana", code=1)
    assert "there is no alert a9" in said("ack", "a1", "a9", "--by", "ana", code=1)
    why = ["--by", "ana", "--comment", "100 % of it_"]
    made = said("silence", "add", "rule=cs_*", "seller=S?", "--until", "2999-01-01", *why)
    assert "1 of the alerts that are firing now" in made
    assert "0 of" in said("silence", "add", "rule=cs?", "marketplace=%", "--until", "2999-01-01", *why)
    (alert,) = map(json.loads, said("list", "--format", "json").splitlines())
    assert (alert["silenced"], alert["acked_by"]) == (1, "ana")
    assert "silenced, acked by ana" in said("list")
    name = made.split()[1].rstrip(":")
    assert name in said("silence", "list", "--format", "csv")
    assert said("silence", "expire", name) == f"silence {name} has ended\n"
    assert "or it has ended" in said("silence", "expire", name, code=1)
    assert "silenced" not in said("list")
    assert said("list", "--severity", "critical") == "No alert is like that.\n"
    for wrong in (["size=1"], ["rule=a", "rule=b"], ["rule"], ["rule="]):
        assert "is not, once, one of" in said("silence", "add", *wrong, "--until", "2999-01-01", *why, code=2)
    assert "is over already" in said("silence", "add", "rule=a", "--until", "2020-01-01", *why, code=2)


def test_refused_records_are_counted_by_reason_then_listed(
    served: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["dlq", "list", "--db", served[1]]) == 0
    reasons, _, newest = capfd.readouterr().out.partition("└")
    assert "unknown kind " in reasons
    assert "unknown kind: SOLD" in newest
    assert main(["dlq", "list", "--topic", "feedback", "--format", "json", "--db", served[1]]) == 0
    (row,) = map(json.loads, capfd.readouterr().out.splitlines())
    assert (row["reason"], row["file"], row["line"], row["partition"]) == ("missing rating", "f.jsonl", 7, None)
    assert (row["record"], row["state"]) == ("feedback/f.jsonl:7", "open")
    assert main(["dlq", "list", "--topic", "surveys", "--db", served[1]]) == 0
    assert capfd.readouterr().out == "No record was refused.\n"


# --- the broker ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker of our own: topic names are fixed, and other tests have theirs."""
    if missing := [program for program in ("java", "mvn") if shutil.which(program) is None]:
        pytest.skip(f"a real broker needs {' and '.join(missing)}")
    fetch()
    broker = Broker(tmp_path_factory.mktemp("topics"))
    broker.start()
    yield broker.bootstrap
    broker.stop()


def test_topics_are_missing_then_made_then_as_they_should_be(
    empty_kafka: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELLERPULSE_KAFKA__PARTITIONS", "3")
    kafka = ["--kafka", empty_kafka]
    assert main(["topics", "check", *kafka]) == 1
    assert "orders: missing" in capfd.readouterr().out
    assert main(["topics", "create", *kafka]) == 0
    assert "unknown.dlq: created" in capfd.readouterr().out
    assert main(["topics", "check", *kafka]) == 0
    assert "murmur2" in capfd.readouterr().out
    assert main(["topics", "create", *kafka]) == 0
    assert "created" not in capfd.readouterr().out

    monkeypatch.setenv("SELLERPULSE_KAFKA__PARTITIONS", "6")
    monkeypatch.setenv("SELLERPULSE_KAFKA__DLQ_RETENTION_DAYS", "1")
    assert main(["topics", "create", *kafka]) == 0
    assert "orders: 3 partitions, should be 6; left as it is" in capfd.readouterr().err
    assert main(["topics", "check", *kafka]) == 1
    assert "orders.dlq: retention.ms 1209600000, should be 86400000" in capfd.readouterr().out


def test_status_tells_lag_and_that_no_worker_runs(
    empty_kafka: str, served: tuple[str, str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELLERPULSE_KAFKA__PARTITIONS", "3")
    assert main(["topics", "create", "--kafka", empty_kafka]) == 0
    producer = Producer({"bootstrap.servers": empty_kafka})
    for number in range(5):
        producer.produce("orders", b"x", key=str(number))
    assert producer.flush(30) == 0
    words = ["status", "--format", "json", "--kafka", empty_kafka, "--db", served[1]]
    capfd.readouterr()
    assert main(words) == 1
    told = json.loads(capfd.readouterr().out)
    assert told["kafka"]["lag"] == {"orders": 5, "feedback": 0, "surveys": 0}
    assert "records that wait while no worker runs: 5" in told["problems"]

    consumer = Consumer({"bootstrap.servers": empty_kafka, "group.id": "sellerpulse", "auto.offset.reset": "earliest"})
    consumer.subscribe(["orders"])
    taken: list[Any] = []
    while len(taken) < 3:
        taken += consumer.consume(1, 30)
    consumer.commit(message=taken[-1], asynchronous=False)
    assert main(words) == 1  # the day stands still
    told = json.loads(capfd.readouterr().out)
    consumer.close()
    assert told["kafka"]["workers"] == 1
    assert 0 < told["kafka"]["lag"]["orders"] < 5
    assert not any("no worker" in problem for problem in told["problems"])


def test_a_broker_out_of_reach_is_one_line_within_ten_seconds(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert main(["topics", "check", "--kafka", "127.0.0.1:1"]) == 1
    assert time.monotonic() - started < 10
    err = capfd.readouterr().err
    assert err.startswith("sellerpulse: Kafka at 127.0.0.1:1 cannot be reached")
    assert err.count("\n") == 1
