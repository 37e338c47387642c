"""The page's HTTP API over a replayed database: what commands say of an account it says too, to whom it should."""

import asyncio
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from sink.store import Store
from streams.credentials import open_store
from streams.reading.standing import Standards
from streams.settings import Settings, load_settings
from streams.web.guard import HEADERS, Guard
from streams.web.page import Page, page_of
from streams.web.probes import probes
from streams.web.reader import AT_WORK, Reader
from streams.web.server import Apart, Server
from tests.integration.program import Database, serving, sql, succeed, wait_until
from tests.unit.sources import ORDER, RATING

AS_OF, TOKEN = "2025-06-30", "sesame" + "-open"
HOSTILE = "<img src=x onerror=alert(1)>"
RULES = """[[alerts.rules]]
name = "cs_score"
marketplaces.MKT-DE = { info = 7.5, warning = 5.5 }
"""

Answer = tuple[int, dict[str, str], bytes]
Account = dict[str, str]


def ask(url: str, body: bytes | None = None, **headers: str) -> Answer:
    """Status, headers and body; a header's name has _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, named)  # noqa: S310  # our own server
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def told(url: str, path: str, **query: object) -> Any:
    """What it answers to whoever asks well."""
    status, _, body = ask(f"{url}/api/{path}?{urllib.parse.urlencode(query)}")
    assert status == 200, body
    return json.loads(body)


def refused(answer: Answer, status: int) -> str:
    """Why it did not answer."""
    assert answer[0] == status, answer
    assert answer[1]["Content-Type"] == "application/json; charset=utf-8"
    said: dict[str, str] = json.loads(answer[2])
    assert list(said) == ["error"]
    assert "\n" not in said["error"]
    return said["error"]


def order(body: object, **headers: str) -> dict[str, Any]:
    """What somebody sends who may."""
    return {
        "body": json.dumps(body).encode(), "Content_Type": "application/json", "Authorization": f"Bearer {TOKEN}",
    } | headers  # fmt: skip


def served(page: Page) -> Apart:
    """A server of the page, to be entered."""
    routes = [*probes(lambda: b"", list, list), *page.routes()]
    return Apart(Server(routes, host="127.0.0.1", port=0, around=[page.guard.around]), page)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings that replay, commands and page share."""
    file = tmp_path_factory.mktemp("settings") / "rules.toml"
    file.write_text(RULES)
    return file


@pytest.fixture(scope="module")
def database(rules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A year of some sellers, and one whose ids and words are meant for browsers, served by HTTP."""
    folder = tmp_path_factory.mktemp("page")
    succeed(folder, "simulate", "--sellers", "12", "--events", "12000", "--seed", "3", "-o", "year.jsonl")
    mine = {"seller_id": HOSTILE, "topic": "orders", "event_time": "2025-06-29T10:00:00Z"}
    rated = RATING | mine | {"topic": "feedback", "rating": 1, "comment": f"{HOSTILE} it broke"}
    (folder / "mine.jsonl").write_text(json.dumps(ORDER | mine) + "\n" + json.dumps(rated))
    words = ["--db", "served", "--as-of", AS_OF, "--settings", str(rules)]
    succeed(folder, "replay", "year.jsonl", "mine.jsonl", *words)
    with serving(folder) as database:
        yield database


@pytest.fixture(scope="module")
def settings(database: Database, rules: Path) -> Settings:
    said = {"clickhouse": {"url": database.url("sellerpulse")}, "web": {"names": ["pulse.example"], "token": TOKEN}}
    return load_settings(rules, said, {})


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with served(page_of(settings, settings.clickhouse, lambda: 7)) as apart:
        assert apart.url is not None
        yield apart.url


@pytest.fixture(scope="module")
def worst(url: str) -> Account:
    """The account that stands first."""
    first = told(url, "overview", limit=1)["accounts"][0]
    return {"seller": first["seller_id"], "marketplace": first["marketplace_id"]}


# --- what is so ------------------------------------------------------------------------------------------------


def test_the_overview_is_sorted_searched_and_cut(url: str, database: Database) -> None:
    every = told(url, "overview", limit=500)
    accounts = every["accounts"]
    assert (every["as_of"], every["total"], every["fresh"]["lag_records"]) == (AS_OF, len(accounts), 7)
    troubles = [(one["critical"], one["warning"]) for one in accounts]
    assert troubles == sorted(troubles, reverse=True)
    assert every["in_trouble"] == sum(trouble > (0, 0) for trouble in troubles) > 0
    firing = "SELECT seller_id, marketplace_id, arraySort(groupUniqArray(rule)) AS rules FROM alerts"
    query = f"{firing} WHERE state = 'firing' GROUP BY ALL ORDER BY ALL"
    by_sql = [json.loads(line) for line in sql(database.url("sellerpulse"), query).splitlines()]
    by_page = [
        {"seller_id": one["seller_id"], "marketplace_id": one["marketplace_id"],
         "rules": sorted(rule["rule"] for rule in one["rules"])}
        for one in accounts if one["rules"]
    ]  # fmt: skip
    assert sorted(by_page, key=lambda one: (one["seller_id"], one["marketplace_id"])) == by_sql
    rates = [one["metrics"]["positive_rate_90d"] for one in
             told(url, "overview", sort="positive_rate_90d", order="asc", limit=500)["accounts"]]  # fmt: skip
    known = [rate for rate in rates if rate is not None]
    assert rates == sorted(known) + [None] * (len(rates) - len(known))
    cut = told(url, "overview", offset=2, limit=3)
    assert (cut["accounts"], cut["total"]) == (accounts[2:5], every["total"])
    beyond = told(url, "overview", offset=1000)
    assert (beyond["accounts"], beyond["total"], beyond["in_trouble"]) == ([], every["total"], every["in_trouble"])
    found = told(url, "overview", q=accounts[0]["seller_id"].lower(), marketplace=accounts[0]["marketplace_id"])
    assert found["accounts"] == accounts[:1]
    assert told(url, "overview", q="% nobody' --")["accounts"] == []


def test_an_account_is_told_as_commands_tell_it(
    url: str, worst: Account, database: Database, rules: Path, tmp_path: Path
) -> None:
    db = ["--db", database.url("sellerpulse"), "--settings", str(rules)]
    who = ["--seller", worst["seller"], "--marketplace", worst["marketplace"]]
    account = told(url, "account", **worst)
    of = f"WHERE seller_id = '{worst['seller']}' AND marketplace_id = '{worst['marketplace']}'"
    (row,) = sql(database.url("sellerpulse"), f"SELECT * FROM seller_current {of}").splitlines()
    stored = json.loads(row)
    assert account["as_of"] == stored["day"] == AS_OF
    numbers = {name: of_day["value"] for name, of_day in account["metrics"].items() if name != "last_event_time"}
    assert numbers == {name: stored[name] for name in numbers}
    assert account["computed_at"] == stored["computed_at"].replace(" ", "T") + "Z"
    lines = succeed(tmp_path, "outlook", *who, *db, "--format", "json").splitlines()
    said: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        one = json.loads(line)
        said.setdefault(one.pop("type"), []).append(one)
    assert account["outlook"]["breaches"] == said["breach"] != []
    assert account["outlook"]["remedies"] == said["remedy"]
    assert account["outlook"]["orders_to_rate"] == said["account"][0]["orders_to_rate"]
    listed = succeed(tmp_path, "cases", "list", *who, "--all", "--limit", "200", *db, "--format", "json").splitlines()
    cases = [json.loads(line) for line in listed]
    for case in cases:
        del case["due_in_words"]
        case["next_step"] = case.pop("next")
    assert account["cases"] == cases != []
    words = ["--metric", "positive_90d", "--day", "2025-05-01"]
    by_command = json.loads(succeed(tmp_path, "explain", *who, *words, *db, "--format", "json"))
    by_page = told(url, "explain", metric="positive_90d", day="2025-05-01", **worst)
    assert by_page.pop("contributions_total") == len(by_command["contributions"]) > 0
    assert by_page == by_command
    series = told(url, "series", metric="order_defect_rate_60d", **worst)
    query = f"SELECT day, order_defect_rate_60d AS value FROM seller_daily {of} AND day > '2024-06-30' ORDER BY day"
    days = [json.loads(line) for line in sql(database.url("sellerpulse"), query).splitlines()]
    assert (series["days"], series["values"]) == ([d["day"] for d in days], [d["value"] for d in days])
    coming = [(day["day"], day["order_defect_rate_60d"]) for day in said["day"][1:]]
    assert list(zip(series["outlook_days"], series["outlook"], strict=True)) == coming != []
    assert {"value": 0.01, "severity": "critical", "rule": "order_defect_rate"} in series["lines"]


def test_a_marketplace_of_its_own_thresholds_has_them_as_lines(url: str) -> None:
    accounts = told(url, "overview", marketplace="MKT-DE", limit=1)["accounts"]
    who = {"seller": accounts[0]["seller_id"], "marketplace": "MKT-DE"}
    series = told(url, "series", metric="cs_score", **who)
    assert [line["value"] for line in series["lines"]] == [7.5, 5.5]
    assert [(band["from"], band["to"]) for band in series["bands"]] == [(0, 6), (6, 8), (8, 10)]


def test_the_catalogue_tells_every_metric_and_rule(url: str) -> None:
    catalogue = told(url, "catalogue")
    metrics = {metric["name"]: metric for metric in catalogue["metrics"]}
    assert metrics["positive_rate_90d"]["better"] == "up"
    assert metrics["order_defect_rate_60d"]["better"] == "down"
    assert {metric["group"] for metric in metrics.values()} == {
        "feedback", "questions", "buy_box", "order_defects", "customer_service", "freshness",
    }  # fmt: skip
    rules = {rule["name"]: rule for rule in catalogue["rules"]}
    assert rules["order_defect_rate"]["severity"] == "critical"
    assert rules["source_silent"]["text"]
    assert catalogue["windows"]["odr_days"] == 60


def test_what_strangers_write_is_never_html(url: str) -> None:
    who = {"seller": HOSTILE, "marketplace": str(ORDER["marketplace_id"])}
    query = urllib.parse.urlencode(who)
    status, headers, body = ask(f"{url}/api/account?{query}")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(body)["cases"][0]["comment"] == f"{HOSTILE} it broke"
    assert HOSTILE in refused(ask(f"{url}/api/account?{query}x"), 404)


# --- who may ask, and what -------------------------------------------------------------------------------------

PATHS = ("/", "/static/index.html", "/static/none.js", "/api/catalogue", "/api/overview", "/api/account", "/none",
         "/api/overview?limit=x", "/api/silences", "/metrics", "/healthz")  # fmt: skip


def test_every_answer_is_locked_up(url: str) -> None:
    for path in PATHS:
        _, headers, _ = ask(url + path)
        locked = {name: value for name, value in HEADERS.items() if name != "Cache-Control"}
        assert locked.items() <= headers.items(), path
        assert headers["Cache-Control"] in ("no-store", "no-cache"), path
        assert "Set-Cookie" not in headers
        assert "Access-Control-Allow-Origin" not in headers
    _, headers, page = ask(f"{url}/")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask(f"{url}/", If_None_Match=headers["Etag"])[0] == 304
    assert ask(f"{url}/static/index.html")[2] == page


@pytest.mark.parametrize(
    "path, status, said",
    [
        ("none", 404, "Not Found"),
        ("../../etc/passwd", 404, "Not Found"),
        ("static/..%2f..%2fpage.py", 404, "Not Found"),
        ("api/account?seller=A", 400, "marketplace is missing"),
        ("api/account?seller=A&marketplace=M", 404, "no event is stored of 'A' on 'M'"),
        ("api/account?seller=A&marketplace=" + "M" * 300, 400, "longer than 256"),
        ("api/overview?sort=cs_scor", 400, 'did you mean "cs_score"?'),
        ("api/overview?order=up", 400, "order is asc or desc"),
        ("api/overview?limit=501", 400, "from 1 to 500"),
        ("api/overview?offset=-1", 400, "offset is a number"),
        ("api/series?seller=A&marketplace=M&metric=cs_band", 400, "cs_band"),
        ("api/explain?seller=A&marketplace=M&metric=cs_score&day=2025-02-30", 400, "day is not like"),
        ("api/explain?seller=A&marketplace=M&metric=cs_score", 404, "no event is stored"),
        ("api/silences", 405, "Method Not Allowed"),
    ],
)
def test_what_cannot_be_answered_is_one_line(url: str, path: str, status: int, said: str) -> None:
    assert said in refused(ask(f"{url}/{path}"), status)


def test_a_day_without_a_row_is_named(url: str, worst: Account) -> None:
    query = urllib.parse.urlencode(worst | {"metric": "cs_score", "day": "2025-07-01"})
    assert f"to {AS_OF}" in refused(ask(f"{url}/api/explain?{query}"), 400)


@pytest.mark.parametrize("host", ["evil.example", "pulse.example.evil.example", "", "127.0.0.1.evil.example:80"])
def test_a_name_that_is_not_ours_is_refused_but_not_to_probes(url: str, host: str) -> None:
    for path in ("/", "/api/overview", "/api/live", "/static/index.html", "/none"):
        assert "web.names" in refused(ask(url + path, Host=host), 421)
    assert ask(f"{url}/healthz", Host=host)[0] == 200


@pytest.mark.parametrize("host", ["localhost:1", "Pulse.Example", "[::1]:80", "10.0.0.7"])
def test_a_name_that_is_ours_is_answered(url: str, host: str) -> None:
    assert ask(f"{url}/api/catalogue", Host=host)[0] == 200


def test_nobody_changes_anything_without_the_token(url: str, settings: Settings, database: Database) -> None:
    ack = f"{url}/api/alerts/0000/ack"
    body = {"by": "ana"}
    refused(ask(ack, **order(body, Authorization="")), 401)
    refused(ask(ack, **order(body, Authorization=f"Bearer {TOKEN}x")), 401)
    assert "application/json" in refused(ask(ack, **order(body, Content_Type="text/plain")), 400)
    assert "no JSON object" in refused(ask(ack, **order([body])), 400)
    assert refused(ask(ack, **order({})), 400).startswith("by is a text")
    assert "there is no alert 0000" in refused(ask(ack, **order(body)), 404)
    refused(ask(ack, **order({"by": "a" * 20_000})), 413)
    silences = f"{url}/api/silences"
    why = {"by": "ana", "comment": "moving", "until": "2100-01-01"}
    assert "say of which" in refused(ask(silences, **order(why)), 400)
    assert "is over already" in refused(ask(silences, **order(why | {"rule": "cs_*", "until": "2020-01-01"})), 400)
    assert "until is not like" in refused(ask(silences, **order(why | {"rule": "cs_*", "until": "soon"})), 400)
    without = settings.model_copy(update={"web": type(settings.web)()})
    with served(page_of(without, settings.clickhouse)) as apart:
        assert "no web.token is set" in refused(ask(f"{apart.url}/api/alerts/0000/ack", **order(body)), 403)
    assert sql(database.url("sellerpulse"), "SELECT * FROM alert_silences") == ""
    status, _, answer = ask(silences, **order(why | {"rule": "no_such_*"}))
    assert status == 200
    listed = json.loads(sql(database.url("sellerpulse"), "SELECT silence_id, rule, by FROM alert_silences"))
    assert listed == json.loads(answer) | {"rule": "no_such_*", "by": "ana"}


# --- much to do ------------------------------------------------------------------------------------------------


def page_over(standards: Standards, open_it: Callable[[], Store]) -> Page:
    return Page(Reader(open_it), Guard((), None), standards, orjson.dumps({}), lambda: None)


def test_an_account_with_too_many_events_is_told_without_what_takes_long(settings: Settings, worst: Account) -> None:
    standards = Standards(settings.terms_of, settings.alerts.rules, most_events=10)
    opened = partial(open_store, settings.clickhouse, create=False)
    with served(page_over(standards, opened)) as apart:
        assert apart.url is not None
        account = told(apart.url, "account", **worst)
        assert account["outlook"] is None
        assert "more than the 10" in account["outlook_refused"]
        assert told(apart.url, "series", metric="cs_score", **worst)["outlook"] == []
        query = urllib.parse.urlencode(worst | {"metric": "cs_score"})
        assert "more than the 10" in refused(ask(f"{apart.url}/api/explain?{query}"), 413)


def test_more_questions_than_can_be_answered_are_sent_away_for_a_while(settings: Settings) -> None:
    gate = threading.Event()

    def late() -> Store:
        gate.wait()
        return open_store(settings.clickhouse, create=False)

    standards = Standards(settings.terms_of, settings.alerts.rules)

    async def crowd(url: str) -> tuple[list[int], int, int]:
        async def status(path: str) -> int:
            async with session.get(f"{url}/api/{path}") as answer:
                if answer.status == 503:
                    assert answer.headers["Retry-After"] == "1"
                return answer.status

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            asked = [asyncio.create_task(status(f"overview?q={n}")) for n in range(AT_WORK + 6)]
            while sum(task.done() for task in asked) < 6:
                await asyncio.sleep(0.05)
            same = [asyncio.create_task(status("overview?q=1")) for _ in range(50)]  # are asked already
            catalogue = await status("catalogue")
            gate.set()
            return await asyncio.gather(*asked), sum([code == 200 for code in await asyncio.gather(*same)]), catalogue

    with served(page_over(standards, late)) as apart:
        assert apart.url is not None
        codes, answered, catalogue = asyncio.run(crowd(apart.url))
    assert sorted(codes) == [200] * AT_WORK + [503] * 6
    assert (answered, catalogue) == (50, 200)


# --- what changes ----------------------------------------------------------------------------------------------


class Listener:
    """Hears server-sent events on a thread of its own, for a `with` block."""

    def __init__(self, url: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._answer = urllib.request.urlopen(f"{url}/api/live", timeout=120)  # noqa: S310  # our own server
        assert self._answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert HEADERS.items() <= dict(self._answer.headers).items()

    def __enter__(self) -> "Listener":
        threading.Thread(target=self._hear, daemon=True).start()
        return self

    def _hear(self) -> None:
        for line in self._answer:
            if line.startswith(b"data: "):
                self.events.append(json.loads(line.removeprefix(b"data: ")))

    def __exit__(self, *_: object) -> None:
        self._answer.fp.raw._sock.shutdown(2)

    def named(self) -> list[list[str]]:
        return [account for event in self.events for account in event["accounts"] or ()]


def test_whoever_listens_hears_which_accounts_changed(
    url: str, worst: Account, database: Database, rules: Path, tmp_path: Path
) -> None:
    who = [worst["seller"], worst["marketplace"]]
    of = f"seller_id = '{who[0]}' AND marketplace_id = '{who[1]}'"
    with Listener(url) as listener:
        query = f"SELECT alert_id FROM alerts WHERE state = 'firing' AND {of} ORDER BY alert_id LIMIT 1"
        alert = json.loads(sql(database.url("sellerpulse"), query))["alert_id"]
        assert listener.events == []
        assert ask(f"{url}/api/alerts/{alert}/ack", **order({"by": "ana", "comment": "seen"}))[0] == 200
        wait_until(lambda: listener.named() == [who], 30, "an acknowledgement")
        alerts = told(url, "account", **worst)["alerts"]
        assert [one["acked_by"] for one in alerts if one["alert_id"] == alert] == ["ana"]
        before = told(url, "account", **worst)["metrics"]["positive_90d"]["value"]
        late = {"seller_id": who[0], "marketplace_id": who[1], "topic": "feedback", "event_time": f"{AS_OF}T09:00:00Z"}
        (tmp_path / "late.jsonl").write_text(json.dumps(RATING | late | {"rating": 5, "event_id": "late"}))
        words = ["--db", database.url("sellerpulse"), "--as-of", AS_OF, "--settings", str(rules)]
        succeed(tmp_path, "replay", "late.jsonl", *words)
        wait_until(lambda: len(listener.named()) > 1, 30, "a restated row")
        assert told(url, "account", **worst)["metrics"]["positive_90d"]["value"] == before + 1
        assert told(url, "series", metric="positive_90d", **worst)["values"][-1] == before + 1
        assert all(account == who for account in listener.named())


def test_a_database_that_does_not_answer_is_one_line_and_is_asked_again(url: str, database: Database) -> None:
    database.kill()
    try:
        answer = ask(f"{url}/api/overview?q=lost")
        assert "ClickHouse" in refused(answer, 503)
        assert answer[1]["Retry-After"] == "1"
        assert ask(f"{url}/")[0] == 200
    finally:
        database.start()
    assert told(url, "overview", q="lost")["accounts"] == []
