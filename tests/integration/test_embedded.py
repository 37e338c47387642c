"""A chDB folder: who may have it, and what becomes of it. Each opener is a process, for a process has one folder."""

import os
from pathlib import Path

from tests.integration.served import run, serving

OPEN = """
import sys
from schemas.errors import ConfigurationError
from sink.embedded import open_embedded
try:
    client = open_embedded(sys.argv[1])
except ConfigurationError as error:
    sys.exit(str(error))
print(client.command(sys.argv[2]), client.server_tz)
client.close()
"""


def test_a_second_opener_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server:
        done = run(OPEN, str(tmp_path / "db"), "SELECT 1")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"{tmp_path / 'db'} is in use by process {server.process.pid} (" in done.stderr
        assert "serve.py" in done.stderr


def test_a_killed_holder_leaves_folder_and_data_to_the_next(tmp_path: Path) -> None:
    with serving(tmp_path / "db") as server, server.client() as client:
        client.command("CREATE TABLE rows (id UInt64, text String) ENGINE = MergeTree ORDER BY id")
        for batch in range(5):
            client.command(f"INSERT INTO rows SELECT number + {batch * 1000}, 'x' FROM numbers(1000)")
        server.process.kill()
        server.process.wait()
    done = run(OPEN, str(tmp_path / "db"), "SELECT count(), uniqExact(id) FROM rows")
    assert done.stdout == "['5000', '5000'] UTC\n", done.stderr
    with serving(tmp_path / "db") as server:
        assert server.ask("SELECT count() FROM rows")[2] == b"5000\n"


def test_a_folder_that_cannot_be_ours_is_named_in_one_line(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.doc").touch()
    sealed = tmp_path / "sealed"
    sealed.mkdir(mode=0o555)
    places = {foreign: "is neither empty nor a Sellerpulse database", foreign / "thesis.doc": "is not a folder"}
    if os.geteuid() != 0:  # root may write anywhere
        places[sealed / "db"] = "cannot hold a database: Permission denied"
    for place, reason in places.items():
        done = run(OPEN, str(place), "SELECT 1")
        assert done.stderr == f"{place} {reason}\n"
    assert [entry.name for entry in foreign.iterdir()] == ["thesis.doc"]


def test_one_process_shares_a_folder_among_clients_threads_and_a_server(tmp_path: Path) -> None:
    code = """
import sys, clickhouse_connect
from sink.embedded import open_embedded
from sink.serve import Server
from schemas.errors import ConfigurationError
own = open_embedded(sys.argv[1])
own.command("CREATE TABLE rows (id UInt64) ENGINE = MergeTree ORDER BY id")
with Server(own, 0) as server:
    with clickhouse_connect.get_client(host="127.0.0.1", port=int(server.url.rpartition(":")[2])) as other:
        other.insert("rows", [[1], [2]])
    print(own.command("SELECT count() FROM rows"))
try:
    open_embedded(sys.argv[1] + "2")
except ConfigurationError as error:
    print("cannot be opened" in str(error))
own.close()
again = open_embedded(sys.argv[1] + "2")
print(again.command("SELECT currentDatabase()"))
again.close()
"""
    done = run(code, str(tmp_path / "db"))
    assert done.stdout.split() == ["2", "True", "sellerpulse"], done.stderr
