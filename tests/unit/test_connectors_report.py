"""The marketplace's feedback report, in its forms, charsets and ways to write a date."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from schemas.events import Parsed, check
from tests.unit.sources import NOW_MS, events, one, records, refusals

AMAZON = Path(__file__).parents[3] / "shared" / "data" / "amazon"
SIX = "Datum\tBewertung\tKommentare\tIhre Antwort\tBestellnummer\tE-Mail von Bewerter"
TEN = (
    "Date\tRating\tComments\tYour Response\tArrived on Time\tItem as Described\tCustomer Service\tOrder ID"
    "\tRater Email\tRater Role"
)
GERMANY, JAPAN, AMERICA = "A1PA6795UKMFR9", "A1VC38T7YXB528", "ATVPDKIKX0DER"


def report(folder: Path, *rows: str, header: str = SIX, charset: str = "utf-8") -> Path:
    path = folder / "feedback.txt"
    path.write_bytes("\r\n".join((header, *rows, "")).encode(charset))
    return path


def told(marketplace: str = GERMANY, **others: str) -> dict[str, str]:
    return {"seller": "S1", "marketplace": marketplace, **others}


def test_a_row_becomes_a_rating_and_a_response(tmp_path: Path) -> None:
    path = report(
        tmp_path, "03.07.11\t2\tKaputt, ruf 0171 2345678 an\tTut uns leid, a@b.de\t302-1234567-1234567\tx@y.de"
    )
    rated, responded = events(records(path, **told(timezone="Europe/Berlin")))
    assert rated == {
        **dict.fromkeys(("agent", "amount", "currency", "root_cause")),
        **dict.fromkeys(("arrived_on_time", "item_as_described", "customer_service")),
        "event_id": "feedback-report:302-1234567-1234567:2011-07-03:2",
        "seller_id": "S1",
        "marketplace_id": GERMANY,
        "event_time": int(datetime(2011, 7, 2, 22, tzinfo=UTC).timestamp() * 1000),
        "source": "feedback-report",
        "order_id": "302-1234567-1234567",
        "kind": "SUBMITTED",
        "rating": 2,
        "comment": "Kaputt, ruf [phone] an",
        "date_only": True,
    }
    assert responded["kind"] == "RESPONDED"
    assert responded["comment"] == "Tut uns leid, [e-mail]"
    assert responded["rating"] is None
    assert rated["event_time"] == responded["event_time"]
    assert rated["event_id"] < responded["event_id"]  # so that a story tells them in that order
    assert b"x@y.de" not in json.dumps([rated, responded]).encode()


def test_the_three_answers_are_yes_no_or_not_given(tmp_path: Path) -> None:
    rows = ("7/3/11\t5\tfine\t\tYes\tNo\t-\t1\tx@y.de\tBuyer", "7/3/11\t5\tfine\t\tYes\tNo\tperhaps\t2\tx@y.de\tBuyer")
    found = records(report(tmp_path, *rows, header=TEN), **told(AMERICA))
    (event,) = events(found)
    assert [event[name] for name in ("arrived_on_time", "item_as_described", "customer_service")] == [True, False, None]
    assert [line for line, _ in refusals(found)] == [3]


def test_the_same_rating_has_the_same_id_in_every_download(tmp_path: Path) -> None:
    first = records(report(tmp_path, "03.07.11\t2\tSchön\t\t1\t"), **told())
    later = records(report(tmp_path, "03.07.2011\t2\tSchön\tDanke\t1\t", charset="cp1252"), **told())
    assert events(first) == events(later)[:1]


@pytest.mark.parametrize(
    "marketplace, text, day",
    [
        (AMERICA, "7/3/11", (2011, 7, 3)),
        (GERMANY, "03.07.11", (2011, 7, 3)),
        (JAPAN, "11/07/03", (2011, 7, 3)),
        ("A2NODRKZP88ZB9", "2011-07-03", (2011, 7, 3)),
        ("A1F83G8C2ARO7P", "03/07/2011", (2011, 7, 3)),
        ("amazon.com", "7/3/2011", (2011, 7, 3)),
        ("US", "7/3/11", (2011, 7, 3)),
        ("bazaar", "2011-07-03", (2011, 7, 3)),
        ("bazaar", "7/31/11", (2011, 7, 31)),
    ],
)
def test_dates_are_read_as_the_marketplace_writes_them(
    tmp_path: Path, marketplace: str, text: str, day: tuple[int, int, int]
) -> None:
    (event,) = events(records(report(tmp_path, f"{text}\t5\t\t\t1\t"), **told(marketplace)))
    assert event["event_time"] == datetime(*day, tzinfo=UTC).timestamp() * 1000


def test_dates_that_could_be_two_days_are_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="day or the month first"):
        one(report(tmp_path, "7/3/11\t5\t\t\t1\t"), **told("bazaar"))


def test_a_bad_row_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    rows = (
        "03.07.11\t5\t\t\t1\t",
        "31.13.11\t5\t\t\t2\t",
        "03.07.11\t6\t\t\t3\t",
        "03.07.11\t5",
        "03.07.11\t5\t\t\t\t",
    )
    found = records(report(tmp_path, *rows, "", "03.07.11\t5\t\t\t7\tx\ty", "03.07.11\t1\t\t\t8\t"), **told())
    assert [event["order_id"] for event in events(found)] == ["1", "8"]
    assert [line for line, _ in refusals(found)] == [3, 4, 5, 6, 8]
    assert all(isinstance(item, Parsed) or item.topic == "feedback" for item, _, _ in found)


@pytest.mark.parametrize(
    "marketplace, charset, comment",
    [(GERMANY, "cp1252", "Größe passt – prima"), (GERMANY, "utf-8-sig", "Größe"), (JAPAN, "shift_jis", "早い表示能力")],
)
def test_the_charset_is_the_download_s(tmp_path: Path, marketplace: str, charset: str, comment: str) -> None:
    path = report(tmp_path, f"2011-07-03\t5\t{comment}\t\t1\t", charset=charset)
    (event,) = events(records(path, **told(marketplace)))
    assert event["comment"] == comment


def test_a_comment_in_a_spreadsheet_s_quotes_loses_them(tmp_path: Path) -> None:
    rows = ('03.07.11\t5\t"""Top"", gern wieder"\t\t1\t', '03.07.11\t5\t"offen\t\t2\t')
    assert [e["comment"] for e in events(records(report(tmp_path, *rows), **told()))] == [
        '"Top", gern wieder',
        '"offen',
    ]


def test_a_report_says_not_whose_it_is(tmp_path: Path) -> None:
    path = report(tmp_path, "03.07.11\t5\t\t\t1\t")
    for options in ({}, {"seller": "S1"}, {"marketplace": GERMANY}):
        with pytest.raises(ConfigurationError, match="--seller and --marketplace"):
            one(path, **options)


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no real reports at {AMAZON}")
def test_a_real_report_gives_a_rating_a_row_and_the_same_ones_again() -> None:
    path = AMAZON / "amazon_seller_feedback_2011.tsv"
    first, again = (records(path, **told(AMERICA, timezone="America/Los_Angeles")) for _ in range(2))
    assert not refusals(first)
    assert len(events(first)) == 135
    assert {event["kind"] for event in events(first)} == {"SUBMITTED"}
    assert len({event["event_id"] for event in events(first)}) == 135
    assert first == again
    assert all(check("feedback", event, NOW_MS) is None for event in events(first))
    answers = [event["customer_service"] for event in events(first)]
    assert (answers.count(True), answers.count(False)) == (25, 5)


@pytest.mark.skipif(not AMAZON.is_dir(), reason=f"no published forms at {AMAZON}")
def test_every_published_form_and_way_to_write_a_date_is_read(tmp_path: Path) -> None:
    headers = [line for line in (AMAZON / "headers.tsv.txt").read_text().splitlines() if "\tRating\t" in line]
    formats = json.loads((AMAZON / "seller_feedback_date_formats.json").read_text())
    assert (len(headers), len(formats)) == (3, 22)
    for marketplace, written in formats.items():
        text = datetime(2011, 7, 3, tzinfo=UTC).strftime(written["date_format"])
        for header in headers:
            said = {"Date": text, "Rating": "4", "Order ID": "o-1", "Arrived on Time": "Yes", "Comments": "well"}
            row = "\t".join(said.get(name, "") for name in header.split("\t"))
            (event,) = events(records(report(tmp_path, row, header=header), **told(marketplace)))
            assert event["event_id"] == "feedback-report:o-1:2011-07-03:4"
            assert event["arrived_on_time"] is (True if "Arrived on Time" in header else None)
