"""A served folder, asked by `clickhouse_connect`'s ordinary HTTP client, by raw requests and against all rules."""

import gzip
import io
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import fastavro
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from tests.integration.served import Served, run, serving

LIMIT = 4 << 20
SECRET, WRONG = "gehéim", "geheim"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # that it is refused is what is tested
AWKWARD = 'it\'s "quoted" \\n \\ \t \n %s {x} – 评价 é 😀'
SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Row",
        "fields": [{"name": "id", "type": "long"}, {"name": "text", "type": "string"}],
    }
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served") / "db", "--body-limit", str(LIMIT)) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.client() as client:
        client.command("CREATE OR REPLACE TABLE rows (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
        yield client


def _rows(client: Client) -> list[tuple[int, str]]:
    return [(int(number), str(text)) for number, text in client.query("SELECT * FROM rows ORDER BY id").result_rows]


def _avro(*rows: tuple[int, str]) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, SCHEMA, [{"id": number, "text": text} for number, text in rows])
    return buffer.getvalue()


def test_commands_and_queries_answer_as_a_server_would(client: Client) -> None:
    assert client.command("SELECT 1") == 1
    assert client.ping()
    assert str(client.server_tz) == "UTC"
    assert client.command("SELECT toString(toDateTime(0)), currentDatabase()") == ["1970-01-01 00:00:00", "sellerpulse"]
    assert client.query("SELECT number, toString(number) FROM numbers(3)").result_rows == [(0, "0"), (1, "1"), (2, "2")]
    assert client.query("SELECT id FROM rows LIMIT 0").column_names == ("id",)


@pytest.mark.parametrize("form", [False, True], ids=["url", "form"])
def test_parameters_keep_quotes_and_every_script(served: Served, form: bool) -> None:
    with served.client(form_encode_query_params=form) as client:
        query = "SELECT {text:String}, {numbers:Array(Int32)}, {day:Date}"
        asked = {"text": AWKWARD, "numbers": [1, -2], "day": "2024-02-29"}
        [row] = client.query(query, parameters=asked).result_rows
        assert row[0] == AWKWARD
        assert row[1] == [1, -2]
        assert str(row[2]) == "2024-02-29"


def test_every_kind_of_insert_arrives(client: Client) -> None:
    client.insert("rows", [[1, AWKWARD], [2, "b"]], column_names=["id", "text"])
    client.insert_arrow("rows", pa.table({"id": pa.array([3], pa.uint64()), "text": ["c"]}))
    assert client.raw_insert("rows", insert_block=_avro((4, "d"), (5, "e;e")), fmt="Avro").written_rows == 2
    client.raw_insert("rows", ["id", "text"], b'{"id": 6, "text": "f"}\n{"id": 7, "text": "g"}', fmt="JSONEachRow")
    client.raw_insert("rows", insert_block=(piece for piece in [b"8,h\n", b"9,i\n"]), fmt="CSV")  # in chunks
    client.raw_insert("rows", insert_block=gzip.compress(b"10\tj\n"), fmt="TSV", compression="gzip")
    client.command("INSERT INTO rows VALUES ({id:UInt64}, {text:String})", parameters={"id": 11, "text": "k;';"})
    client.command("INSERT INTO {table:Identifier} FORMAT CSV", data="12,l", parameters={"table": "rows"})
    client.command("INSERT INTO rows SELECT a + 1, 'm' FROM input('a UInt64') FORMAT CSV", data="12")
    client.command("INSERT INTO rows SELECT id + 13, text FROM rows WHERE id = 1")
    texts = [AWKWARD, "b", "c", "d", "e;e", "f", "g", "h", "i", "j", "k;';", "l", "m", AWKWARD]
    assert _rows(client) == list(enumerate(texts, start=1))


def test_a_damaged_insert_leaves_nothing_and_says_so(client: Client) -> None:
    for damaged in (_avro((1, "a"), (2, "b"))[:-9], b"rubbish", b""):
        with pytest.raises(DatabaseError) as raised:
            client.raw_insert("rows", insert_block=damaged, fmt="Avro")
        assert raised.value.code == 1001
    assert _rows(client) == []
    client.raw_insert("rows", insert_block=_avro((1, "a")), fmt="Avro")
    assert _rows(client) == [(1, "a")]


@pytest.mark.parametrize("compress", [False, True, "lz4", "zstd", "gzip"])
def test_a_million_rows_go_out_in_any_encoding(served: Served, client: Client, compress: bool | str) -> None:
    del client
    with served.client(compress=compress) as other:
        other.insert("rows", [[number, "x" * 50] for number in range(5000)], column_names=["id", "text"])
        query = "SELECT number AS n, toString(number) AS s FROM numbers(1000000)"
        table = other.query_arrow(query)
        assert (table.num_rows, table["n"][-1].as_py()) == (1_000_000, 999_999)
        with other.query_column_block_stream(query) as blocks:
            assert sum(len(block[0]) for block in blocks) == 1_000_000
        assert other.query("SELECT count(), any(text) FROM rows").result_rows == [(5000, "x" * 50)]


def test_errors_carry_clickhouse_codes(served: Served, client: Client) -> None:
    for query, code in (("SELECT * FROM nothing", 60), ("SELECT nothing", 47), ("SELEC 1", 62)):
        with pytest.raises(DatabaseError) as raised:
            client.query(query)
        assert raised.value.code == code
    status, headers, text = served.ask(body=b"SELECT * FROM nothing")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    assert text.startswith(b"Code: 60. DB::Exception: ")
    assert served.ask(body=b"SELECT 1", no_such_setting="1")[1]["X-ClickHouse-Exception-Code"] == "115"
    fails_late = "SELECT throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_block_size = 1000"
    with pytest.raises(StreamFailureError, match="Code: 395"), client.query_row_block_stream(fails_late) as blocks:
        list(blocks)


def test_eight_clients_write_and_read_at_once(served: Served, client: Client) -> None:
    def work(worker: int) -> int:
        with served.client() as own:
            for batch in range(10):
                rows = [(worker * 10_000 + batch * 100 + number, "x") for number in range(100)]
                own.raw_insert("rows", insert_block=_avro(*rows), fmt="Avro")
                mine = f"SELECT count() FROM rows WHERE intDiv(id, 10000) = {worker}"
                assert own.command(mine) == (batch + 1) * 100
        return worker

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == list(range(8))
    assert client.command("SELECT count(), uniqExact(id) FROM rows") == ["8000", "8000"]


def test_sessions_keep_to_themselves(served: Served) -> None:
    with served.client(session_id="a") as a, served.client(session_id="b", autogenerate_session_id=False) as b:
        a.command("CREATE TEMPORARY TABLE mine AS SELECT 5 AS five")
        a.command("SET max_threads = 7")
        a.command("USE default")
        query = "SELECT getSetting('max_threads')"
        assert a.command(query, settings={"max_threads": 3}) == 3
        assert a.command("SELECT five, getSetting('max_threads'), currentDatabase() FROM mine") == ["5", "7", "default"]
        assert b.command(query) != 7
        with pytest.raises(DatabaseError):
            b.command("SELECT * FROM mine")
    for _ in range(3):  # nothing of a request without a session stays
        served.ask(body=b"SET max_threads = 9")
        served.ask(body=b"CREATE TEMPORARY TABLE gone (x Int8)")
        assert served.ask(body=b"SELECT getSetting('max_threads')", max_threads="5")[2] == b"5\n"
        assert served.ask(body=b"SELECT getSetting('readonly')", readonly="2")[2] == b"2\n"
        assert served.ask(body=b"SELECT getSetting('max_threads') IN (5, 9), getSetting('readonly')")[2] == b"0\t0\n"
        assert served.ask(body=b"SELECT * FROM gone")[0] == 404
    assert served.ask(body=b"SELECT 1", session_id="new", session_check="1")[1]["X-ClickHouse-Exception-Code"] == "372"


def test_a_busy_session_takes_no_second_request(served: Served) -> None:
    slow = threading.Thread(target=served.ask, kwargs={"body": b"SELECT sleep(2)", "session_id": "busy"})
    slow.start()
    time.sleep(0.7)
    assert served.ask(body=b"SELECT 1", session_id="busy")[1]["X-ClickHouse-Exception-Code"] == "373"
    slow.join()
    assert served.ask(body=b"SELECT 1", session_id="busy")[2] == b"1\n"


def test_curl_gets_what_it_expects(served: Served, client: Client) -> None:
    client.insert("rows", [[1, "a"]], column_names=["id", "text"])
    assert served.ask()[2] == served.ask(path="/ping")[2] == served.ask(path="/replicas_status")[2] == b"Ok.\n"
    status, headers, body = served.ask("SELECT {x:String} FORMAT JSONCompactEachRow", param_x="ü", query_id="me")
    assert (status, body.decode()) == (200, '["ü"]\n')
    assert headers["X-ClickHouse-Format"] == "JSONCompactEachRow"
    assert (headers["X-ClickHouse-Query-Id"], headers["X-ClickHouse-Timezone"]) == ("me", "UTC")
    assert served.ask("SELECT * FROM rows", default_format="CSV")[2] == b'1,"a"\n'
    assert (
        served.ask(body=b"INSERT INTO rows FORMAT CSV\n2,b")[1]["X-ClickHouse-Summary"].count('"written_rows": "1"')
        == 1
    )
    assert served.ask("INSERT INTO rows FORMAT CSV", gzip.compress(b"3,c"), {"Content-Encoding": "gzip"})[0] == 200
    totals = b"SELECT number % 2 AS odd, count() FROM numbers(4) GROUP BY odd WITH TOTALS ORDER BY odd"
    assert served.ask(body=totals)[2] == b"0\t2\n1\t2\n\n0\t4\n"
    packed = served.ask("SELECT * FROM numbers(999)", None, {"Accept-Encoding": "gzip"}, enable_http_compression="1")
    assert gzip.decompress(packed[2]).startswith(b"0\n1\n")
    assert _rows(client) == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize(
    "query, code",
    [
        ("DROP TABLE IF EXISTS rows", "164"),  # GET only reads
        ("WITH 1 AS x INSERT INTO rows SELECT x, 'x'", "164"),
        ("SELECT 1; DROP TABLE rows", "62"),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", "48"),
        ("?? who are you", "62"),
        ("\\l", "62"),
    ],
)
def test_what_only_a_command_line_may_do_is_refused(served: Served, query: str, code: str) -> None:
    assert served.ask(query)[1]["X-ClickHouse-Exception-Code"] == code
    assert served.ask("SELECT ';' AS `a;b` -- ; \n /* ; */ ;")[2] == b";\n"


def test_web_pages_of_another_origin_are_refused(served: Served) -> None:
    home = {"Origin": served.url}
    assert served.ask(body=b"SELECT 1", headers=home)[0] == 200
    image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}  # it tells no origin
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, image):
        assert served.ask(body=b"SELECT 1", headers=headers)[0] == 403


def test_an_oversize_body_is_refused_and_the_server_goes_on(served: Served) -> None:
    insert = "INSERT INTO rows FORMAT TSV"
    assert served.ask(insert, b"x" * (LIMIT + 1))[0] == 413
    assert served.ask(insert, gzip.compress(b"x" * (LIMIT + 1)), {"Content-Encoding": "gzip"})[0] == 413
    assert served.ask(insert, b"x", {"Content-Encoding": "gzip"})[0] == 400
    assert served.ask(insert, b"x", {"Content-Encoding": "sdch"})[0] == 400
    assert served.ask(body=b"SELECT 1")[2] == b"1\n"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00" + os.urandom(200) + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nSELECT 1",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /?query=SELECT+1&max_threads=%FF HTTP/1.1\r\n\r\n",
        b"GET /?query=" + quote("SELECT * FROM numbers(10000000)").encode() + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(11),
)
def test_garbage_and_vanishing_clients_do_no_harm(served: Served, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(garbage)
        connection.settimeout(0.2)
        with suppress(OSError):
            connection.recv(100)
    assert served.ask(body=b"SELECT 1")[2] == b"1\n"
    assert served.process.poll() is None


def test_a_password_is_asked_for_and_compared(tmp_path: Path) -> None:
    with serving(tmp_path / "db", password=SECRET) as server:
        with server.client(password=SECRET) as client:
            assert client.command("SELECT 1") == 1
        for wrong in ({"password": WRONG}, {"password": SECRET, "username": "other"}):
            with pytest.raises(DatabaseError) as raised, server.client(**wrong):
                pass
            assert raised.value.code == 516
        assert server.ask(body=b"SELECT 1")[0] == 401
        key = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}
        assert server.ask(body=b"SELECT 1", headers=key)[0] == 403
        assert server.ask(path="/ping")[0] == 200


def test_others_may_connect_only_with_a_password(tmp_path: Path) -> None:
    done = run("import sink.serve, sys; sys.exit(sink.serve.main(sys.argv[1:]))", str(tmp_path), "--host", EVERYWHERE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "needs a password" in done.stderr


def test_sigterm_ends_a_server_that_is_at_work(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server, socket.create_connection(("127.0.0.1", server.port)):
        query = b"SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"
        endless = threading.Thread(target=server.ask, kwargs={"body": query})
        endless.start()
        time.sleep(0.7)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - started < 3
        endless.join()
