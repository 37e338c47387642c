"""Files of another marketplace replayed, and a marketplace's own report held beside what the tables hold."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.program import run, sql, succeed

SAMPLES = Path(__file__).parents[1] / "etsy"
MS_A_DAY, BEGIN = 86_400_000, 1_748_736_000_000  # 2025-06-01
HEALTH = {"reportingDateFrom": "2025-06-01T00:00Z", "reportingDateTo": "2025-06-20T23:59Z"}


def told(order: int, kind: str, day: int, **more: Any) -> str:
    topic = "feedback" if kind == "SUBMITTED" else "orders"
    common = {"topic": topic, "event_id": kind, "seller_id": "A", "marketplace_id": "MKT", "source": "hand"}
    at = BEGIN + day * MS_A_DAY + MS_A_DAY // 2
    return json.dumps(common | {"order_id": f"o{order}", "kind": kind, "event_time": at} | more) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of Etsy's samples and of forty orders of another marketplace, two of them with trouble."""
    folder = tmp_path_factory.mktemp("reconcile")
    lines = [told(n, "PLACED", n // 2, fulfilment="MARKETPLACE" if n % 4 == 0 else "SELLER") for n in range(40)]
    lines += [told(6, "CLAIM_OPENED", 15), told(6, "SUBMITTED", 16, rating=1), told(7, "SUBMITTED", 30, rating=1)]
    (folder / "events.jsonl").write_text("".join(lines))
    succeed(folder, "replay", "events.jsonl", SAMPLES, "--seller", "shop", "--db", "db", "--as-of", "2025-07-15")
    return folder


def report(folder: Path, name: str, **figures: Any) -> Path:
    """What the marketplace would say of the seller's own orders, but for these figures."""
    right: dict[str, Any] = {"orderCount": 30, "orderWithDefects": {"count": 1}, "claims": {"count": 1}}
    right |= {"chargebacks": {"count": 0}, "negativeFeedback": {"count": 1}, "rate": 0.0333}
    odr = {"reportingDateRange": HEALTH, "status": "BAD", "targetValue": 0.01, "targetCondition": "LESS_THAN"}
    late = {"reportingDateRange": HEALTH | {"reportingDateTo": "2025-06-25T23:59Z"}, "lateShipmentCount": 4}
    section = {"marketplaceId": "MKT", "orderDefectRate": {"mfn": odr | right | figures}, "lateShipmentRate": late}
    (folder / name).write_text(json.dumps({"performanceMetrics": [section]}))
    return folder / name


def test_etsys_orders_and_ratings_are_in_the_daily_rows(folder: Path) -> None:
    columns = """orders_lifetime, positive_lifetime, negative_lifetime, average_stars_lifetime, odr_orders_60d,
        odr_negative_60d, received_orders_90d, problem_free_orders_90d"""
    rows = sql(
        folder / "db",
        f"""SELECT {columns}, (SELECT arraySort(groupArray(kind)) FROM order_events WHERE source = 'etsy') AS kinds,
            (SELECT any(comment) FROM feedback_events WHERE comment LIKE '%mug%') AS comment
        FROM seller_daily WHERE seller_id = 'shop' AND day IN ('2025-06-13', '2025-06-30') ORDER BY day""",
    )
    (*before, _, _), (*after, kinds, comment) = (json.loads(line).values() for line in rows.splitlines())
    # Of the two reviews of one order the later stands; two stars became four on the 21st.
    assert before == [4, 1, 2, pytest.approx(8 / 3), 4, 2, 0, 0]
    assert after == [4, 2, 1, pytest.approx(10 / 3), 4, 1, 3, 2]
    assert kinds == ["CANCELLED", *["PLACED"] * 4, *["SHIPPED"] * 3]
    assert comment == "Lovely mug, write to [e-mail]"


def test_a_report_that_agrees_ends_well_and_one_that_differs_says_why(folder: Path) -> None:
    words = ("--seller", "A", "--db", "db")
    said = succeed(folder, "reconcile", report(folder, "right.json"), *words)
    assert "0 of 6 figures differ" in said
    assert "lateShipmentRate: no event carries the day by which an order had to be shipped" in said
    wrong = report(folder, "wrong.json", orderWithDefects={"count": 2}, negativeFeedback={"count": 2})
    done = run(folder, "reconcile", wrong, *words, "--format", "json")
    assert (done.returncode, done.stderr) == (1, "")
    lines = {(line["metric"], line["figure"]): line for line in map(json.loads, done.stdout.splitlines())}
    negative = lines["orderDefectRate", "negativeFeedback"]
    assert [negative[name] for name in ("theirs", "ours", "agrees", "status", "target")] == [
        2,
        1,
        False,
        "BAD",
        "< 0.01",
    ]
    assert negative["why"][0] == "1 order had a rating told of after 2025-06-25, the report's last day"
    assert lines["orderDefectRate", "rate"]["agrees"]
    assert lines["lateShipmentRate", "lateShipmentCount"]["agrees"] is None


@pytest.mark.parametrize(
    "words, said",
    [
        (("events.jsonl", "--seller", "A"), "events.jsonl: no account-health report: not JSON"),
        (("right.json", "--seller", "A", "--marketplace", "X"), "nothing of marketplace 'X': it has 'MKT'"),
    ],
)
def test_wrong_usage_is_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    report(folder, "right.json")
    done = run(folder, "reconcile", *words, "--db", "db")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
