"""The Olist data set, by hand-made tables that have its traps; `tests/flow/test_olist.py` reads the real ones."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from tests.unit.sources import OLIST, events, one, records, refusals, until_damage, write_olist


@pytest.fixture
def olist(tmp_path: Path) -> Path:
    return write_olist(tmp_path / "olist")


def utc_ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc,arg-type]  # parts are ints


def test_every_seller_of_an_order_has_its_events(olist: Path) -> None:
    found = [event for event in events(records(olist)) if event["order_id"] == "o1"]
    assert [(e["seller_id"], e["kind"], e["event_time"]) for e in found] == [
        ("s1", "PLACED", utc_ms(2017, 10, 15, 2, 30)),
        ("s1", "SHIPPED", utc_ms(2017, 10, 16, 12)),  # summer time began on the 15th
        ("s1", "DELIVERED", utc_ms(2017, 10, 15, 11)),  # before it was shipped: told as it is
        ("s2", "PLACED", utc_ms(2017, 10, 15, 2, 30)),
        ("s2", "SHIPPED", utc_ms(2017, 10, 16, 12)),
        ("s2", "DELIVERED", utc_ms(2017, 10, 15, 11)),
        ("s1", "SUBMITTED", utc_ms(2018, 1, 2, 14)),
        ("s2", "SUBMITTED", utc_ms(2018, 1, 2, 14)),
    ]
    placed, *_, rated = found
    assert placed["skus"] == ["p1", "p2"]
    assert placed["fulfilment"] == "SELLER"
    assert placed["deliver_by"] == utc_ms(2017, 10, 15, 3) - 1  # the 15th began at 01:00, summer time
    assert rated["comment"] == "Ruim\nmeu tel. [phone],\nnão recebi"
    assert {event["marketplace_id"] for event in found} == {"olist-br"}


def test_a_cancelled_order_ends_at_its_last_known_moment_and_an_unavailable_one_has_none(olist: Path) -> None:
    found = events(records(olist))
    assert [(e["kind"], e["event_time"]) for e in found if e["order_id"] == "o2"][:2] == [
        ("PLACED", utc_ms(2018, 2, 18, 1, 30)),  # 23:30 came twice that night: the first is meant
        ("CANCELLED", utc_ms(2018, 2, 19, 2, 30)),
    ]
    assert [e["kind"] for e in found if e["order_id"] == "o3"] == ["PLACED"]


def test_ids_are_unique_even_where_reviews_have_none(olist: Path) -> None:
    found = events(records(olist))
    assert len({event["event_id"] for event in found}) == len(found)
    assert found == events(records(olist))
    assert [e["rating"] for e in found if e["order_id"] == "o2" and e["kind"] == "SUBMITTED"] == [5, 4, 3]


def test_what_has_no_seller_is_left_out_by_name_and_what_is_bad_is_refused(olist: Path) -> None:
    source = one(olist)
    for _ in range(2):  # counted anew each time
        found = list(source.read(lambda _: None))
        assert source.left_out == {
            "orders without an item, so without a seller": 1,
            "reviews of orders without an item": 1,
            "reviews of unknown orders": 1,
            "orders of which only items are known": 1,
        }
    assert refusals(found) == [
        (6, "orders: order_purchase_timestamp is not a time"),
        (9, "order_reviews: review_score is not 1 to 5"),
        (10, "order_reviews: not 7 columns"),
    ]
    assert [record.raw for record in found if record.line == 10] == [b"r7,o1,5\n"]


def test_a_table_cut_short_is_named_and_the_others_are_read(olist: Path) -> None:
    reviews = olist / "olist_order_reviews_dataset.csv"
    whole = gzip.compress(reviews.read_bytes())
    (olist / f"{reviews.name}.gz").write_bytes(whole[:-10])
    reviews.unlink()
    found, said = until_damage(olist)
    assert reviews.name in said
    assert sum(event["kind"] == "PLACED" for event in events(found)) == 4


@pytest.mark.parametrize("name", list(OLIST)[1:])
def test_a_data_set_without_one_of_its_tables_is_wrong_usage(olist: Path, name: str) -> None:
    (olist / name).unlink()
    with pytest.raises(ConfigurationError, match=name):
        one(olist)


def test_a_table_without_a_column_is_wrong_usage(olist: Path) -> None:
    path = olist / "olist_order_items_dataset.csv"
    path.write_text(path.read_text().replace("seller_id", "merchant"))
    with pytest.raises(ConfigurationError, match="no column seller_id"):
        one(olist)
