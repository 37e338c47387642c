"""What analysts' views say of cases, agents, outreach, metrics and freshness, of a few orders made by hand."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.events import MS_A_DAY
from sink.store import Store
from streams.core.metrics import METRICS, iso
from streams.inforce import in_force
from streams.rebuild import rebuild
from streams.settings import Settings
from tests.contract.test_store import feedback, order, put, survey
from tests.contract.test_tables import asked

AS_OF = 19_844  # 2024-04-30
AN_HOUR = 3_600_000
SETTINGS = Settings.model_validate(
    {
        "metrics": {"marketplaces": {"M": {"points_negative": -300}}},
        "alerts": {"rules": [{"name": "negative_rate", "marketplaces": {"N": 0.5}}]},
        "cases": {"credits": {"service": 7}},
    }
)
SAID = in_force(SETTINGS)


def at(days_before: float) -> int:
    """Noon of the as-of day, so many days before."""
    return AS_OF * MS_A_DAY + MS_A_DAY // 2 - int(days_before * MS_A_DAY)


def received(name: str, days_before: float, *more: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """An order that was delivered then, and what else happened to it."""
    placed = order(f"{name} p", order_id=name, event_time=at(days_before + 3), skus=["sku"])
    delivered = order(f"{name} d", order_id=name, kind="DELIVERED", event_time=at(days_before), **fields)
    return [
        placed,
        delivered,
        *({**event, "order_id": name, "event_id": f"{name} {n}"} for n, event in enumerate(more)),
    ]


def staff(kind: str, days_before: float, **fields: Any) -> dict[str, Any]:
    return feedback(kind=kind, rating=None, event_time=at(days_before), **fields)


def answer(days_before: float, *, solved: bool) -> dict[str, Any]:
    return survey(solved=solved, event_time=at(days_before), agent="Ana", conversation_id=f"c{days_before}")


OUTREACH = [
    *received("good", 10),
    *received("first day", 4), *received("last day", 30), *received("too early", 3), *received("too late", 31),
    *received("late", 10, deliver_by=at(11)),
    *received("late by the marketplace", 10, deliver_by=at(11), fulfilment="MARKETPLACE"),
    *received("rated", 10, feedback(rating=5, event_time=at(5))),
    *received("asked", 10, staff("FEEDBACK_ASKED", 5)), *received("opted out", 10, staff("OPTED_OUT", 5)),
    *received("claimed", 10, order(kind="CLAIM_OPENED", event_time=at(5))),
    *received(
        "denied", 10, order(kind="CLAIM_OPENED", event_time=at(6)), order(kind="CLAIM_DENIED", event_time=at(5))
    ),
    *received("returned", 10, order(kind="RETURNED", event_time=at(5))),
    *received("charged back", 10, order(kind="CHARGEBACK", event_time=at(5))),
    *received("unsolved", 10, answer(9, solved=True), answer(8, solved=False)),
    *received("solved", 10, answer(7, solved=False), answer(6, solved=True)),
    *received("asked for a review", 10, staff("REVIEW_ASKED", 5)),
    *received("claimed tomorrow", 10, order(kind="CLAIM_OPENED", event_time=at(-1))),
    order("s", order_id="said nothing more", kind="SHIPPED", event_time=at(20)),
    order("s", order_id="promised", kind="SHIPPED", event_time=at(50), deliver_by=at(8)),
    order("s", order_id="promised for later", kind="SHIPPED", event_time=at(9), deliver_by=at(-8)),
    order("s", order_id="cancelled", kind="CANCELLED", event_time=at(9)),
]  # fmt: skip
WORTH_ASKING = {
    "good", "first day", "last day", "late by the marketplace", "denied", "solved", "asked for a review",
    "claimed tomorrow", "said nothing more", "promised",
}  # fmt: skip


def rated(name: str, stars: int, *more: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """An order of the seller C, rated at noon of 1 March."""
    events = received(name, 65, feedback(rating=stars, event_time=at(60), **fields), *more)
    return [event | {"seller_id": "C"} for event in events]


CASES = [
    *rated("removed", 1, staff("RESPONDED", 59.5, agent="Ana"), staff("REMOVED", 40), comment="It broke at once."),
    *rated("struck", 2, staff("RESPONDED", 59.5, agent="Ana"), staff("REFUNDED", 59, agent="Bo"), staff("STRUCK", 20),
           arrived_on_time=False, customer_service=False),
    *rated("revised", 1, staff("CONTACTED", 58, agent="Ana"), feedback(rating=4, event_time=at(50)),
           staff("RESPONDED", 49, agent="Bo"), customer_service=False),
    *rated("nobody's", 1, staff("REMOVED", 40), comment="It broke at once."),
    *rated("standing", 2, staff("RESPONDED", 59.75, agent="Ana"), comment="It broke at once."),
]  # fmt: skip
CASES[0]["skus"] = ["sku", "other"]


@pytest.fixture(scope="module")
def told(database: Store) -> Iterator[Store]:
    """A store that holds these and nothing else, with rows and cases made by the program."""
    for (name,) in asked(
        database, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    ):
        if name != "schema_versions":
            database.client.command(f"TRUNCATE TABLE {name}")
    put(database, *OUTREACH, *CASES)
    database.move_as_of(AS_OF)
    database.adopt(SAID)
    rebuild(database, SETTINGS.terms_of, SETTINGS.standard(judged=False), lambda *_: None)
    yield database
    database.adopt(in_force(Settings()))


def test_orders_worth_asking_about_were_received_lately_and_went_well(told: Store) -> None:
    found = asked(
        told,
        "SELECT order_id, ask, days_since_receipt, toString(last_day) FROM outreach_candidates WHERE seller_id = 'S'",
    )
    assert {name for name, *_ in found} == WORTH_ASKING
    assert {name: rest for name, *rest in found}["good"] == ["feedback", 10, iso(AS_OF + 20)]
    assert {name: days for name, _, days, _ in found}["said nothing more"] == 6
    assert {name: days for name, _, days, _ in found}["promised"] == 8


@pytest.mark.parametrize(
    "review, wanted",
    [
        ("happy", {"rated"}),
        ("all", {name for name in {event["order_id"] for event in OUTREACH} if name not in (
            "first day", "too early", "too late", "asked for a review", "opted out", "promised for later", "cancelled",
        )}),
    ],
)  # fmt: skip
def test_a_review_is_asked_of_all_or_the_happy_if_the_settings_say_so(
    told: Store, review: str, wanted: set[str]
) -> None:
    told.adopt(SAID._replace(review=review))
    found = asked(told, "SELECT order_id FROM outreach_candidates WHERE seller_id = 'S' AND ask = 'review'")
    told.adopt(SAID)
    assert {name for (name,) in found} == wanted


def test_negative_ratings_of_a_month_by_sku_and_cause(told: Store) -> None:
    found = asked(
        told,
        """SELECT sku, root_cause, negative, removed, struck, revised, replaced, standing,
            round(median_hours_to_action), orders, negative_per_order
        FROM negative_monthly WHERE seller_id = 'C' AND month = '2024-03-01' ORDER BY sku, root_cause""",
    )
    assert found == [
        ("other", "product", 1, 1, 0, 0, 0, 0, 12, 0, None),
        ("sku", "late", 1, 0, 1, 0, 0, 0, 12, 0, None),
        ("sku", "product", 3, 2, 0, 0, 0, 1, 9, 0, None),
        ("sku", "service", 2, 0, 1, 1, 0, 0, 30, 0, None),
    ]


def test_orders_of_a_sku_count_once_in_the_month_in_which_they_were_placed(told: Store) -> None:
    put(told, *rated("same month", 1, order(kind="PLACED", event_time=at(60.5), skus=["sku"]))[1:])
    rebuild(told, SETTINGS.terms_of, SETTINGS.standard(judged=False), lambda *_: None)
    found = asked(
        told,
        """SELECT orders, sum(negative), any(negative_per_order) FROM negative_monthly
        WHERE seller_id = 'C' AND root_cause = 'unknown' GROUP BY orders""",
    )
    assert found == [(1, 1, 1.0)]


def test_a_case_that_ended_well_earns_its_greatest_credit_for_who_acted_last(told: Store) -> None:
    found = asked(
        told, "SELECT toString(month), agent, cases, credit FROM case_credits WHERE seller_id = 'C' ORDER BY 1, 2"
    )
    assert found == [("2024-03-01", "Ana", 2, 57), ("2024-04-01", "Bo", 1, 30)]


def test_answers_of_agents_are_counted_by_month(told: Store) -> None:
    found = asked(told, "SELECT toString(month), agent, answers, solved, share FROM cs_by_agent")
    assert found == [("2024-04-01", "Ana", 4, 2, 0.5)]


def test_metrics_say_what_is_in_force_on_each_marketplace(told: Store) -> None:
    found = {
        (name, marketplace): rest
        for name, marketplace, *rest in asked(
            told,
            """SELECT name, marketplace_id, formula, window_days, arrayMap(t -> (t.rule, t.threshold), thresholds)
            FROM metric_definitions""",
        )
    }
    assert {marketplace for _, marketplace in found} == {"", "M", "N"}
    assert len(found) == 3 * len(METRICS)
    assert found["buy_box_points_90d", "M"][:2] == ["100 x problem_free_orders_90d - 300 x negative_90d", 90]
    assert found["negative_rate_90d", "N"][1:] == [90, [("negative_rate", 0.5)]]
    assert found["negative_rate_90d", ""][2] == [("negative_rate", 0.05)]
    told.adopt(in_force(Settings()))
    names = "SELECT DISTINCT marketplace_id FROM metric_definitions ORDER BY 1"
    assert asked(told, names) == [("",), ("M",)]  # no settings name it: it is where accounts are
    told.adopt(SAID)


def test_freshness_is_told_of_partitions_and_sources(told: Store) -> None:
    told.add_lags({("orders", 1): 5, ("surveys", 3): 0})
    told.add_lags({("orders", 1): 2})
    of_sources = asked(
        told,
        """SELECT seller_id, source, last_event_time, usual_events_a_day
        FROM freshness WHERE source IS NOT NULL ORDER BY 1""",
    )
    assert [(seller, source, usual) for seller, source, _, usual in of_sources] == [("C", "test", 0), ("S", "test", 0)]
    of_partitions = asked(told, "SELECT topic, partition, last_event_time, lag FROM freshness WHERE topic IS NOT NULL")
    assert {(topic, partition): lag for topic, partition, _, lag in of_partitions if lag is not None} == {
        ("orders", 1): 2, ("surveys", 3): 0,
    }  # fmt: skip
    assert {partition for _, partition, *_ in of_partitions} <= set(range(4))
    assert max(time for *_, time, _ in of_partitions) == max(time for _, _, time, _ in of_sources)


def test_a_source_that_brings_six_a_day_on_most_days_is_told_so(told: Store) -> None:
    put(told, *(
        order(f"{day} {n}", order_id=f"{day} {n}", seller_id="busy", event_time=at(day) + n)
        for day in range(20) for n in range(6 if day % 2 or day > 5 else 9)
    ))  # fmt: skip
    assert asked(told, "SELECT usual_events_a_day FROM freshness WHERE seller_id = 'busy'") == [(6,)]


def test_a_condition_on_a_metric_does_not_bring_back_an_outranked_row(told: Store) -> None:
    account = "seller_id = 'S' AND marketplace_id = 'M'"
    before = asked(
        told, f"SELECT count() FROM seller_daily WHERE {account} AND orders_lifetime > 0 AND negative_30d = 77"
    )
    told.client.command(
        f"""INSERT INTO stored_seller_daily (seller_id, marketplace_id, day, orders_lifetime, negative_30d, version)
        SELECT seller_id, marketplace_id, day, 9, 77, 0 FROM seller_daily WHERE {account}"""
    )
    after = f"SELECT count() FROM seller_daily WHERE {account} AND orders_lifetime > 0 AND negative_30d = 77"
    assert asked(told, after) == before == [(0,)]


def test_old_rejected_events_and_alert_changes_go_and_events_stay(told: Store) -> None:
    for _ in range(2):  # the second time nothing is to be changed
        told.adopt(SAID._replace(keep_rejected_days=30, keep_alert_history_days=40))
    old, young = (time.time() - 50 * 86_400, time.time() - 35 * 86_400)
    for when in (old, young):
        told.client.command(
            f"INSERT INTO stored_rejected_events (topic, offset, time) VALUES ('t', {int(when)}, {int(when)})"
        )
        told.client.command(
            f"INSERT INTO stored_alert_history (alert_id, changed_at) VALUES ('{int(when)}', {int(when)})"
        )
    counts = ", ".join(f"(SELECT count() FROM {view})" for view in ("rejected_events", "alert_history", "order_events"))
    for table in ("stored_rejected_events", "stored_alert_history"):
        told.client.command(f"OPTIMIZE TABLE {table} FINAL")
    ((rejected, changes, events),) = asked(told, f"SELECT {counts}")
    assert (rejected, changes) == (0, 1)
    assert events > 40
    told.adopt(SAID)
    kept = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '% TTL %'"
    assert asked(told, kept) == [(0,)]
