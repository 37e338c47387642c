"""What is loaded of accounts in trouble tells as much as all of them: the orders behind every metric, on any day."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import MS_A_DAY
from streams.accounts import restore
from streams.core.evidence import BEHIND, Evidence, evidence_since
from streams.core.metrics import Terms
from streams.core.rules import Condition, Level, Rule
from tests.contract.conftest import Opening
from tests.contract.tables import Row
from tests.contract.test_recompute import accounts_of
from tests.contract.test_store import ACCOUNT, DAY, feedback, order, put, survey
from tests.memory import MemoryStore
from tests.unit.test_guarantee import EVENTS, without_id_reuse

RULES = [Rule(metric, (Condition(metric, {}),), ">", (Level(0.0, "info"),)) for metric in BEHIND]


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(EVENTS, min_size=10, max_size=30))
def test_what_is_troubled_tells_of_every_order_behind_a_metric(opening: Opening, histories: list[list[Row]]) -> None:
    store = opening().store
    events = [
        event | {"seller_id": f"{event['seller_id']}-{n}"}
        for n, history in enumerate(histories)
        for event in without_id_reuse(history)
    ]
    put(store, *events)
    accounts = accounts_of(events)
    everything = restore(accounts, store.load(accounts), lambda _: Terms())
    troubled = restore(accounts, store.load(accounts, troubled=True), lambda _: Terms())
    days = sorted({event["event_time"] // MS_A_DAY + later for event in events for later in (0, 1, 8, 40)})
    for account in accounts:
        all_of_it, some = Evidence(everything[account]), Evidence(troubled[account])
        for day in days:
            for rule in RULES:
                assert some.orders_behind(rule, day) == all_of_it.orders_behind(rule, day)
    last = days[-1]
    for since, rules in of_since(last).items():
        loaded = store.load(accounts, troubled=True, since_ms=since * MS_A_DAY)
        late = restore(accounts, loaded, lambda _: Terms())
        for account in accounts:
            all_of_it, some = Evidence(everything[account]), Evidence(late[account])
            for rule in rules:
                assert some.orders_behind(rule, last) == all_of_it.orders_behind(rule, last)


def of_since(day: int) -> dict[int, list[Rule]]:
    """The rules by the day from which on their orders have an event."""
    found: dict[int, list[Rule]] = {}
    for rule in RULES:
        found.setdefault(evidence_since(rule, Terms(), day), []).append(rule)
    return found


def test_what_is_over_is_left_out(opening: Opening) -> None:
    opened = opening()
    longest = max(since for since in of_since(DAY) if since)
    old = [feedback("1", order_id="old", rating=1, event_time=(longest - 1) * MS_A_DAY)]
    promised = order(
        "2", order_id="promised", event_time=(longest - 9) * MS_A_DAY, deliver_by=DAY * MS_A_DAY, kind="RETURNED"
    )
    put(opened.store, *old, promised, feedback("3", order_id="new", rating=1))
    loaded = opened.store.load([ACCOUNT], troubled=True, since_ms=longest * MS_A_DAY)
    if not isinstance(opened.tables, MemoryStore):  # it may load more
        assert {row[2] for rows in loaded.events.values() for row in rows} == {"promised", "new"}


def test_what_went_well_is_left_out(opening: Opening) -> None:
    opened = opening()
    well = [order("1", order_id="well"), feedback("2", order_id="well"), survey("3", conversation_id="well")]
    badly = [order("4", order_id="bad"), feedback("5", order_id="bad", rating=1)]
    badly.append(survey("6", conversation_id="bad", order_id="bad", solved=False))
    put(opened.store, *well, *badly)
    loaded = opened.store.load([ACCOUNT], troubled=True)
    evidence = Evidence(restore([ACCOUNT], loaded, lambda _: Terms())[ACCOUNT])
    behind = {rule.name: evidence.orders_behind(rule, DAY) for rule in RULES}
    assert behind["negative_90d"] == behind["order_defect_rate_60d"] == behind["cs_running_score"] == ["bad"]
    if not isinstance(opened.tables, MemoryStore):  # it may load more
        assert {row[2] for rows in loaded.events.values() for row in rows} == {"bad"}
