"""`sellerpulse outlook` held against the future: what it says of days to come, replays of later days say."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from streams.core.rules import OTHER_RULES
from tests.integration.program import run, sql, succeed

TODAY, LATER = "2025-06-20", "2025-09-18"
OF_METRICS = f"rule NOT IN {tuple(OTHER_RULES)}"  # an outlook is of nothing else
ACCOUNTS = f"""SELECT seller_id, marketplace_id FROM alerts WHERE state = 'firing' AND {OF_METRICS}
    GROUP BY ALL ORDER BY countIf(rule = 'negative_rate') DESC, count() DESC, seller_id, marketplace_id LIMIT 4"""
OF = "seller_id = '{seller_id}' AND marketplace_id = '{marketplace_id}'"
DAYS = f"SELECT * EXCEPT (computed_at, seller_id, marketplace_id) FROM seller_daily WHERE {OF} AND day >= '{TODAY}'"
ALERTS = f"""SELECT rule, severity, toString(toDate(since)) AS begins, toString(toDate(resolved_at)) AS ends FROM alerts
    WHERE {OF} AND {OF_METRICS} AND (resolved_at IS NULL OR toDate(resolved_at) > '{TODAY}') ORDER BY ALL"""
OPEN_CASES = f"""SELECT feedback_event_id FROM feedback_cases
    WHERE {OF} AND status IN ('open', 'acted', 'removal_requested', 'removal_denied')"""
FIRING = f"SELECT rule FROM alerts WHERE {OF} AND {OF_METRICS} AND state = 'firing'"

Account = dict[str, Any]


def told(folder: Path, account: Account, *words: str) -> dict[str, list[dict[str, Any]]]:
    """What outlook tells of an account, by type."""
    who = ("--seller", account["seller_id"], "--marketplace", account["marketplace_id"], "--db", "db")
    found: dict[str, list[dict[str, Any]]] = {}
    for line in succeed(folder, "outlook", *who, *words, "--format", "json").splitlines():
        one = json.loads(line)
        found.setdefault(one.pop("type"), []).append(one)
    return found


def rows(folder: Path, query: str, account: Account) -> list[dict[str, Any]]:
    """The result of a query about an account."""
    return [json.loads(line) for line in sql(folder / "db", query.format(**account)).splitlines()]


def feed(folder: Path, events: list[dict[str, Any]], as_of: str) -> None:
    """Replay these events too, up to a day."""
    (folder / "more.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    succeed(folder, "replay", "more.jsonl", "--db", "db", "--as-of", as_of)


def day_of(line: str) -> str:
    """The day of a simulated event."""
    return str(date(1970, 1, 1) + timedelta(milliseconds=json.loads(line)["event_time"]))


def test_replaying_the_future_confirms_the_outlook(tmp_path: Path) -> None:
    folder = tmp_path
    succeed(folder, "simulate", "--sellers", "24", "--events", "24000", "--seed", "2", "-o", "year.jsonl")
    known = [line for line in (folder / "year.jsonl").read_text().splitlines(keepends=True) if day_of(line) <= TODAY]
    (folder / "known.jsonl").write_text("".join(known))
    succeed(folder, "replay", "known.jsonl", "--db", "db", "--as-of", TODAY)
    treated, *others = rows(folder, ACCOUNTS, {})
    outlooks = [(account, told(folder, account, "--days", "90")) for account in others]
    for account, outlook in outlooks:
        ranked = {case["feedback_event_id"] for case in outlook.get("case", ())}
        assert ranked == {row["feedback_event_id"] for row in rows(folder, OPEN_CASES, account)}
    at = next(i for i, (_, outlook) in enumerate(outlooks) if "case" in outlook)
    relieved, with_all = outlooks.pop(at)

    # So many 5-star ratings, and one less.
    remedy = next(one for one in told(folder, treated)["remedy"] if one["good"] == "5-star ratings" and one["today"])
    common = {
        "topic": "feedback",
        "kind": "SUBMITTED",
        "rating": 5,
        "event_time": f"{TODAY}T12:00:00Z",
        "source": "test",
    }
    good = [common | treated | {"event_id": "new", "order_id": f"new-{n}"} for n in range(remedy["today"])]
    assert remedy["rule"] in {row["rule"] for row in rows(folder, FIRING, treated)}
    feed(folder, good[:-1], TODAY)
    assert remedy["rule"] in {row["rule"] for row in rows(folder, FIRING, treated)}
    feed(folder, good[-1:], TODAY)
    assert remedy["rule"] not in {row["rule"] for row in rows(folder, FIRING, treated)}

    # A rating removed.
    case = with_all["case"][0]
    without = told(folder, relieved, "--without", case["order_id"], "--days", "90")
    gone = common | relieved | {"kind": "REMOVED", "rating": None, "event_time": f"{TODAY}T23:59:59.999Z"}
    feed(folder, [gone | {"event_id": "gone", "order_id": case["order_id"]}], TODAY)
    (row,) = rows(folder, DAYS, relieved)
    assert {name: then for name, (_, then) in without["removal"][0].items()} == {n: row[n] for n in row if n != "day"}
    assert all(row[name] == then for name, (_, then) in case["moves"].items())
    assert not set(case["ends"]) & {row["rule"] for row in rows(folder, FIRING, relieved)}

    # And then nothing but days.
    succeed(folder, "replay", "more.jsonl", "--db", "db", "--as-of", LATER)
    ended = 0
    for account, outlook in [*outlooks, (relieved, without)]:
        days = [{name: value for name, value in day.items() if name != "breaches"} for day in outlook["day"]]
        assert days == rows(folder, DAYS + " ORDER BY day", account)
        breaches = [
            {"rule": b["rule"], "begins": b["begins"], "ends": b["ends"] if (b["ends"] or "9999") <= LATER else None}
            for b in outlook.get("breach", ())
            if b["begins"] <= LATER
        ]
        alerts = [{name: row[name] for name in ("rule", "begins", "ends")} for row in rows(folder, ALERTS, account)]
        assert sorted(breaches, key=json.dumps) == sorted(alerts, key=json.dumps)
        ended += sum(b["ends"] is not None for b in breaches)
    assert ended >= 3  # or the test shows little


def test_every_open_case_is_ranked_and_no_other_rating(tmp_path: Path) -> None:
    account = {"seller_id": "A", "marketplace_id": "M"}
    common = account | {"topic": "feedback", "kind": "SUBMITTED", "source": "test", "event_time": f"{TODAY}T12:00:00Z"}
    ratings: dict[str, dict[str, Any]] = {
        "bad": {"rating": 1},
        "fair": {"rating": 3},
        "fair, to be removed": {"rating": 3, "comment": "Call me at +49 151 23456789"},
        "sixty days old": {"rating": 1, "event_time": "2025-04-21T23:00:00Z"},
        "sixty days old, of a day": {"rating": 1, "event_time": "2025-04-22T00:00:00Z", "date_only": True},
        "taken back": {"rating": 2},
    }
    events = [common | rating | {"event_id": name, "order_id": name} for name, rating in ratings.items()]
    gone = {"kind": "REMOVED", "event_id": "gone", "order_id": "taken back", "event_time": f"{TODAY}T13:00:00Z"}
    feed(tmp_path, [*events, common | gone], TODAY)
    ranked = [case["feedback_event_id"] for case in told(tmp_path, account)["case"]]
    assert sorted(ranked) == ["bad", "fair, to be removed", "sixty days old, of a day"]


def test_a_breach_that_is_yet_to_fire_tells_when(tmp_path: Path) -> None:
    rule = '[[alerts.rules]]\nname = "any"\nmetric = "negative_90d"\ncomparison = ">"\nthreshold = 0\nfor = 3\n'
    (tmp_path / "sellerpulse.toml").write_text(rule)
    account = {"seller_id": "A", "marketplace_id": "M"}
    rating = {"topic": "feedback", "kind": "SUBMITTED", "rating": 1, "source": "test", "event_id": "f", "order_id": "o"}
    feed(tmp_path, [account | rating | {"event_time": f"{TODAY}T12:00:00Z"}], TODAY)
    (breach,) = told(tmp_path, account)["breach"]
    assert (breach["begins"], breach["fires"], breach["ends"]) == (TODAY, "2025-06-23", LATER)
    who = ("--seller", "A", "--marketplace", "M", "--db", "db")
    assert f"{TODAY}, fires 2025-06-23" in succeed(tmp_path, "outlook", *who)


def test_what_is_wrong_is_told_in_a_line(tmp_path: Path) -> None:
    succeed(tmp_path, "simulate", "--sellers", "1", "--days", "30", "--events", "300", "-o", "month.jsonl")
    succeed(tmp_path, "replay", "month.jsonl", "--db", "db")
    (account,) = rows(tmp_path, "SELECT seller_id, marketplace_id FROM seller_current LIMIT 1", {})
    who = ("outlook", "--seller", account["seller_id"], "--marketplace", account["marketplace_id"], "--db", "db")
    for words, code, said in (
        (("--metric", "negative_rat"), 2, 'metric "negative_rat" is unknown, did you mean "negative_rate_90d"?'),
        (("--without", "nothing"), 2, "--without 'nothing': the account has no such feedback"),
        (("--by", "2025-06-29"), 2, "--by 2025-06-29: give a day from 2025-06-30 to 2026-06-30"),
        (("--png", "no/such/folder.png"), 2, "no/such/folder.png cannot be written: No such file or directory"),
        (("--marketplace", "MKT-XX"), 1, "no event is stored of "),
    ):
        done = run(tmp_path, *who, *words)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1), done.stderr
        assert said in done.stderr
    succeed(tmp_path, *who, "--png", "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    told_days = succeed(tmp_path, *who, "--format", "csv", "--days", "5", "--metric", "orders_90d").splitlines()
    assert (told_days[0], len(told_days)) == ("day,orders_90d,breaches", 7)
