"""The account-health report, read leniently, and what explains that it says something else than we do."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, FileDamaged
from sink.reconciling import Facts, Late, Window
from streams.connectors.health_report import Days, Health, read_health_report
from streams.reading.reconciliation import agree, explained

AMAZON = Path(__file__).parents[3] / "shared" / "data" / "amazon"
DAY = 19_723  # 2024-01-01
RANGE = {"reportingDateFrom": "2024-01-01T00:00Z", "reportingDateTo": "2024-01-03T23:59Z"}


def odr(**figures: Any) -> dict[str, Any]:
    return {
        "reportingDateRange": RANGE,
        "status": "GOOD",
        "targetValue": 0.01,
        "targetCondition": "LESS_THAN",
    } | figures


def report(folder: Path, section: Any = None, **more: Any) -> Path:
    path = folder / "health.json"
    path.write_text(json.dumps({"performanceMetrics": [{"marketplaceId": "M"} | (section or {})]} | more))
    return path


def one(path: Path) -> Health:
    (health,) = read_health_report(path)
    return health


def test_a_report_is_read_by_fulfilment_with_status_and_target(tmp_path: Path) -> None:
    mfn = odr(orderCount=100, orderWithDefects={"count": 2, "status": "GOOD"}, rate=0.02)
    section = {"orderDefectRate": {"mfn": mfn, "afn": odr()}, "lateShipmentRate": odr(lateShipmentCount=3)}
    health = one(report(tmp_path, section, accountStatuses=[{"marketplaceId": "M", "status": "NORMAL"}]))
    ours, theirs, late = health.measures
    assert (health.marketplace_id, health.status, health.last) == ("M", "NORMAL", DAY + 2)
    assert (ours.metric, ours.fulfilment, theirs.fulfilment) == ("orderDefectRate", "SELLER", "MARKETPLACE")
    assert ours.figures == {"orderCount": 100, "orderWithDefects": 2, "rate": 0.02}
    assert (ours.days, ours.status, ours.target) == (Days(DAY, DAY + 2), "GOOD", "< 0.01")
    assert theirs.figures == {}
    assert (late.metric, late.fulfilment, late.figures) == ("lateShipmentRate", None, {"lateShipmentCount": 3})


@pytest.mark.parametrize(
    "begin, end, days",
    [
        ("2024-01-01T00:00Z", "2024-01-03T23:59Z", Days(DAY, DAY + 2)),
        ("2024-01-01", "2024-01-03", Days(DAY, DAY + 2)),
        ("2024-01-01T00:00:00.000+00:00", "2024-01-04T00:00:00Z", Days(DAY, DAY + 2)),
        ("2024-01-03T00:00Z", "2024-01-01T23:59Z", None),
        ("1024-01-03T00:00Z", "2024-01-01T23:59Z", None),
        ("2024-01-01T00:00Z", "9999-01-01T23:59Z", None),
        ("soon", "2024-01-03T23:59Z", None),
        (None, 7, None),
    ],
)
def test_dates_are_whole_days(tmp_path: Path, begin: Any, end: Any, days: Days | None) -> None:
    told = {"orderCount": 1, "reportingDateRange": {"reportingDateFrom": begin, "reportingDateTo": end}}
    (measure,) = one(report(tmp_path, {"orderDefectRate": told})).measures
    assert measure.days == days


def test_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    wrong = {"a": "7", "b": None, "c": -1, "d": True, "e": {"count": "x"}, "f": [1], "g": 1e300, "h": {"count": 4}}
    (measure,) = one(report(tmp_path, {"orderDefectRate": {"mfn": odr(**wrong, i=float("nan"))}})).measures
    assert measure.figures == {"h": 4}


@pytest.mark.parametrize(
    "content, wrong",
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "no performanceMetrics"),
        (b"{}", "no performanceMetrics"),
        (b'{"performanceMetrics": 3}', "no performanceMetrics"),
        (b'{"performanceMetrics": [7, {"marketplaceId": 7}]}', "no performanceMetrics"),
    ],
)
def test_what_is_no_report_is_wrong_usage_in_one_line(tmp_path: Path, content: bytes, wrong: str) -> None:
    path = tmp_path / "health.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=wrong) as raised:
        read_health_report(path)
    assert str(raised.value).startswith(f"{path}: no account-health report")
    assert "\n" not in str(raised.value)


def test_a_report_that_is_not_there_is_wrong_usage_and_one_cut_short_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_health_report(tmp_path / "none.json")
    packed = gzip.compress(report(tmp_path, {"orderDefectRate": odr()}).read_bytes())
    (tmp_path / "whole.json.gz").write_bytes(packed)
    assert one(tmp_path / "whole.json.gz").marketplace_id == "M"
    (tmp_path / "cut.json.gz").write_bytes(packed[:-9])
    with pytest.raises(FileDamaged):
        read_health_report(tmp_path / "cut.json.gz")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4) | st.just(RANGE),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(("performanceMetrics", "marketplaceId", "orderDefectRate", "mfn", "reportingDateRange",
                         "reportingDateFrom", "count", "accountStatuses", "status", "targetValue")), inner, max_size=4
    ),
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(said=JSON, section=JSON)
def test_whatever_is_said_is_read_or_refused(said: Any, section: Any, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    for document in (said, {"performanceMetrics": [{"marketplaceId": "M", "orderDefectRate": section, "x": said}]}):
        path.write_text(json.dumps(document))
        try:
            found = read_health_report(path)
        except ConfigurationError:
            continue
        assert all(figure >= 0 for health in found for each in health.measures for figure in each.figures.values())


def test_the_published_example_is_read_whole() -> None:
    path = AMAZON / "accountHealthReport.example.json"
    if not path.exists():
        pytest.skip(f"the published example is not here: {path}")
    health = one(path)
    assert (health.marketplace_id, health.status) == ("ATVPDKIKX0DER", "AT_RISK")
    assert [m.fulfilment for m in health.measures if m.metric == "orderDefectRate"] == ["SELLER", "MARKETPLACE"]
    assert [m.metric for m in health.measures if m.days is None] == ["documentRequest", "warningState"]
    assert [m.status for m in health.measures if m.metric == "accountHealthRating"] == ["WARNED"]


@pytest.mark.parametrize(
    "ours, theirs, is_rate, same",
    [
        (3, 3, False, True), (3, 4, False, False), (0, 1, False, False), (1, 0, False, False),
        (99, 100, False, True), (98, 100, False, False), (101, 100, False, True), (10_101, 10_000, False, False),
        (0.00904, 0.009, True, True), (0.0092, 0.009, True, False), (None, 0.0, True, True), (None, 0.01, True, False),
    ],
)  # fmt: skip
def test_numbers_agree_within_the_tolerance_and_small_counts_exactly(
    ours: float | None, theirs: float, is_rate: bool, same: bool
) -> None:
    assert agree(ours, theirs, 0.01, is_rate=is_rate) is same


@dataclass(frozen=True)
class Case:
    """A figure that differs, what is stored otherwise than in a complete account, and what is said of it."""

    figure: str
    surplus: float
    stored: dict[str, Any]
    said: str | None
    fulfilment: str = "SELLER"


EVERY_KIND = frozenset(("PLACED", "CLAIM_OPENED", "CLAIM_DENIED", "CHARGEBACK", "SUBMITTED", "REMOVED"))
WHOLE = Facts(DAY - 30, EVERY_KIND, 0, 0, Late(0, 0, 0), {"orders": dict.fromkeys(range(DAY - 30, DAY + 20), 5)})
SILENT = {"brought": {"orders": dict.fromkeys([*range(DAY - 30, DAY + 4), *range(DAY + 8, DAY + 20)], 5)}}
SELDOM = {"brought": {"orders": {DAY - 30: 1, DAY + 19: 1}}}
CASES = [
    Case("claims", -3, {}, None),
    Case("claims", 3, {}, None),
    Case("orderCount", -9, {"first_order_day": DAY + 5}, "orders before 2024-01-06 are absent"),
    Case("orderCount", 9, {"first_order_day": DAY + 5}, None),
    Case("orderCount", -9, {"first_order_day": None}, "no order event of the account is stored"),
    Case("orderCount", -9, SILENT, "'orders' brought nothing on 4 days, 2024-01-05 to 2024-01-08"),
    Case("orderCount", 9, SILENT, None),
    Case("orderCount", -9, SELDOM, None),
    Case("claims", -3, {"kinds": EVERY_KIND - {"CLAIM_OPENED"}}, "no claim was ever stored"),
    Case("orderWithDefects", -3, {"kinds": EVERY_KIND - {"CLAIM_OPENED"}}, "no claim was ever stored"),
    Case("orderCount", -3, {"kinds": EVERY_KIND - {"CLAIM_OPENED"}}, None),
    Case("chargebacks", -3, {"kinds": EVERY_KIND - {"CHARGEBACK"}}, "no chargeback was ever stored"),
    Case("chargebacks", -3, {"kinds": EVERY_KIND - {"CLAIM_OPENED"}}, None),
    Case("negativeFeedback", -3, {"kinds": EVERY_KIND - {"SUBMITTED"}}, "no rating was ever stored"),
    Case("negativeFeedback", 3, {"kinds": EVERY_KIND - {"REMOVED"}}, "a rating was removed or struck was never told"),
    Case("claims", 3, {"kinds": EVERY_KIND - {"CLAIM_DENIED"}}, "a claim was denied was never told"),
    Case("orderCount", 3, {"unfulfilled": 4}, "of 4 orders no source tells who fulfils them"),
    Case("orderCount", -3, {"unfulfilled": 4}, "of 4 orders no source tells who fulfils them", "MARKETPLACE"),
    Case("orderCount", -3, {"unfulfilled": 4}, None),
    Case("orderCount", 3, {"unfulfilled": 4}, None, "MARKETPLACE"),
    Case("claims", -1, {"late": Late(1, 0, 0)}, "1 order had a claim told of after 2024-01-25"),
    Case("rate", -1, {"late": Late(0, 2, 0)}, "2 orders had a chargeback told of after 2024-01-25"),
    Case("negativeFeedback", 1, {"late": Late(0, 0, 2)}, "2 orders had a rating told of after 2024-01-25"),
    Case("claims", -1, {"late": Late(0, 2, 2)}, None),
    Case("orderCount", 1, {"near_edges": 7}, "up to 7 orders fall to the other side"),
    Case("rate", 0.1, {"first_order_day": DAY + 5}, "orders before 2024-01-06 are absent"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_difference_is_explained_by_what_is_missing_and_by_nothing_else(case: Case) -> None:
    window = Window(DAY, DAY + 19, DAY + 24, case.fulfilment)
    said = list(explained(case.figure, case.surplus, window, WHOLE._replace(**case.stored)))
    assert [case.said in line for line in said] == [True] if case.said else said == []


def test_a_partial_source_is_named_where_ratings_count() -> None:
    window = Window(DAY, DAY + 19, DAY + 24, "SELLER")
    for figure, named in (("negativeFeedback", True), ("rate", True), ("claims", False), ("orderCount", False)):
        said = list(explained(figure, -1, window, WHOLE, ["orders", "other"]))
        assert any("'orders' is declared to bring a part" in line for line in said) is named
        assert "other" not in str(said)
