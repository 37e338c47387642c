"""`sellerpulse demo`: the first thing that people run, in a folder of their own."""

import json
import re
import urllib.request
from pathlib import Path

import clickhouse_connect
import pytest

from sink.embedded import served_at
from tests.integration.program import Program, run, sql, succeed, wait_until

SELLERS, EVENTS = 5, 2_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demos run, one after the other, as a person would."""
    return tmp_path_factory.mktemp("demo")


def test_a_demo_shows_what_it_found_and_where_to_look(folder: Path) -> None:
    done = run(folder, "demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout  # nothing for terminals where there is none
    for said in ("300,000 events accepted, 0 records refused", "every row is right as of", "firing alerts"):
        assert said in done.stdout
    assert len(re.findall(r"^│ A", done.stdout, re.MULTILINE)) == 12  # the accounts in the worst shape
    queries = re.findall(r"^  \S*sellerpulse sql (.*)$", done.stdout, re.MULTILINE)
    assert len(queries) == 2
    worst = sql(folder / "sellerpulse-demo", "SELECT uniq(rule) AS rules FROM alerts WHERE state = 'firing'")
    assert int(re.sub(r"\D", "", worst)) >= 5


def test_a_demo_of_a_file_follows_another_demo_in_the_same_folder(folder: Path) -> None:
    words = ["--sellers", str(SELLERS), "--events", str(EVENTS), "-o", "mine.jsonl.gz"]
    succeed(folder, "simulate", *words)
    said = succeed(folder, "demo", "mine.jsonl.gz")
    for wanted in ("Your files", "2,000 events accepted, 0 records refused", "Accounts in the worst shape"):
        assert wanted in said
    counted = "SELECT count() AS n FROM (SELECT seller_id FROM seller_current GROUP BY seller_id)"
    assert sql(folder / "sellerpulse-demo", counted) == f'{{"n":{SELLERS}}}\n'  # nothing of the first demo is left


def test_a_demo_that_stays_shows_clickhouse_connect_what_sql_shows_and_the_page(folder: Path) -> None:
    asked = "SELECT * FROM seller_daily ORDER BY seller_id, marketplace_id, day"
    with Program(folder, "demo", "mine.jsonl.gz", "--stay", WEB__ENABLED="true", WEB__PORT="0") as demo:
        wait_until(lambda: "until Ctrl-C" in demo.log(), 120, "the demo's end", demo)
        url = served_at(folder / "sellerpulse-demo")
        assert url is not None
        assert f"{url.rpartition('/')[0]}/?query=" in demo.log()
        port = int(url.rpartition("/")[0].rpartition(":")[2])
        with clickhouse_connect.get_client(host="127.0.0.1", port=port, username="analyst") as client:
            found = client.raw_query(asked, fmt="JSONEachRow").decode()
        assert found == sql(folder / "sellerpulse-demo", asked)
        assert found.count("\n") > SELLERS * 100
        page = re.search(r"next:\n  open (\S+)", demo.log())
        assert page is not None
        with urllib.request.urlopen(f"{page[1]}/api/overview", timeout=60) as answer:  # noqa: S310  # our own server
            assert json.load(answer)["total"] >= SELLERS
        assert demo.stop(30) == 0
