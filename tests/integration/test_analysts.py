"""Analysts on an embedded database: what they get, what they do not, and that nobody's misuse harms the writer."""

import gzip
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from sink.embedded import served_at
from tests.integration.broker import Broker
from tests.integration.program import Program, run, sql, succeed, wait_until
from tests.integration.served import ELSEWHERE, ROOT, Served

HOLDER = """
import sys, threading, time
from sink.analysts import Analysts, Desk, Limits
from sink.embedded import open_embedded
folder, password, host = sys.argv[1:4]
writer = open_embedded(folder)
writer.command("CREATE TABLE IF NOT EXISTS written (n UInt64) ENGINE = MergeTree ORDER BY n")
limits = Limits(seconds=6, rows=100_000, memory_mb=256)
with Analysts(folder, Desk(host, None, password or None, limits)) as analysts:
    print(analysts.url, flush=True)
    for line in sys.stdin:
        writer.command(f"INSERT INTO written SELECT {int(line)}")
        print(writer.command("SELECT count() FROM written"), flush=True)
"""
SECRET = "nobody may read this"  # noqa: S105  # in a file, to be looked for in answers
PASSWORD = "geheim"  # noqa: S105  # of a test's own
READ_ONLY, DENIED, ODD = "164", "497", "62"


@contextmanager
def holding(folder: Path, password: str = "", host: str = "127.0.0.1") -> Iterator[Served]:
    """A process that holds the folder, serves analysts, and writes a row when it is told a number."""
    command = [sys.executable, "-c", HOLDER, str(folder), password, host]
    with subprocess.Popen(
        command, cwd=ROOT, env=ELSEWHERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield Served(process, process.stdout.readline().strip().rpartition("/")[0])
        finally:
            process.kill()


def _write(served: Served, number: int) -> int:
    """Have the writer write a row; how many there are then."""
    assert served.process.stdin is not None
    assert served.process.stdout is not None
    served.process.stdin.write(f"{number}\n")
    served.process.stdin.flush()
    return int(served.process.stdout.readline())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small marketplace year, replayed."""
    folder = tmp_path_factory.mktemp("analysts")
    succeed(folder, "simulate", "--sellers", "8", "--events", "3000", "--seed", "5", "-o", "events.jsonl")
    succeed(folder, "replay", "events.jsonl", "--db", "db")
    return folder / "db"


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Served]:
    with holding(folder) as served:
        yield served


def _code(served: Served, query: str, **fields: str) -> str | None:
    """The number of the error that a query gives, None if it gives none."""
    status, headers, answer = served.ask("", query.encode("utf-8", "surrogateescape"), None, **fields)
    code = headers["X-ClickHouse-Exception-Code"]
    assert (status == 200) == (code is None)
    assert code is None or answer.decode(errors="replace").startswith(f"Code: {code}. DB::Exception: ")
    return str(code) if code is not None else None


def test_clickhouse_connect_gets_the_rows_that_sql_shows(served: Served, folder: Path) -> None:
    asked = "SELECT * FROM seller_daily ORDER BY seller_id, marketplace_id, day"
    with served.client(username="analyst") as client:
        found = client.raw_query(asked, fmt="JSONEachRow").decode()
        assert client.query_arrow(asked).num_rows == found.count("\n") > 1000
        with client.query_row_block_stream("SELECT day, seller_id FROM seller_daily") as blocks:
            assert sum(len(block) for block in blocks) == found.count("\n")
    assert sql(folder, asked) == found  # the folder is held: by the same way
    assert "order_defect_rate" in succeed(folder, "sql", "SHOW COLUMNS FROM seller_current", "--db", str(folder))
    assert "as of" in run(folder, "status", "--db", str(folder)).stdout


def test_parameters_sessions_formats_and_compression_are_clickhouses(served: Served) -> None:
    with served.client(session_id="mine") as client:
        asked = {"ids": ["a'b", "ü"], "n": 3}
        query = "SELECT {ids:Array(String)}, number FROM numbers({n:UInt8}) WHERE number = 2"
        assert client.query(query, parameters=asked).result_rows == [(["a'b", "ü"], 2)]
        assert client.command("SELECT 1", settings={"max_execution_time": 60, "join_use_nulls": 1}) == 1
    assert served.ask("SELECT 1", session_id="new", session_check="1")[1]["X-ClickHouse-Exception-Code"] == "372"
    for name, answer in (
        ("JSONCompact", b'"data"'),
        ("CSVWithNames", b'"n"\n'),
        ("Parquet", b"PAR1"),
        ("XML", b"<row>"),
    ):
        assert answer in served.ask(f"SELECT number AS n FROM numbers(3) FORMAT {name}")[2]
    packed = served.ask("SELECT * FROM numbers(999)", None, {"Accept-Encoding": "gzip"}, enable_http_compression="1")
    assert gzip.decompress(packed[2]).startswith(b"0\n1\n")
    for name in ("lz4", "zstd", "gzip"):
        with served.client(compress=name) as client:
            assert client.query("SELECT sum(number) FROM numbers(9)").result_rows == [(36,)]
    assert served.ask(path="/ping")[2] == served.ask(path="/replicas_status")[2] == b"Ok.\n"
    assert served.ask("SELECT currentDatabase()", database="default")[2] == b"sellerpulse\n"


_STATEMENTS = json.loads((Path(__file__).parent / "statements.json").read_text())
HARMLESS: list[str] = _STATEMENTS["harmless"]
# {file}: one that holds the secret; {new}: one that must not come to be; {url}, {host}: where somebody listens.
ATTACKS: list[str] = [attack for kind in _STATEMENTS["attacks"].values() for attack in kind]


@pytest.mark.parametrize("query", HARMLESS)
def test_what_reads_is_answered(served: Served, query: str) -> None:
    assert _code(served, query) is None


@pytest.fixture(scope="module")
def bait(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A secret file, a name for a new one, and a listener that counts who comes."""
    place = tmp_path_factory.mktemp("bait")
    (place / "secret.csv").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        yield {"file": str(place / "secret.csv"), "new": str(place / "new.csv"), "url": f"http://{host}", "host": host}
        with pytest.raises(BlockingIOError):
            listening.accept()
    assert [path.name for path in place.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_does_more_than_read_is_refused(served: Served, bait: dict[str, str], attack: str) -> None:
    query = attack.format(**bait)
    for body in (True, False):
        asked = query.encode("utf-8", "surrogateescape")
        if body:
            status, headers, answer = served.ask(body=asked)
        elif asked:
            status, headers, answer = served.ask(path=f"/?query={quote(asked)}&x=")
        assert status in (400, 403, 500, 501), answer
        assert headers["X-ClickHouse-Exception-Code"] in (READ_ONLY, DENIED, ODD, "48"), answer
        assert SECRET.encode() not in answer


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"max_threads": "64", "max_execution_time": "1e9", "max_memory_usage": "0", "max_result_rows": "0"}, None),
        ({"readonly": "2", "output_format_json_quote_64bit_integers": "0", "max_query_size": "67108864"}, None),
        ({"readonly": "0"}, READ_ONLY),
        ({"allow_ddl": "1"}, READ_ONLY),
        ({"output_format_schema": "/tmp/x"}, READ_ONLY),
        ({"format_template_resultset": "/etc/passwd"}, READ_ONLY),
        ({"additional_table_filters": "{'one': 'file(1)'}"}, READ_ONLY),
        ({"log_comment": "sellerpulse http", "quota_key": "x"}, None),
        ({"database": "system"}, DENIED),
        ({"param_t": "default"}, None),
        ({"max_execution_time": "soon"}, "72"),
    ],
)
def test_a_request_lifts_no_limit(served: Served, fields: dict[str, str], code: str | None) -> None:
    limits = "SELECT getSetting('max_threads'), getSetting('max_execution_time'), getSetting('max_memory_usage')"
    assert _code(served, limits, **fields) == code
    if code is None:
        assert served.ask(limits, None, None, **fields)[2] == f"1\t6\t{256 << 20}\n".encode()
        assert served.ask(limits)[2] == f"1\t6\t{256 << 20}\n".encode()  # nor for who comes next
    assert _code(served, "SELECT * FROM {t:Identifier}.x", param_t="default") == DENIED


@pytest.mark.parametrize(
    "query, code",
    [
        ("SELECT sum(sipHash64(number)) FROM numbers(100000000000)", "159"),
        ("SELECT * FROM numbers(100001)", "396"),
        ("SELECT repeat('x', 200000000)", "241"),
        ("SELECT groupArray(number) FROM numbers(1000000000)", "241"),
        ("SELECT repeat('x', 3000) FROM numbers(90000)", "396"),
        (f"SELECT {'(' * 3000}1{')' * 3000}", None),
        (f"SELECT {'1+' * 30000}1", None),
        (f"SELECT '{'x' * (2 << 20)}'", "307"),
        (f"SELECT 1 AS {'x' * 200000} FROM numbers(100000) FORMAT JSON", "396"),  # 20 GB
        ("SELECT 1 FORMAT DataFrame", "73"),
        ("SELECT 1 FORMAT Nothing", "73"),
        ("SELECT throwIf(1)", "395"),
        ("SELECT * FROM nothing", "60"),
    ],
    ids=range(13),
)
def test_time_memory_rows_and_size_have_limits(served: Served, query: str, code: str | None) -> None:
    began = time.monotonic()
    found = _code(served, query)
    assert found == code if code else found is not None
    assert time.monotonic() - began < 60  # ten times what is allowed: the machine may be loaded
    assert _code(served, "SELECT 1") is None
    assert _memory_mb(served) < 1500


def _memory_mb(served: Served) -> int:
    """The most that the writer's process has taken so far."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def test_a_slow_reader_holds_up_nobody(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(
            b"GET /?query=SELECT+repeat('x',1000)+FROM+numbers(60000) HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        assert connection.recv(1).startswith(b"H")
    began = time.monotonic()
    for _ in range(10):
        assert served.ask("SELECT 1")[2] == b"1\n"
    assert time.monotonic() - began < 5
    for connection in slow:
        connection.close()


def test_a_hundred_analysts_at_their_worst_crash_nothing_and_write_nothing(
    served: Served, bait: dict[str, str]
) -> None:
    chance = random.Random(7)
    before = _write(served, 0)
    until = time.monotonic() + 10
    seen: dict[str, int] = {}

    def misuse(number: int) -> None:
        own = random.Random(number)
        while time.monotonic() < until:
            query = own.choice((*HARMLESS, *ATTACKS)).format(**bait) if own.random() < 0.6 else _garbled(own)
            status, headers, answer = served.ask("", query.encode("utf-8", "surrogateescape"), None, **_noise(own))
            code = headers["X-ClickHouse-Exception-Code"]
            assert (status == 200) == (code is None), (status, query)
            assert code is None or answer.startswith(b"Code: "), (query, answer)
            assert SECRET.encode() not in answer
            seen[str(code)] = seen.get(str(code), 0) + 1

    with ThreadPoolExecutor(100) as pool:
        busy = [pool.submit(misuse, chance.randrange(1 << 30)) for _ in range(100)]
        rows, pauses = before, []
        while time.monotonic() < until:
            began = time.monotonic()
            rows += 1
            assert _write(served, rows) == rows  # the writer goes on
            pauses.append(time.monotonic() - began)
            time.sleep(0.1)
        for one in busy:
            one.result()
    assert max(pauses) < 5
    assert served.process.poll() is None
    assert seen["None"] > 0
    assert seen[DENIED] > 0
    with served.client() as client:
        assert client.command("SELECT count() FROM written") == rows


def _garbled(own: random.Random) -> str:
    """A statement that was cut, doubled, stuffed or made slow."""
    query = own.choice(HARMLESS)
    forms = (
        query[: own.randrange(len(query))],
        query + own.choice(HARMLESS),
        query.replace(" ", own.choice("\x00\x0b\n'\"`(;")),
        "".join(own.choices(query, k=len(query))),
        "".join(map(chr, own.choices(range(1, 256), k=200))),
        "(" * own.randrange(2000) + query,
        "SELECT " + ",".join(["sipHash64(number)"] * own.randrange(1, 300)) + " FROM numbers(1e6)",
        "SELECT count() FROM numbers(1e10)",
        "SELECT '" + "x" * own.randrange(1 << 20) + "'",
    )
    return own.choice(forms)


def _noise(own: random.Random) -> dict[str, str]:
    names = ("session_id", "database", "default_format", "max_threads", "query_id", "param_x", "compress", "no_such")
    return {own.choice(names): own.choice(("1", "x", "", "CSV", "é", "system"))} if own.random() < 0.2 else {}


def _door(served: Served) -> int:
    """The process of the door."""
    [door] = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    return int(door)


def test_a_full_disk_spoils_one_answer_and_none_after_it(served: Served) -> None:
    before = resource.prlimit(_door(served), resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
    for _ in range(os.cpu_count() or 1):  # as many slots, or fewer
        assert _code(served, "SELECT repeat('x', 1000) FROM numbers(9000)") == "243"
    resource.prlimit(_door(served), resource.RLIMIT_FSIZE, before)
    for _ in range(os.cpu_count() or 1):
        assert served.ask("SELECT 1 FORMAT JSON")[1]["X-ClickHouse-Format"] == "JSON"
        assert _code(served, "SELECT throwIf(1)") == "395"


def test_the_door_opens_again_when_it_breaks(served: Served) -> None:
    os.kill(_door(served), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert served.ask("SELECT 1")[2] == b"1\n"
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_password_is_asked_for_and_found_in_the_settings(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "db"
    subprocess.run(["cp", "-r", str(folder), str(copied)], check=True)
    with holding(copied, PASSWORD, "0.0.0.0") as guarded:  # noqa: S104  # with a password it may be
        served = Served(guarded.process, guarded.url.replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
        assert served.ask("SELECT 1")[0] == 401
        assert served.ask("SELECT 1", None, {"X-ClickHouse-User": "analyst", "X-ClickHouse-Key": "x"})[0] == 403
        assert served.ask("SELECT 1", None, {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD})[0] == 403
        with served.client(username="analyst", password=PASSWORD) as client:
            assert client.command("SELECT 1") == 1
        asked = ("sql", "SELECT 1 AS one", "--db", copied, "--format", "CSV")
        refused = run(tmp_path, *asked)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "wrong user or password" in refused.stderr
        assert PASSWORD not in refused.stderr
        (tmp_path / "secret").write_text(f"{PASSWORD}\n")
        assert succeed(tmp_path, *asked, CLICKHOUSE__HTTP__PASSWORD_FILE=str(tmp_path / "secret")) == "1\n"
        shown = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=False).stdout
        assert "-m sink.door" in shown
        assert not [line for line in shown.splitlines() if "sink.door" in line and PASSWORD in line]
        assert PASSWORD not in (copied / "sellerpulse.http").read_text()


def test_nobody_else_is_let_in_without_a_password(folder: Path, tmp_path: Path) -> None:
    with holding(tmp_path / "db", host="0.0.0.0") as refused:  # noqa: S104  # that it is refused is what is tested
        assert refused.process.wait(20) != 0
    del folder


def test_web_pages_of_another_origin_are_refused(served: Served) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert served.ask("SELECT 1", None, headers)[0] == 403


def test_a_second_desk_takes_the_next_port_and_threads_end(folder: Path, served: Served, tmp_path: Path) -> None:
    with holding(tmp_path / "db") as second:
        assert second.port != served.port
        assert second.ask("SELECT 1")[2] == b"1\n"
        assert second.process.stdin is not None
        slow = ThreadPoolExecutor(1).submit(second.ask, "SELECT count() FROM numbers(1e12)")
        time.sleep(0.5)
        second.process.stdin.close()  # the holder ends, although a statement runs
        assert second.process.wait(20) == 0
        assert slow.exception(20) or slow.result()[0] == 500
    del folder


def test_a_worker_serves_what_it_writes_until_it_is_told_to_stop(kafka: Broker, tmp_path: Path) -> None:
    succeed(tmp_path, "simulate", "--sellers", "5", "--events", "2000", "-o", "events.jsonl")
    succeed(tmp_path, "topics", "create", "--kafka", kafka.bootstrap)
    succeed(tmp_path, "ingest", "events.jsonl", "--kafka", kafka.bootstrap)
    address = ("--kafka", kafka.bootstrap, "--db", tmp_path / "db")
    with Program(tmp_path, "worker", *address, KAFKA__GROUP="served") as worker:
        url = wait_until(lambda: served_at(tmp_path / "db"), 60, "analysts are served", worker)
        assert url is not None
        served = Served(worker.process, url.rpartition("/")[0])
        counted = "SELECT (SELECT count() FROM order_events) > 1000 AND (SELECT count() FROM seller_daily) > 1000"
        wait_until(lambda: served.ask(counted)[2] == b"1\n", 90, "rows", worker)
        assert sql(tmp_path / "db", "SELECT 1 AS one") == '{"one":1}\n'
        assert f"analysts are served at {url}" in worker.log()
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(served.ask, "SELECT sum(sipHash64(number)) FROM numbers(1e12)")
            time.sleep(0.5)
            assert worker.stop(30) == 0
            assert slow.exception(20) or slow.result()[0] == 500
    assert served_at(tmp_path / "db") is None
    taken = succeed(tmp_path, "sql", "SELECT 1 AS one", "--db", tmp_path / "db", "--format", "CSV")
    assert taken == "1\n"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        refused = run(tmp_path, "worker", *address, CLICKHOUSE__HTTP__PORT=port)
        assert refused.returncode == 2
        assert f"port {port} of 127.0.0.1 cannot be served" in refused.stderr
    refused = run(tmp_path, "worker", *address, CLICKHOUSE__HTTP__HOST="0.0.0.0")  # noqa: S104
    assert (refused.returncode, "needs a password" in refused.stderr) == (2, True)
