"""A year of a seller's reports, polled every two weeks, gives the rows that the same year gives as events."""

from collections import Counter
from pathlib import Path

import pytest

from streams.connectors.files import ReportOptions, Source, find_sources
from streams.connectors.polls import Polls
from streams.feeder import Fed
from streams.replay import QUIET, replaying
from streams.settings import load_settings
from tests.amazon_year import Year
from tests.integration.program import DAILY, assert_same, sql
from tests.unit.sources import lines


@pytest.fixture(scope="module")
def year() -> Year:
    """Three sellers on three marketplaces, one of them on two."""
    return Year(sellers=3, events=6_000, seed=2)


def _replayed(folder: Path, sources: list[Source], as_of: int) -> tuple[Fed, str]:
    """What was fed, and every cell of the rows but when they were computed."""
    settings = load_settings(overrides={"clickhouse": {"url": str(folder)}, "web": {"enabled": False}}, environ={})
    with replaying(settings) as replay:
        fed = replay.run(sources, as_of=as_of, watch=QUIET).fed
    return fed, sql(folder, DAILY.format(where=""))


def test_a_year_of_reports_gives_the_rows_of_the_same_year_as_events(year: Year, tmp_path: Path) -> None:
    assert len({charset for charset, _ in year.accounts()}) == 3
    (tmp_path / "reports").mkdir()
    polls = Polls(None)
    reports = [
        source
        for paths, options in year.write(tmp_path / "reports")
        for source in find_sources(paths, ReportOptions(polls=polls, **options))
    ]
    (tmp_path / "events.jsonl").write_bytes(lines(*year.events()))
    told, as_events = _replayed(
        tmp_path / "events", find_sources([tmp_path / "events.jsonl"], ReportOptions()), year.last_day
    )
    fed, as_reports = _replayed(tmp_path / "from-reports", reports, year.last_day)
    assert {source.format for source in reports} == {
        "amazon-orders", "amazon-returns", "amazon-fba-returns", "feedback-report",
    }  # fmt: skip
    assert not told.refused
    assert not fed.refused
    assert not fed.damaged
    assert len(as_events.splitlines()) > 3 * 300
    assert_same(as_reports, as_events)
    kinds = Counter(event["kind"] for event in year.events())
    assert min(kinds[kind] for kind in ("CANCELLED", "RETURNED", "CLAIM_OPENED", "REMOVED")) >= 5
