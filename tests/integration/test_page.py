"""The page in a real browser over a replayed database: by mouse, by keys, and by an accessibility checker."""

import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.settings import load_settings
from streams.web.page import page_of
from streams.web.probes import probes
from streams.web.server import Apart, Server
from tests.integration.browser import Tab, browsing, missing
from tests.integration.program import Database, serving, succeed
from tests.integration.test_page_api import HOSTILE, told
from tests.unit.sources import ORDER, RATING

AS_OF, DAY = "2025-06-30", "2025-06-29"
AXE = (Path(__file__).parents[1] / "axe" / "axe.min.js").read_text()
MINE = {"seller_id": HOSTILE, "event_time": f"{DAY}T10:00:00Z"}
SAID = f"{HOSTILE}<script>alert(2)</script> it broke"
FIRST = ".accounts tbody tr:first-child"
METRIC = "order_defect_rate_60d"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if why := missing():
        pytest.fail(why) if "SELLERPULSE_CI" in os.environ else pytest.skip(why)
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Database]:
    """A year of some sellers, and one whose ids and words are meant for browsers."""
    succeed(folder, "simulate", "--sellers", "12", "--events", "12000", "--seed", "3", "-o", "year.jsonl")
    rated = RATING | MINE | {"topic": "feedback", "rating": 1, "comment": SAID}
    (folder / "mine.jsonl").write_text(json.dumps(ORDER | MINE) + "\n" + json.dumps(rated))
    succeed(folder, "replay", "year.jsonl", "mine.jsonl", "--db", "served", "--as-of", AS_OF)
    with serving(folder) as database:
        yield database


def served(database: Database, port: int = 0, **said: Any) -> Apart:
    settings = load_settings(None, said | {"clickhouse": {"url": database.url("sellerpulse")}}, {})
    page = page_of(settings, settings.clickhouse)
    routes = [*probes(lambda: b"", list, list), *page.routes()]
    return Apart(Server(routes, host="127.0.0.1", port=port, around=[page.guard.around]), page)


@pytest.fixture(scope="module")
def url(database: Database) -> Iterator[str]:
    with served(database) as apart:
        assert apart.url is not None
        yield apart.url


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Tab]:
    del folder
    with browsing() as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab, url: str) -> Iterator[Tab]:
    """The overview in a wide window. Whatever is done: nothing goes wrong, nobody else is asked for anything."""
    browser.look()
    browser.errors.clear()
    browser.requests.clear()
    browser.open(url)
    browser.see(FIRST)
    yield browser
    assert browser.errors == []
    assert {each for each in browser.requests if not each.startswith((f"{url}/", "about:", "data:"))} == set()


def worst(url: str) -> dict[str, Any]:
    first: dict[str, Any] = told(url, "overview", limit=1)["accounts"][0]
    return first


def of(account: dict[str, Any]) -> dict[str, str]:
    return {"seller": account["seller_id"], "marketplace": account["marketplace_id"]}


def at(account: dict[str, Any], **values: str) -> str:
    """The fragment of an account's view."""
    words = "/".join(urllib.parse.quote(each, safe="") for each in of(account).values())
    return f"#/account/{words}?{urllib.parse.urlencode(values)}"


def go(tab: Tab, fragment: str) -> None:
    tab.run(f"location.hash = {json.dumps(fragment)}")


def test_values_are_held_against_the_thresholds_of_their_marketplace(
    browser: Tab, database: Database, url: str
) -> None:
    account = worst(url)
    rule = {"name": "average_stars", "marketplaces": {account["marketplace_id"]: 4.987}}
    with served(database, alerts={"rules": [rule]}) as apart:
        browser.look()
        browser.open(f"{apart.url}/{at(account)}")
        browser.see("[data-metric=average_stars_90d] .edges")
        assert browser.text("[data-metric=average_stars_90d] .edges") == "< 4.987"
        browser.open(f"{apart.url}/#/")
        browser.see(FIRST)
        assert "4.987" in browser.run(f"document.querySelector('{FIRST}').innerHTML")


# --- what a person does ----------------------------------------------------------------------------------------


def test_worst_account_why_and_until_when_are_found_in_three_clicks(tab: Tab, url: str) -> None:
    account = worst(url)
    assert account["seller_id"] in tab.text(FIRST)  # the worst one stands first
    tab.click(f"{FIRST} a")  # one
    tab.see(".lead")
    breaches = told(url, "account", **of(account))["outlook"]["breaches"]
    begun = [each for each in breaches if each["begins"] <= AS_OF]
    breach = min(begun, key=lambda each: ["critical", "warning", "info"].index(each["severity"]))
    assert f"since {breach['begins']}" in tab.text(".lead")
    assert f"ends on {breach['ends']}" in tab.text(".lead")
    tab.click(f"[id='why-{breach['rule']}']")  # two: its curve
    tab.see(".curve .u-over")
    tab.click(".curve .u-over", across=0.72)  # three: the orders behind a day
    tab.see(".behind tbody tr")
    assert tab.count(".reasons tbody tr") == len(account["rules"])


def test_a_click_on_a_point_lists_the_orders_behind_it(tab: Tab, url: str) -> None:
    account = worst(url)
    go(tab, at(account, metric=METRIC))
    tab.click(".curve .u-over", across=0.8)
    tab.see(".behind tbody tr")
    day = tab.run("new URLSearchParams(location.hash.split('?')[1]).get('day')")
    assert tab.text(".curve output").startswith(day)
    wanted = told(url, "explain", **of(account), metric=METRIC, day=day)
    bad = [each["order_id"] for each in wanted["contributions"] if "odr_defects_60d" in each["counters"]]
    shown = tab.texts(".behind tbody th")
    assert set(shown[: len(bad)]) == set(bad)  # the defects first, among a lot of orders
    assert wanted["working"] in tab.text(".behind")
    assert all(len(text) >= 10 for text in tab.texts(".behind tbody td:nth-child(4)"))  # each tells when it leaves
    tab.run("history.back()")
    tab.wait(lambda: not tab.count(".behind tbody tr"), "the curve without a picked day")


def test_the_curve_is_also_a_table(tab: Tab, url: str) -> None:
    account = worst(url)
    go(tab, at(account, metric=METRIC))
    tab.click("#values summary")
    series = told(url, "series", **of(account), metric=METRIC)
    tab.see("#values tbody tr")
    assert tab.count("#values tbody tr") == len(series["days"]) + len(series["outlook_days"]) > 365
    assert tab.text("#values tbody tr").startswith(AS_OF)


def test_accounts_are_searched_filtered_and_turned_over(tab: Tab, url: str) -> None:
    every = told(url, "overview", limit=500)
    last = every["accounts"][-1]
    tab.press("/")
    tab.press(*last["seller_id"][:8].lower())
    tab.wait(lambda: tab.count(".accounts tbody tr") == 1, "the one account that is searched for")
    assert last["seller_id"] in tab.text(FIRST)
    assert tab.run("document.activeElement.id") == "search"  # whoever types goes on typing
    tab.press("x", "y", "z")
    tab.see("main .notice", "No account")
    go(tab, f"#/?marketplace={last['marketplace_id']}")
    there = sum(each["marketplace_id"] == last["marketplace_id"] for each in every["accounts"])
    tab.wait(lambda: tab.count(".accounts tbody tr") == there, "the accounts of a marketplace")
    go(tab, "#/?offset=10")
    tab.see(".pager", f"11–{every['total']} of {every['total']}")
    tab.click("[id='turn-page.previous']")
    tab.wait(lambda: tab.count(".accounts tbody tr") == every["total"], "the first page")


def test_a_heading_sorts_the_worst_to_the_top(tab: Tab) -> None:
    cells = f".accounts tbody td:nth-child({tab.run(_COLUMN)})"
    tab.click("#sort-positive_rate_90d")
    tab.see("[aria-sort=ascending]", "Positive share")

    def rates() -> list[float]:
        return [float(text.rpartition("\n")[2].rstrip("%")) for text in tab.texts(cells) if text.endswith("%")]

    assert rates() == sorted(rates())
    assert tab.run("document.activeElement.id") == "sort-positive_rate_90d"
    tab.press("Enter")  # and the other way round
    tab.see("[aria-sort=descending]", "Positive share")
    assert rates() == sorted(rates(), reverse=True)


_COLUMN = "document.getElementById('sort-positive_rate_90d').closest('th').cellIndex + 1"


def test_keys_alone_lead_to_the_orders_behind_a_day(tab: Tab) -> None:
    def focus(selector: str) -> None:
        for _ in range(120):
            tab.press("Tab")
            if tab.run(f"document.activeElement.matches({json.dumps(selector)})"):
                assert tab.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    focus("#skip")
    tab.press("Enter")
    focus(".accounts tbody a")
    tab.press("Enter")
    tab.see(".curve .u-over")
    assert tab.run("document.activeElement.id") == "main"  # the new view is where one stands
    focus("#slider")
    tab.press("Home")
    first = tab.run(_HEARD)
    tab.press("End", "PageDown", "PageDown", "PageDown", "PageDown", "ArrowLeft")
    day, _, value = tab.run(_HEARD).partition(": ")
    assert first.partition(": ")[0] < day < AS_OF
    tab.press("Enter")
    tab.see(".behind h3", day)
    assert value in tab.text(".behind")
    assert tab.run("document.activeElement.id") == "slider"


_HEARD = "document.activeElement.getAttribute('aria-valuetext')"


def test_the_other_language_stays(tab: Tab, url: str) -> None:
    tab.click("#language")
    tab.see("h1", "账户")
    tab.open(url, again=True)
    tab.see("h1", "账户")
    assert tab.run("document.documentElement.lang") == "zh-CN"
    tab.click("#language")
    tab.see("h1", "Accounts")


# --- how it looks, to whom -------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_accessible_and_fits_a_phone(tab: Tab, url: str, dark: bool, language: str) -> None:
    tab.look(dark=dark, language=language)
    tab.open(url)
    tab.see("h1", "账户" if language == "zh-CN" else "Accounts")
    account = worst(url)
    for fragment in ("#/", at(account, metric=METRIC, day=DAY)):
        go(tab, fragment)
        tab.see(FIRST if fragment == "#/" else ".behind tbody tr")
        tab.run("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        background = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
        tab.run(f"window.axe ? 0 : (() => {{ {AXE} }})()")
        found = tab.run("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.slice(0, 3).map(n => n.html)]))")
        assert found == []
        tab.look(360, 740, dark=dark, language=language)
        assert tab.run("document.documentElement.scrollWidth") <= 360
        assert tab.run(_BEYOND) == []
        tab.look(dark=dark, language=language)


_BEYOND = """[...document.querySelectorAll('main *')].filter(
    e => e.checkVisibility() && e.getBoundingClientRect().right > 361 && !e.closest('.said, thead, .long')
).map(e => e.outerHTML.slice(0, 200))"""


def test_strangers_text_is_text(tab: Tab) -> None:
    go(tab, at({"seller_id": HOSTILE, "marketplace_id": str(ORDER["marketplace_id"])}, metric="negative_90d", day=DAY))
    tab.see(".cases q", SAID.replace("  ", " "))
    assert tab.text("h1").startswith(HOSTILE)
    assert HOSTILE in tab.run("document.title")
    tab.see(".behind tbody tr")
    assert tab.run("[document.querySelectorAll('main img, main script').length, window.x ?? null]") == [0, None]


def test_what_cannot_be_shown_is_said_in_a_line(tab: Tab) -> None:
    go(tab, "#/nowhere")
    tab.see("main .notice", "no such page")
    go(tab, "#/account/NOBODY/M1")
    assert "'NOBODY'" in tab.see("main .notice", "could not be loaded")
    assert [each for each in tab.errors if "404" not in each] == []  # the browser's own line about it
    tab.errors.clear()


# --- what changes ----------------------------------------------------------------------------------------------


def test_what_changes_is_seen_without_a_reload(tab: Tab, folder: Path, database: Database) -> None:
    tab.look(still=False)
    tab.see("#live", "Live")
    tab.run("window.kept = 1")
    go(tab, f"#/?q={urllib.parse.quote(HOSTILE)}")
    tab.wait(lambda: tab.count(".accounts tbody tr") == 1, "the account")
    more = [ORDER | MINE | {"order_id": f"new-{n}", "event_id": f"o-new-{n}"} for n in range(3)]
    (folder / "more.jsonl").write_text("\n".join(map(json.dumps, more)))
    succeed(folder, "replay", "more.jsonl", "--db", database.url("sellerpulse"), "--as-of", AS_OF)
    tab.see(".accounts tr.changed td:nth-child(4)", "4")  # orders of 30 days
    assert "1" in tab.text("#said")
    assert tab.run("window.kept") == 1


def test_a_lost_connection_is_told_and_found_again(browser: Tab, database: Database) -> None:
    with served(database) as apart:
        url = apart.url
        assert url is not None
        browser.open(url)
        browser.see("#live", "Live")
    browser.see("#live.lost", "Connection lost")
    with served(database, int(url.rpartition(":")[2])):
        browser.see("#live:not(.lost)", "Live")
        browser.see(FIRST)
        browser.open("about:blank")
    browser.errors.clear()
