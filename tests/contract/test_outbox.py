"""The outbox over real tables, served: what is due to whom, and what it makes of answers, acks and silences."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from schemas.rows import Ack, AlertChange, AlertRow, Silence
from sink.connect import connect
from sink.store import Store
from streams import due, outbox
from streams.due import OLD_MS
from streams.marks import Tenure
from streams.outbox import Outbox
from streams.receivers import Message, Untold
from tests.integration.served import Served, serving

DAY = 20_000
NOW = time.time_ns() // 1_000_000
ALERT = AlertRow(
    "a1", "cs_score", "S1", "M", "cs_score", "firing", "warning", 5.5, 6.0, DAY * 86_400_000, None, ["o1"], 1, 1 << 40
)
ENDED = ALERT._replace(state="resolved", value=7.0, resolved_at=(DAY + 1) * 86_400_000, version=(1 << 40) + 1)
EVERYTHING = Tenure(1, 1, 4, frozenset(range(4)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outbox") / "db") as served:
        yield served


@pytest.fixture
def store(server: Served) -> Iterator[Store]:
    """Empty tables, in which receivers `one` and `two` are known."""
    store = connect(f"{server.url}/sellerpulse")
    for table in ("alerts", "alert_history", "notifications", "alert_acks", "alert_silences"):
        store.client.command(f"TRUNCATE TABLE stored_{table}")
    store.introduce(["one", "two"])
    yield store
    store.close()


class Told:
    """A receiver that keeps what it was told of; `fails` says of each message whether."""

    resends = False

    def __init__(
        self, name: str, fails: Callable[[Message], Untold | None] = lambda _: None, *, by_account: bool = True
    ) -> None:
        self.name, self.by_account = name, by_account
        self.messages: list[Message] = []
        self.tries: list[Message] = []
        self._fails = fails

    async def tell(self, message: Message) -> None:
        self.tries.append(message)
        if (failed := self._fails(message)) is not None:
            raise failed
        self.messages.append(message)

    async def close(self) -> None:
        """Nothing is open."""

    def changes(self) -> list[str]:
        return [change["id"] for message in self.messages for change in message.json["alerts"]]


def add(store: Store, *alerts: AlertRow, **change: Any) -> None:
    """Store alerts as they became."""
    changes = [
        AlertChange(
            a.alert_id,
            DAY + (a.state == "resolved"),
            a.rule,
            a.seller_id,
            a.marketplace_id,
            a.state,
            a.value,
            a.version,
        )
        for a in alerts
    ]
    store.add_alerts(alerts, [one._replace(**change) for one in changes])


def deliver(server: Served, *receivers: Told, until: Callable[[], object], tenure: Tenure = EVERYTHING) -> None:
    """Let an outbox tell these receivers until that is true, and a moment more."""

    async def run() -> None:
        box = Outbox(receivers, lambda: connect(f"{server.url}/sellerpulse"))
        await box.begin(tenure)
        deadline = time.monotonic() + 20
        while not until():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        await box.end(5)
        await box.close()

    asyncio.run(run())


def outcomes(store: Store, receiver: str = "one") -> list[tuple[Any, ...]]:
    """What is noted: alert, state, outcome."""
    query = f"SELECT alert_id, state, outcome FROM notifications WHERE receiver = '{receiver}' ORDER BY ALL"
    return [tuple(row) for row in store.client.query(query).result_rows]


def test_changes_of_an_account_are_one_message_in_their_order_and_none_is_told_twice(
    store: Store, server: Served
) -> None:
    other = ALERT._replace(alert_id="a2", rule="negative_rate")
    elsewhere = ALERT._replace(alert_id="a3", seller_id="S2")
    for alert in (ALERT, other, elsewhere, ENDED):
        add(store, alert)
    one, two, again = Told("one"), Told("two", by_account=False), Told("one")
    deliver(server, one, two, until=lambda: one.messages and two.messages)
    firsts = [f"{name}-firing-0" for name in ("a1", "a2", "a3")]
    assert one.changes() == [*firsts[:2], "a1-resolved-1", firsts[2]]
    assert len(one.messages) == 2
    assert two.changes() == [*firsts, "a1-resolved-1"]
    assert len(two.messages) == 1
    firing, _, resolved = one.messages[0].json["alerts"]
    assert (firing["state"], firing["value"], firing["resolved_at"]) == ("firing", 5.5, None)
    assert (resolved["state"], resolved["value"], resolved["resolved_at"]) == ("resolved", 7.0, "2024-10-05T00:00:00Z")
    add(store, ALERT._replace(alert_id="a4"))
    deliver(server, again, until=lambda: again.messages)
    assert again.changes() == ["a4-firing-0"]


def test_what_is_muted_pending_old_or_of_others_partitions_is_not_told(
    store: Store, server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, ALERT._replace(alert_id="muted"), muted=1)
    add(store, ENDED._replace(alert_id="muted"))
    add(store, ALERT._replace(alert_id="pending", state="pending"))
    add(store, ALERT._replace(alert_id="old"))
    add(store, *(ALERT._replace(alert_id=f"of-{n}", seller_id=f"S{n}") for n in range(20)))
    aged = f"ALTER TABLE stored_alert_history UPDATE changed_at = changed_at - INTERVAL {OLD_MS + 9} MILLISECOND"
    store.client.command(f"{aged} WHERE alert_id = 'old' SETTINGS mutations_sync = 1")
    store.client.command("TRUNCATE TABLE receivers")
    store.client.command("INSERT INTO receivers VALUES ('one', now64(3) - INTERVAL 20 DAY)")
    mine = [f"of-{n}" for n in range(20) if (murmur2(f"S{n}|M".encode()) & 0x7FFFFFFF) % 4 in (0, 2)]
    one = Told("one")
    deliver(server, one, until=lambda: len(one.messages) == len(mine), tenure=Tenure(1, 1, 4, frozenset((0, 2))))
    assert sorted(one.changes()) == sorted(f"{name}-firing-0" for name in mine)
    rest = Told("one")
    deliver(server, rest, until=lambda: len(outcomes(store)) == 22)
    assert len(rest.changes()) == 20 - len(mine)
    assert {("muted", "resolved", "unknown"), ("old", "firing", "too_old")} <= {*outcomes(store)}
    assert "receiver one: 1 alert change too old to be told" in caplog.text


def test_a_receiver_is_told_of_nothing_from_before_it_was_there(store: Store, server: Served) -> None:
    add(store, ALERT)
    store.client.command("ALTER TABLE receivers DELETE WHERE receiver = 'three' SETTINGS mutations_sync = 1")
    time.sleep(0.01)
    store.introduce(["three"])
    add(store, ENDED, ALERT._replace(alert_id="a2"))
    three = Told("three")
    deliver(server, three, until=lambda: three.messages)
    assert three.changes() == ["a2-firing-0"]


def test_what_is_refused_for_good_is_noted_and_what_may_pass_is_told_in_the_end_and_holds_up_nothing(
    store: Store, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "PAUSE_S", (0.05, 0.1))
    for seller in ("bad", "poison", "good", "fine"):
        add(store, ALERT._replace(alert_id=seller, seller_id=seller))
    left = {"poison": 5}

    def fails(message: Message) -> Untold | None:
        seller = message.json["seller_id"]
        if seller == "bad":
            return Untold("HTTP 400", may_pass=False)
        left[seller] = left.get(seller, 0) - 1
        return Untold("HTTP 500", may_pass=True) if left[seller] >= 0 else None

    one = Told("one", fails)
    deliver(server, one, until=lambda: len(one.messages) == 3)
    assert [message.json["seller_id"] for message in one.messages] == ["good", "fine", "poison"]
    assert [message.json["seller_id"] for message in one.tries].count("bad") == 1
    assert len({message.id for message in one.tries if message.json["seller_id"] == "poison"}) == 1
    assert outcomes(store) == [(name, "firing", "given_up" if name == "bad" else "told") for name in
                               ("bad", "fine", "good", "poison")]  # fmt: skip
    query = "SELECT attempts, last_error FROM notifications WHERE alert_id IN ('bad', 'poison') ORDER BY alert_id"
    assert [tuple(row) for row in store.client.query(query).result_rows] == [(1, "HTTP 400"), (6, "")]


def test_the_acknowledged_is_told_again_when_it_is_severer_or_resolved(store: Store, server: Served) -> None:
    def after(*alerts: AlertRow) -> list[str]:
        add(store, *alerts)
        told = Told("one")
        before = len(outcomes(store))
        deliver(server, told, until=lambda: len(outcomes(store)) > before or told.messages)
        return told.changes()

    assert after(ALERT) == ["a1-firing-0"]
    store.acknowledge([Ack("S1", "M", "a1", "warning", "ana", "known")])
    assert after(ALERT._replace(version=(1 << 40) + 5), ALERT._replace(alert_id="a2")) == ["a2-firing-0"]
    assert ("a1", "firing", "acknowledged") in outcomes(store)
    assert after(ALERT._replace(version=(1 << 40) + 6, severity="critical")) == ["a1-firing-6"]
    assert after(ENDED._replace(version=(1 << 40) + 7)) == ["a1-resolved-7"]


def test_what_fires_under_a_silence_is_told_at_its_end_if_it_still_does(store: Store, server: Served) -> None:
    silence = Silence("s1", "cs_*", "S?", "*", "*", NOW + 3_600_000, "ana", "moving")
    store.silence(silence)
    store.silence(silence._replace(silence_id="s2", until=NOW - 1, rule="*"))
    over = ALERT._replace(alert_id="over")
    add(
        store,
        ALERT,
        over,
        ALERT._replace(alert_id="other", rule="csxscore"),
        ALERT._replace(alert_id="far", seller_id="S12"),
    )
    one, later = Told("one"), Told("one")
    add(store, ENDED._replace(alert_id="over"))
    deliver(server, one, until=lambda: len(outcomes(store)) == 4)
    assert sorted(one.changes()) == ["far-firing-0", "other-firing-0"]
    assert {row for row in outcomes(store) if row[0] == "over"} == {
        ("over", "firing", "silenced"), ("over", "resolved", "silenced"),
    }  # fmt: skip
    assert [one.silence_id for one in store.silences()] == ["s1"]
    store.silence(silence._replace(until=NOW - 1))
    deliver(server, later, until=lambda: later.messages)
    assert later.changes() == ["a1-firing-0"]


def test_something_else_is_told_once_under_its_id_and_again_to_whom_it_failed(
    store: Store, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "PAUSE_S", (0.01, 0.01))
    digest = Message("digest-S1-M-20000", "Your week", "All is well", {"open_cases": 0})
    failing = iter([Untold("HTTP 503", may_pass=True)])
    one, two = Told("one"), Told("two", lambda _: next(failing, None))
    manager = Told("manager", by_account=False)

    async def run(receivers: Sequence[Told]) -> list[bool]:
        box = Outbox(receivers, lambda: connect(f"{server.url}/sellerpulse"))
        await box.begin(EVERYTHING)
        said = []
        for _ in range(3):
            said.append(await box.post(("S1", "M"), DAY, digest))
            await asyncio.sleep(0.05)
        await box.end(5)
        await box.close()
        return said

    assert asyncio.run(run([one, two, manager])) == [False, True, True]
    assert (one.messages, two.messages, manager.tries) == ([digest], [digest], [])
    assert asyncio.run(run([one, two])) == [True, True, True]
    assert len(one.tries) == 1
    assert outcomes(store) == [(digest.id, "posted", "told")]


def test_a_receiver_that_hangs_is_left_at_the_end_and_what_others_have_is_noted(
    store: Store, server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    add(store, ALERT)

    class Hanging(Told):
        async def tell(self, message: Message) -> None:
            self.tries.append(message)
            await asyncio.Event().wait()

    one, two = Told("one"), Hanging("two")

    async def run() -> None:
        box = Outbox([one, two], lambda: connect(f"{server.url}/sellerpulse"))
        await box.begin(EVERYTHING)
        while not (one.messages and two.tries):
            await asyncio.sleep(0.02)
        await box.end(0.2)
        await box.close()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert outcomes(store) == [("a1", "firing", "told")]
    assert outcomes(store, "two") == []


def test_a_change_whose_alert_is_not_stored_waits_for_it_and_found_again_is_the_same(
    store: Store, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOOK_S", 0.05)
    change = AlertChange("a1", DAY, "cs_score", "S1", "M", "firing", 5.5, (1 << 40) + 7)
    store.add_alerts([], [change])  # as a worker leaves it that is killed in between
    one = Told("one")

    async def run() -> None:
        box = Outbox([one], lambda: connect(f"{server.url}/sellerpulse"))
        await box.begin(EVERYTHING)
        await asyncio.sleep(0.5)
        assert one.tries == []
        add(store, ALERT._replace(version=(2 << 40) + 7))
        await asyncio.sleep(1)
        add(store, ALERT._replace(version=(3 << 40) + 7))
        await asyncio.sleep(0.5)
        await box.end(5)
        await box.close()

    asyncio.run(run())
    assert one.changes() == ["a1-firing-7"]


def test_one_that_wants_it_is_told_again_and_again_of_what_it_knows_to_fire(
    store: Store, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "LOOK_S", 0.05)
    ended = ALERT._replace(alert_id="ended")
    add(store, ALERT, ended, ALERT._replace(alert_id="muted"), muted=1)
    one = Told("one", by_account=False)
    one.resends = True
    deliver(server, one, until=lambda: True)
    assert one.tries == []
    add(store, ALERT, ended)
    deliver(server, one, until=lambda: len(one.messages) > 3)
    assert {tuple(change["alert_id"] for change in message.json["alerts"]) for message in one.messages} == {
        ("a1", "ended"),
    }  # fmt: skip
    add(store, ENDED._replace(alert_id="ended"))
    one.messages.clear()
    deliver(server, one, until=lambda: len(one.messages) > 3)
    assert [change["id"] for change in one.messages[0].json["alerts"]] == ["ended-resolved-1"]
    assert {change["alert_id"] for message in one.messages[1:] for change in message.json["alerts"]} == {"a1"}
