"""The marketplace's report beside ours, on the report's own dates: numbers as the brute-force reference counts them."""

import random
from collections.abc import Iterator

import pytest

from schemas.events import MS_A_DAY
from sink.connect import connect
from sink.reconciling import Late, Window, counted, facts
from sink.store import Store
from streams.connectors.health_report import Days, Health, Measure
from streams.core.metrics import Terms
from streams.reading.account import Unknown
from streams.reading.reconciliation import reconciled
from tests import reference
from tests.contract.tables import Row
from tests.contract.test_store import DAY, NOON, feedback, order, put

FIGURES = {
    "orderCount": "odr_orders_60d",
    "orderWithDefects": "odr_defects_60d",
    "claims": "odr_claims_60d",
    "chargebacks": "odr_chargebacks_60d",
    "negativeFeedback": "odr_negative_60d",
    "rate": "order_defect_rate_60d",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Embedded alone, for its time: that a server runs the same statement alike is shown by `test_recompute`."""
    store = connect(str(tmp_path_factory.mktemp("reconcile") / "db"))
    yield store
    store.close()


def history(seller: str) -> list[Row]:
    """Many orders of forty days, with every kind of trouble, some of it taken back, some fulfilment told late."""
    draw = random.Random(8)
    events = []
    for n in range(150):
        known = {"seller_id": seller, "order_id": f"o{n}"}
        placed = NOON + draw.randrange(40 * MS_A_DAY)
        side = draw.choice((None, "SELLER", "MARKETPLACE", "OTHER"))
        events.append(order("1", event_time=placed, fulfilment=side, **known))
        for event_id in "23456":
            later = {"event_time": placed + draw.randrange(30 * MS_A_DAY), **known}
            kind = draw.choice(("SHIPPED", "CLAIM_OPENED", "CLAIM_DENIED", "CHARGEBACK", "SUBMITTED", "REMOVED", ""))
            if kind in ("SUBMITTED", "REMOVED"):
                rating = draw.choice((1, 2, 3, 5)) if kind == "SUBMITTED" else None
                events.append(feedback(event_id, kind=kind, rating=rating, **later))
            elif kind:
                told = draw.choice((None, None, None, "SELLER", "MARKETPLACE"))
                events.append(order(event_id, kind=kind, fulfilment=told, **later))
    return events


def by_hand(events: list[Row], window: Window) -> Row:
    """What the reference says of the orders that one side fulfils, by what is known at the end of the window's day."""
    end_ms = reference.end_of(window.known)
    stories = reference.stories([e for e in events if e["event_time"] < end_ms], "order_id", "orders", "feedback")
    theirs = window.fulfilment == "MARKETPLACE"
    mine = [event for story in stories if reference.marketplace_fulfils(story) == theirs for event in story]
    settings = reference.ReferenceSettings(
        odr_days=window.last - window.first + 1, odr_lag_days=window.known - window.last
    )
    return reference.account_row(mine, window.known, settings)


def measured(events: list[Row], window: Window) -> Measure:
    """A report that says just what the reference counts."""
    row = by_hand(events, window)
    figures = {name: row[column] or 0 for name, column in FIGURES.items()}
    days = Days(window.first, window.last)
    return Measure("orderDefectRate", window.fulfilment, days, figures, "GOOD", "< 0.01")


@pytest.mark.parametrize("side", ["SELLER", "MARKETPLACE"])
@pytest.mark.parametrize("first, last, known", [(0, 19, 24), (9, 38, 38)])
def test_numbers_are_those_of_the_reference_on_the_reports_dates(
    database: Store, side: str, first: int, last: int, known: int
) -> None:
    seller = f"reference-{side}-{first}"
    events, window = history(seller), Window(DAY + first, DAY + last, DAY + known, side)
    put(database, *events, *events[::3])
    right, found = by_hand(events, window), counted(database, (seller, "M"), Terms(odr_lag_days=3), window)
    assert {name: found[name] for name in FIGURES.values()} == {name: right[name] for name in FIGURES.values()}
    assert right["odr_defects_60d"] > right["odr_claims_60d"] > 0  # or the test shows little
    report = [Health("M", None, window.known, [measured(events, window)])]
    lines = reconciled(database, seller, report, lambda _: Terms())
    assert [(line.figure, line.agrees) for line in lines] == [(name, True) for name in FIGURES]


def test_of_orders_that_nobody_has_there_are_none(database: Store) -> None:
    put(database, order(seller_id="few", fulfilment="SELLER"))
    window = Window(DAY, DAY + 3, DAY + 3, "MARKETPLACE")
    measure = measured([order(fulfilment="MARKETPLACE")], window)
    nothing = measure._replace(figures=dict.fromkeys(FIGURES, 0))
    of_both = [Health("M", None, DAY + 3, [nothing]), Health("elsewhere", None, DAY + 3, [measure])]
    lines = reconciled(database, "few", of_both, lambda _: Terms())
    assert [line.agrees for line in lines if line.marketplace_id == "M"] == [True] * 6
    assert [line.ours for line in lines if line.figure == "rate"] == [None, None]
    elsewhere = next(line for line in lines if line.marketplace_id == "elsewhere")
    assert (elsewhere.agrees, elsewhere.why) == (False, ["no order event of the account is stored"])
    with pytest.raises(Unknown, match="no event is stored of 'nobody' on 'M', 'elsewhere'"):
        reconciled(database, "nobody", of_both, lambda _: Terms())


def test_what_is_missing_is_counted(database: Store) -> None:
    hour, known = MS_A_DAY // 24, {"seller_id": "gaps"}
    midnight = DAY * MS_A_DAY
    events = [
        order("1", order_id="before", event_time=midnight - hour, fulfilment="SELLER", **known),
        order("1", order_id="early", event_time=midnight + hour, **known),
        order("1", order_id="within", event_time=midnight + 30 * hour, fulfilment="SELLER", **known),
        order("1", order_id="theirs", event_time=midnight + 20 * hour, fulfilment="MARKETPLACE", **known),
        order("2", order_id="within", kind="CHARGEBACK", event_time=midnight + 96 * hour, **known),
        order("4", order_id="within", kind="CLAIM_OPENED", event_time=midnight + 40 * hour, **known),
        order("2", order_id="before", kind="CLAIM_OPENED", event_time=midnight + 96 * hour, **known),
        feedback("3", order_id="early", event_time=midnight + 97 * hour, rating=1, source="report", **known),
        order("2", order_id="theirs", kind="CLAIM_OPENED", event_time=midnight + 96 * hour, **known),
    ]
    put(database, *events)
    found = facts(database, ("gaps", "M"), Window(DAY, DAY + 2, DAY + 3, "SELLER"))
    assert found.first_order_day == DAY - 1
    assert found.kinds == {"PLACED", "CHARGEBACK", "CLAIM_OPENED", "SUBMITTED"}
    assert (found.unfulfilled, found.near_edges, found.late) == (1, 2, Late(claims=0, chargebacks=1, negative=1))
    assert found.brought == {"test": {DAY - 1: 1, DAY: 2, DAY + 1: 2}}
    theirs = facts(database, ("gaps", "M"), Window(DAY, DAY + 2, DAY + 3, "MARKETPLACE"))
    assert (theirs.near_edges, theirs.late) == (0, Late(claims=1, chargebacks=0, negative=0))
    measure = Measure("orderDefectRate", "SELLER", Days(DAY, DAY + 2), {"negativeFeedback": 5}, None, None)
    report = [Health("M", None, DAY + 4, [measure])]
    (line,) = reconciled(database, "gaps", report, lambda _: Terms(partial_sources=frozenset(["test"])))
    assert (line.ours, line.agrees) == (1, False)
    assert "'test' is declared to bring a part of the ratings only" in line.why
