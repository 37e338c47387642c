"""Rows that the store computes from its events: cell by cell those of the fold, and of the brute-force reference."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from schemas.rows import CELLS_SHOWN, Cell, Standard, Wrong
from sink.store import Store
from streams.core.metrics import METRICS, Terms, iso
from streams.rebuild import rebuild
from streams.settings import Settings
from tests.contract.conftest import Opening
from tests.contract.tables import Row, Tables
from tests.contract.test_store import feedback, order, put, put_rows, survey
from tests.fold import fold
from tests.reference import ReferenceSettings, seller_daily
from tests.unit.test_guarantee import EVENTS, TERMS, same, without_id_reuse

DAY = 19_723  # 2024-01-01
NOON = DAY * MS_A_DAY + MS_A_DAY // 2
DEFAULT = Terms()


def accounts_of(events: list[Row]) -> list[tuple[str, str]]:
    return sorted({(event["seller_id"], event["marketplace_id"]) for event in events})


@pytest.mark.parametrize("terms, settings_of_reference", TERMS)
@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(EVENTS, min_size=20, max_size=60), days_more=st.integers(0, 60))
def test_rows_are_those_of_the_fold_and_of_the_reference(
    opening: Opening,
    terms: Terms,
    settings_of_reference: ReferenceSettings,
    histories: list[list[Row]],
    days_more: int,
) -> None:
    """Many histories at once, each of sellers of its own: one statement computes them all."""
    opened = opening()
    events = [
        event | {"seller_id": f"{event['seller_id']}-{n}"}
        for n, history in enumerate(histories)
        for event in without_id_reuse(history)
    ]
    as_of = max(event["event_time"] for event in events) // MS_A_DAY + days_more
    put(opened.store, *events, *events[::3])  # some of them twice
    opened.store.recompute(accounts_of(events), terms, first=0, as_of=as_of, epoch=1)
    rows = opened.tables.seller_daily()
    assert rows == fold([events], as_of, terms)
    same(rows, seller_daily(events, as_of, settings_of_reference))


@pytest.mark.parametrize("back", [0, 1, 6, 7, 30])
def test_rows_of_the_last_days_are_the_same_as_when_all_are_computed(store: Store, tables: Tables, back: int) -> None:
    events = [
        order("1", event_time=NOON - 40 * MS_A_DAY),
        order("2", event_time=NOON - 20 * MS_A_DAY, kind="SHIPPED"),
        feedback("3", event_time=NOON - 9 * MS_A_DAY, rating=1, arrived_on_time=False),
        *(survey(str(n), event_time=NOON - n * MS_A_DAY, solved=n % 3 > 0) for n in range(50)),
        order("1", seller_id="later", event_time=NOON - 2 * MS_A_DAY),
    ]
    put(store, *events)
    terms = Terms(cs_min_responses=10)
    store.recompute(accounts_of(events), terms, first=DAY - back, as_of=DAY, epoch=1)
    expected = [row for row in fold([events], DAY, terms) if row["day"] >= iso(DAY - back)]
    assert tables.seller_daily() == expected


def test_only_the_accounts_that_are_asked_for_are_written(store: Store, tables: Tables) -> None:
    put(store, order(), order(seller_id="other"), order(marketplace_id="M2"))
    store.recompute([("S", "M")], DEFAULT, first=0, as_of=DAY + 2, epoch=1)
    assert {(row["seller_id"], row["marketplace_id"]) for row in tables.seller_daily()} == {("S", "M")}


def test_an_account_of_days_to_come_has_no_rows(store: Store, tables: Tables) -> None:
    put(store, order())
    store.recompute([("S", "M")], DEFAULT, first=0, as_of=DAY - 1, epoch=1)
    assert tables.seller_daily() == []


def test_versions_are_those_of_a_worker(store: Store, tables: Tables) -> None:
    """Epoch, then number of events: what an older epoch writes, or one that knows fewer events, is not shown."""
    events = [order("1"), order("2", kind="SHIPPED"), order("1")]
    put(store, *events)
    store.recompute([("S", "M")], DEFAULT, first=0, as_of=DAY, epoch=3)
    right = tables.seller_daily()
    put_rows(store, order("1", event_time=NOON + 1), version=(3 << 40) + 1, as_of=DAY)
    put_rows(store, order("1", event_time=NOON + 1), version=(2 << 40) + 9, as_of=DAY)
    assert tables.seller_daily() == right
    other = put_rows(store, order("1", event_time=NOON + 1), version=(3 << 40) + 2, as_of=DAY)
    assert tables.seller_daily() == other


def test_what_is_stored_of_accounts(store: Store) -> None:
    put(store, order("1"), order("1"), order("2", event_time=NOON - MS_A_DAY), survey(seller_id="T"))
    found = store.stored([("S", "M"), ("T", "M"), ("nobody", "M")])
    assert {account: (stored.events, stored.first_day) for account, stored in found.items()} == {
        ("S", "M"): (2, DAY - 1),
        ("T", "M"): (1, DAY),
    }
    assert store.behind(DAY, Standard(7)).keys() == found.keys()
    sizes = store.sizes()
    assert sizes.keys() == found.keys()
    assert sizes["T", "M"] == (1, DAY)
    assert sizes["S", "M"][0] >= 2
    assert sizes["S", "M"][1] == DAY - 1
    assert store.sizes(among=[("T", "M"), ("nobody", "M")]) == {("T", "M"): (1, DAY)}


def test_rows_are_read_back_as_they_were_computed(store: Store) -> None:
    events = [order("1"), feedback("2", rating=2), survey("3"), order("1", seller_id="A")]
    put(store, *events)
    store.recompute(accounts_of(events), Terms(cs_min_responses=1), first=0, as_of=DAY + 8, epoch=1)
    rows = store.rows([("S", "M"), ("A", "M"), ("nobody", "M")], DAY + 1, [metric.name for metric in METRICS])
    assert (rows.accounts, rows.sizes) == ([("A", "M"), ("S", "M")], [8, 8])
    assert rows.columns["day"].tolist() == [*range(DAY + 1, DAY + 9)] * 2
    assert rows.columns.keys() == {"day", *(metric.name for metric in METRICS)}
    last = {name: values[-1] for name, values in rows.columns.items()}
    assert (last["negative_30d"], last["cs_score"], last["cs_week"], last["cs_band"]) == (1, 10.0, DAY + 7, "green")
    assert last["last_event_time"] == NOON
    first = {name: values[0] for name, values in rows.columns.items()}
    assert first["cs_week"] == -1
    assert first["cs_band"] is None
    assert first["positive_rate_30d"] != first["positive_rate_30d"]  # NaN


def test_rows_that_are_not_what_the_events_give_are_found_cell_by_cell(store: Store) -> None:
    events = [order("1"), order("2", event_time=NOON + MS_A_DAY), order("1", seller_id="A"), survey(seller_id="A")]
    put(store, *events)
    accounts, as_of = accounts_of(events), DAY + 3
    absent = [Cell(day, "row", "missing", "there") for day in range(DAY, DAY + 4)]
    missing = Wrong(0, 4, 0, 0, absent)
    assert store.differing(accounts, DEFAULT, as_of=as_of) == {("A", "M"): missing, ("S", "M"): missing}
    store.recompute(accounts, DEFAULT, first=0, as_of=as_of, epoch=1)
    assert store.differing(accounts, DEFAULT, as_of=as_of) == {}
    put_rows(store, order("1"), order("2", event_time=NOON + 2 * MS_A_DAY), version=9 << 40, as_of=as_of)
    (wrong,) = store.differing(accounts, DEFAULT, as_of=as_of).values()
    assert wrong[:4] == (3, 0, 0, 3)
    assert [cell[:2] for cell in wrong.examples] == [(DAY + n, "last_event_time") for n in (1, 2, 3)]
    other = store.differing(accounts, Terms(short_days=2), as_of=as_of)
    assert {key: of.rows for key, of in other.items()} == {("A", "M"): 2, ("S", "M"): 3}
    assert other["A", "M"].examples == [Cell(day, "orders_30d", "1", "0") for day in (DAY + 2, DAY + 3)]


def test_nulls_and_fractions_differ_too(store: Store) -> None:
    put(store, feedback("1", rating=1))
    put_rows(store, feedback("1", rating=3), version=1, as_of=DAY)
    (wrong,) = store.differing([("S", "M")], DEFAULT, as_of=DAY).values()
    assert Cell(DAY, "negative_30d", "0", "1") in wrong.examples
    assert wrong.cells > len(wrong.examples) == CELLS_SHOWN
    put_rows(store, order("1"), version=2, as_of=DAY)
    (wrong,) = store.differing([("S", "M")], DEFAULT, as_of=DAY).values()
    assert ("average_stars_30d", "null") in {(cell.column, cell.stored) for cell in wrong.examples}


def test_surplus_rows_and_accounts_without_an_event_are_found(store: Store) -> None:
    put(store, order("1", event_time=NOON + MS_A_DAY))
    put_rows(store, order("1"), order("1", seller_id="stray"), as_of=DAY + 3)
    assert store.strays() == [("stray", "M")]
    found = store.differing([("S", "M"), ("stray", "M")], DEFAULT, as_of=DAY + 2)
    assert {key: of.surplus for key, of in found.items()} == {("S", "M"): 2, ("stray", "M"): 4}
    assert found["S", "M"].examples[0] == Cell(DAY, "row", "there", "none")


def test_rows_that_outrank_a_version_or_are_of_days_to_come_are_dropped(store: Store, tables: Tables) -> None:
    store.move_as_of(DAY + 1)
    for seller, version in (("A", 5), ("B", 6), ("C", 6)):
        put_rows(store, order(seller_id=seller), version=version, as_of=DAY + 2)
    store.drop_rows({("A", "M"): 6, ("B", "M"): 6})
    left = [(row["seller_id"], row["day"]) for row in tables.seller_daily()]
    assert left == [("A", iso(DAY)), ("A", iso(DAY + 1)), *(("C", iso(day)) for day in range(DAY, DAY + 3))]


def test_a_declaration_is_found_to_differ_and_brought_into_force(store: Store, tables: Tables) -> None:
    """From the first day of the report's on the shares are null; what compares rows and the latest row say the same."""
    put(
        store,
        feedback("1", order_id="a", rating=5, source="survey"),
        feedback("3", order_id="a", kind="RESPONDED", rating=None, source="report"),  # no rating
        feedback("2", order_id="b", event_time=NOON + MS_A_DAY, rating=2, source="report"),
    )
    store.move_as_of(DAY + 2)
    declared = Settings.model_validate({"sources": {"report": {"partial": True}}})
    store.recompute([("S", "M")], Settings().terms_of("M"), first=0, as_of=DAY + 2, epoch=0)
    assert [row["negative_rate_90d"] for row in tables.seller_daily()] == [0, 0.5, 0.5]
    wrong = store.differing([("S", "M")], declared.terms_of("M"), as_of=DAY + 2)["S", "M"]
    assert Cell(DAY + 1, "average_stars_30d", "3.5", "null") in wrong.examples
    rebuild(store, declared.terms_of, declared.standard(judged=False), lambda *_: None)
    assert [row["negative_rate_90d"] for row in tables.seller_daily()] == [0, None, None]
    assert [row["negative_90d"] for row in tables.seller_daily()] == [0, 1, 1]
    assert store.differing([("S", "M")], declared.terms_of("M"), as_of=DAY + 2) == {}
    assert store.behind(DAY + 2, declared.standard(judged=False)) == {}
    assert store.behind(DAY + 2, Settings().standard(judged=False)).keys() == {("S", "M")}
