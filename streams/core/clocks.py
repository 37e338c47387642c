"""Rules on what falls due: cases that wait for somebody, sources that bring nothing any more.

Place in the flow: beside `rules`, which are about metrics and days. These are about instants: `of_case` and
`of_source` say from when until when each rule holds, whoever asks and whenever; `changes` says what of that is news.
Knows no clock: `now` is handed in.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from schemas.events import MS_A_DAY
from schemas.rows import SILENT_MS, AccountId, AlertRow, CaseClocks, SourceGap
from streams.core.rules import OtherRule, alert_id

MS_AN_HOUR = 3_600_000
RECENT_MS = 48 * MS_AN_HOUR  # what fell due before is no news: a backfill is quiet
CLOSING_MS = 7 * MS_A_DAY
FOLLOW_UP_MS = 3 * MS_A_DAY
PENDING = "removal_requested"
NEGATIVE_STARS = 3.0  # a case is of a rating of so many stars or fewer


class Spell(NamedTuple):
    """A rule holds of a subject, from `since` until just before `until` (None: no end is known). Times are epoch ms.

    `value` is that of the first instant, `last_value` that of `until`; both are held against the threshold.
    """

    rule: str
    account: AccountId
    subject: str
    order_id: str | None
    since: int
    until: int | None
    value: float
    last_value: float | None
    threshold: float

    @property
    def alert_id(self) -> str:
        """The id of the alert that it makes; ids of feedback are those of one order alone."""
        subject = self.subject if self.order_id is None else f"{self.order_id} {self.subject}"
        return alert_id(self.rule, *self.account, subject, self.since // MS_A_DAY)

    def holds(self, now: int) -> bool:
        """Whether the rule holds at that instant."""
        return self.since <= now and (self.until is None or now < self.until)


# --- what holds, from when until when ------------------------------------------------------------------------


def of_case(case: CaseClocks) -> Iterator[Spell]:
    """All that rules say of a case, each spell after the ones before.

    Hours since the case opened are held against those that there were to act in, days left against seven, days since
    a request against three, and the stars of a new case against three.
    """
    opened, over = case.opened_at, case.closed_at
    acted = _first(case.first_action_at, over)
    yield from _spell(case, "negative_feedback", opened, over, (case.rating, case.rating, NEGATIVE_STARS))
    for rule, due in (("case_target", case.respond_target_at), ("case_overdue", case.respond_by)):
        if due is not None:
            yield from _since(case, rule, opened, due, acted, MS_AN_HOUR)
    last = case.remove_by if over is None else min(case.remove_by, over)
    for since, until in _between(_requests(case), case.remove_by - CLOSING_MS, last):
        left, left_then = ((case.remove_by - at) / MS_A_DAY for at in (since, until))
        yield from _spell(case, "case_closing", since, until, (left, left_then, CLOSING_MS / MS_A_DAY))
    for asked, answered in _requests(case):
        yield from _since(case, "case_follow_up", asked, asked + FOLLOW_UP_MS, answered, MS_A_DAY)


def next_due(case: CaseClocks, at: int) -> Spell | None:
    """What somebody has to do about a case first, be it late already; None: nothing is due as far as is known."""
    to_do = ("case_overdue", "case_follow_up", "case_closing")
    spells = (spell for spell in of_case(case) if spell.rule in to_do and (spell.until is None or spell.until > at))
    return min(spells, key=lambda spell: spell.since, default=None)


def of_source(gap: SourceGap) -> Iterator[Spell]:
    """A source that brought nothing for longer than 48 h: hours since its last event, held against 48."""
    last, until = gap.last_at, gap.ended_at
    since = last + SILENT_MS
    if until is None or since < until:
        gone = None if until is None else (until - last) / MS_AN_HOUR
        hours = SILENT_MS / MS_AN_HOUR
        yield Spell("source_silent", gap.account, gap.source, None, since, until, hours, gone, hours)


def _spell(
    case: CaseClocks, rule: str, since: int, until: int | None, values: tuple[float, float, float]
) -> Iterator[Spell]:
    if until is None or since < until:
        value, last, threshold = values
        ended = None if until is None else last
        yield Spell(rule, case.account, case.event_id, case.order_id, since, until, value, ended, threshold)


def _since(case: CaseClocks, rule: str, begin: int, due: int, until: int | None, unit: int) -> Iterator[Spell]:
    """A clock that began then, fell due, and was stopped: how long it ran, against how long it was to run."""
    allowed = (due - begin) / unit
    ran = allowed if until is None else (until - begin) / unit
    return _spell(case, rule, due, until, (allowed, ran, allowed))


def _requests(case: CaseClocks) -> Iterator[tuple[int, int | None]]:
    """Times from a request for removal until its answer or the next request, None: neither came yet.

    What the staff does meanwhile answers nothing.
    """
    asked = None
    for status, at in case.steps:
        if asked is not None and status != "acted":
            yield asked, at
            asked = None
        if status == PENDING:
            asked = at
    if asked is not None:
        last = asked if case.follow_up_at is None else case.follow_up_at - FOLLOW_UP_MS
        if asked < last:  # asked again, which is no other status
            yield asked, last
        yield last, case.closed_at


def _between(taken: Iterable[tuple[int, int | None]], since: int, until: int) -> Iterator[tuple[int, int]]:
    """What of a time is left between others, which are sorted."""
    for begin, end in taken:
        if since < min(begin, until):
            yield since, min(begin, until)
        since = max(since, until if end is None else end)
    if since < until:
        yield since, until


def _first(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)


# --- what of it is news --------------------------------------------------------------------------------------


def in_force(rules: Mapping[str, OtherRule], spells: Iterable[Spell], now: int) -> dict[str, Spell]:
    """The spells that make alerts: of these rules and their accounts, and begun by `now`. By the alert's id."""
    begun = (spell for spell in spells if spell.since <= now)
    told = (spell for spell in begun if (rule := rules.get(spell.rule)) and rule.scope.has(spell.account))
    return {spell.alert_id: spell for spell in sorted(told, key=lambda spell: spell.since)}


def alert_of(rules: Mapping[str, OtherRule], spell: Spell, now: int, version: int) -> AlertRow:
    """The alert that a spell of one of these rules makes, as it is at that instant, at which it had begun."""
    over = not spell.holds(now)
    orders = [] if spell.order_id is None else [spell.order_id]
    return AlertRow(
        spell.alert_id, spell.rule, *spell.account, spell.subject, "resolved" if over else "firing",
        rules[spell.rule].severity, spell.last_value if over else spell.value, spell.threshold, spell.since,
        spell.until if over else None, orders, len(orders), version,
    )  # fmt: skip


def changes(
    rules: Mapping[str, OtherRule], firing: Mapping[str, AlertRow], spells: Iterable[Spell], now: int, version: int
) -> list[AlertRow]:
    """Alerts in their new state: those that fell due lately and hold, and of the `firing` ones those that are over.

    Rules are by name, alerts by id. `spells` are all those of every case that is open or has a firing alert, and of
    every source likewise: a firing alert whose spell is not there is over as of now, its case or its rule is gone.
    """
    held = in_force(rules, spells, now)
    changed = [
        alert_of(rules, spell, now, version)
        for key, spell in held.items()
        if key not in firing and spell.holds(now) and now - spell.since < RECENT_MS
    ]
    for key, alert in firing.items():
        if (spell := held.get(key)) is None:
            changed.append(alert._replace(state="resolved", value=None, resolved_at=now, version=version))
        elif not spell.holds(now):
            changed.append(alert_of(rules, spell, now, version))
    return changed


# --- in words ------------------------------------------------------------------------------------------------

_WORDS = {
    "negative_feedback": "order {order} was rated with {value:.0f} of 5 stars and waits for somebody",
    "case_target": "order {order}: no action for {value:.1f} h after the rating, {threshold:.0f} h is the target",
    "case_overdue": "order {order}: no action for {value:.1f} h after the rating, {threshold:.0f} h were the limit",
    "case_closing": "order {order}: {value:.1f} days are left to have the rating removed",
    "case_follow_up": "order {order}: {value:.1f} days without an answer to the request for removal",
    "source_silent": "source {subject} has brought nothing for {value:.0f} h",
}


def in_words(alert: AlertRow) -> str:
    """What an alert of one of these rules is about, in words."""
    order = alert.order_ids[0] if alert.order_ids else "unknown"
    if alert.value is None:
        return f"{f'order {order}' if alert.order_ids else f'source {alert.subject}'}: it is not so after all"
    words = _WORDS[alert.rule]
    return words.format(value=alert.value, threshold=alert.threshold, order=order, subject=alert.subject)
