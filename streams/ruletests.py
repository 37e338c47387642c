"""Rule tests: events in a few words, and the alerts that the rules should give on them, held against those they give.

Place in the flow: beside it, all in memory: the events go through the real stories, calendar, rows and rules. Written
as TOML; `sellerpulse alerts test` runs them, and its help shows one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from functools import cached_property
from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from schemas.codec import Codec, digest_of
from schemas.errors import ConfigurationError
from schemas.events import FIELDS, MS_A_DAY, ORDER_KINDS, Parsed, Refusal, check, from_json, to_ms
from schemas.rows import AccountId, AlertRow, DailyRows
from streams.alerts import that_were
from streams.core.account import Account, snapshot_columns
from streams.core.evidence import Evidence
from streams.core.metrics import iso, snapshot
from streams.core.rules import DEFAULT_RULES, OTHER_RULES, Severity
from streams.core.stories import fact_of
from streams.ruletables import unknown
from streams.sections import Count, Section, Text
from streams.settings import Settings, first_error, line_of, load_settings, read_toml

MONDAY = date(2025, 1, 6)
_SPAN = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?")
_UNITS_MS = (MS_A_DAY, 3_600_000, 60_000)


def _milliseconds(text: Any) -> int:
    """How long "3d", "36h" or "1d12h30m" is."""
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a time since the start, like "3d", "36h" or "1d12h30m"')
    return sum(int(number) * unit for number, unit in zip(found.groups("0"), _UNITS_MS, strict=True))


Moment = Annotated[int, BeforeValidator(_milliseconds)]


class EventTable(Section):
    """An event `at` a time since the start, or `count` alike; {n} in a text is 1, 2, 3 and so on.

    Else it has the fields of SPEC section 3. Those that are not said: topic by the fields, `kind` SUBMITTED where there
    is a rating, an account, an order or conversation for each n.
    """

    model_config = ConfigDict(extra="allow")

    at: Moment
    count: Count = 1

    def events(self, start_ms: int, name: str) -> Iterator[Parsed]:
        """The events. Raises ValueError for one that would be refused."""
        said: dict[str, Any] = self.model_extra or {}
        for n in range(1, self.count + 1):
            event = {
                key: value.replace("{n}", str(n)) if isinstance(value, str) else value for key, value in said.items()
            }
            if isinstance(promised := event.get("deliver_by"), str) and _SPAN.fullmatch(promised):
                event["deliver_by"] = start_ms + _milliseconds(promised)
            event_id = f"{name}-{n}"
            defaults = {
                "topic": _topic(event), "event_id": event_id, "seller_id": "S", "marketplace_id": "M", "source": "test",
                "order_id": None if "solved" in event else str(n), "event_time": start_ms + self.at,
                "conversation_id": str(n), "message_id": event_id, "buyer_initiated": True,
            } | ({"kind": "SUBMITTED"} if "rating" in event else {})  # fmt: skip
            yield _event(defaults | event, said)


def _event(whole: dict[str, Any], said: Iterable[str]) -> Parsed:
    """Raises ValueError for what is no event, or says what its topic has not."""
    parsed = from_json(whole)
    wrong = parsed.reason if isinstance(parsed, Refusal) else check(*parsed, parsed.event["event_time"])
    if wrong is not None or isinstance(parsed, Refusal):
        raise ValueError(wrong)
    fields = ["topic", *(name for name, *_ in FIELDS[parsed.topic])]
    for name in said:
        if name not in fields:
            raise ValueError(f"{name} is {unknown(name, fields)}")
    return parsed


def _topic(event: Mapping[str, Any]) -> str:
    return "surveys" if "solved" in event else "orders" if event.get("kind") in ORDER_KINDS else "feedback"


class Expectation(Section):
    """What a rule's latest alert on an account is at the end of the day of `at`; what is not said may be anything."""

    at: Moment
    rule: Text
    state: Literal["none", "pending", "firing", "resolved"]
    severity: Severity | None = None
    value: float | None = None
    threshold: float | None = None
    since: Moment | None = None
    orders: int | None = None
    seller_id: Text = "S"
    marketplace_id: Text = "M"

    @property
    def account(self) -> AccountId:
        """Whose alert it is."""
        return self.seller_id, self.marketplace_id


class RuleTest(Section):
    """Events from day 0, the `start`, on, and what is expected of the alerts."""

    name: Text
    start: date = MONDAY
    events: tuple[EventTable, ...] = Field(min_length=1)
    expect: tuple[Expectation, ...] = Field(min_length=1)
    _events: list[Parsed] = PrivateAttr(default_factory=list)

    @property
    def start_ms(self) -> int:
        """When day 0 begins."""
        return to_ms(datetime.combine(self.start, time(), UTC))

    @property
    def all_events(self) -> list[Parsed]:
        """The events, in full."""
        return self._events

    @model_validator(mode="after")
    def _makes_events(self) -> Self:
        for i, table in enumerate(self.events):
            try:
                self._events += table.events(self.start_ms, f"{i}")
            except ValueError as wrong:
                raise PydanticCustomError("event", "{reason}", {"reason": str(wrong), "at": ("events", i)}) from wrong
        return self


class RuleTests(Section):
    """A file of rule tests; `settings` names the file with the rules, from where this one is."""

    settings: Text | None = None
    tests: tuple[RuleTest, ...] = Field(min_length=1)


class Failure(NamedTuple):
    """An expectation that the rules do not meet, in words."""

    test: str
    expected: str
    got: str


def read_tests(path: Path, otherwise: Settings) -> tuple[Settings, tuple[RuleTest, ...]]:
    """The tests of a file, and the settings whose rules they test: those it names, or else these.

    Raises ConfigurationError, with the line, for what cannot be.
    """
    text, said = read_toml(path)
    try:
        tests = RuleTests.model_validate(said)
    except ValidationError as wrong:
        loc, reason = first_error(wrong, RuleTests)
        raise ConfigurationError(" ".join(f"{path}:{line_of(text, loc)}: {reason}".split())) from None
    settings = load_settings(path.parent / tests.settings, {}, {}) if tests.settings else otherwise
    tables = {table.name for table in settings.alerts.tables}  # of rules that are off, too
    known = ({rule.name for rule in DEFAULT_RULES} | tables) - OTHER_RULES.keys()  # only metrics are tested here
    for i, test in enumerate(tests.tests):
        for j, expected in enumerate(test.expect):
            if expected.rule not in known:
                line = line_of(text, ("tests", i, "expect", j, "rule"))
                raise ConfigurationError(f'{path}:{line}: rule "{expected.rule}" is {unknown(expected.rule, known)}')
    return settings, tests.tests


# --- what the rules give -------------------------------------------------------------------------------------


class Outcome:
    """A test's events by the real fold: the rows of every day, and the alerts at any time."""

    def __init__(self, test: RuleTest, settings: Settings) -> None:
        self._settings = settings
        self._last = (test.start_ms + max(expected.at for expected in test.expect)) // MS_A_DAY
        self._accounts: dict[AccountId, Account] = {}
        codec = Codec()
        for topic, event in test.all_events:
            key = event["seller_id"], event["marketplace_id"]
            if key not in self._accounts:
                self._accounts[key] = Account(key, settings.terms_of(key[1]))
            self._accounts[key].add(*fact_of(topic, event, digest_of(codec.payload(topic, event))))

    @cached_property
    def _rows(self) -> DailyRows:
        for account in self._accounts.values():
            account.restate(self._last)
        blocks = [rows for account in self._accounts.values() if (rows := account.rows(account.first_day)) is not None]
        if not blocks:
            return DailyRows([], [], {"day": np.array([], dtype=np.int64)})
        columns = snapshot_columns(blocks, lambda account: self._settings.terms_of(account[1]))
        sizes = [len(block.last_event_time) for block in blocks]
        return DailyRows([block.account for block in blocks], sizes, snapshot(columns) | {"day": columns["day"]})

    def alerts(self, at_ms: int) -> list[AlertRow]:
        """The alerts at the end of the day of this time, pending ones too. Every account that had events by then."""
        day = at_ms // MS_A_DAY
        rows, kept = self._rows, self._rows.columns["day"] <= day
        ends = np.cumsum(rows.sizes)
        sizes = {
            account: int(kept[end - size : end].sum())
            for account, size, end in zip(rows.accounts, rows.sizes, ends, strict=True)
        }
        there = [account for account, size in sizes.items() if size]
        if not there:
            return []
        until = DailyRows(
            there, [sizes[account] for account in there], {name: values[kept] for name, values in rows.columns.items()}
        )
        found = that_were(
            self._settings.alerts.rules, until, lambda keys: {k: Evidence(self._accounts[k]) for k in keys}
        )
        return [alert for alert, _ in found]


def failures(test: RuleTest, settings: Settings) -> Iterator[Failure]:
    """The expectations of a test that the rules of these settings do not meet."""
    outcome = Outcome(test, settings)
    for expected in test.expect:
        alerts = outcome.alerts(test.start_ms + expected.at)
        mine = [a for a in alerts if a.rule == expected.rule and (a.seller_id, a.marketplace_id) == expected.account]
        alert = max(mine, key=lambda found: found.since, default=None)
        wanted = expected.model_dump(include={"state", "severity", "value", "threshold", "orders"}, exclude_none=True)
        if expected.since is not None:
            wanted["since"] = iso((test.start_ms + expected.since) // MS_A_DAY)
        got = _told(alert)
        if any(not _same(got.get(name), value) for name, value in wanted.items()):
            where = f"{expected.rule} on {iso((test.start_ms + expected.at) // MS_A_DAY)}"
            yield Failure(test.name, f"{where}: {_words(wanted)}", f"{where}: {_words(got)}")


def _told(alert: AlertRow | None) -> dict[str, Any]:
    if alert is None:
        return {"state": "none"}
    return {
        "state": alert.state, "severity": alert.severity, "value": alert.value, "threshold": alert.threshold,
        "since": iso(alert.since // MS_A_DAY), "orders": alert.order_count,
    }  # fmt: skip


def _same(got: Any, wanted: Any) -> bool:
    if isinstance(got, float) and isinstance(wanted, float):
        return isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-9)  # as people write numbers
    return bool(got == wanted)


def _words(alert: Mapping[str, Any]) -> str:
    state, *rest = alert.items()
    return ", ".join(
        [state[1], *(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}" for name, value in rest)]
    )


def run(paths: Sequence[Path], otherwise: Settings) -> Iterator[tuple[Path, RuleTest, list[Failure]]]:
    """Each test of these files with what fails. All of them are read before the first one runs."""
    for path, (settings, tests) in [(path, read_tests(path, otherwise)) for path in paths]:
        for test in tests:
            yield path, test, list(failures(test, settings))
