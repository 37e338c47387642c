"""What is due to a receiver, sorted out: what is told, in which message, what is not, and what is noted of it.

Place in the flow: between the tables and the outbox, which brings the messages. Knows neither.
"""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from schemas.events import iso_time
from schemas.rows import EPOCH_BITS, AccountId, AlertRow, Due, Notices, Notification
from streams.alerts import as_json
from streams.core.rules import SEVERITIES
from streams.receivers import Change, Untold

PAUSE_S = (1.0, 900.0)  # before a message is tried again: the first, the longest; doubles with each attempt
OLD_MS = 7 * 86_400_000  # what was stored so long ago is no news
MESSAGE_ALERTS, BATCH_ALERTS = 50, 500  # most in a message about an account, and in one about any
T = TypeVar("T")


def sorted_out(
    due: Sequence[Due], alerts: dict[str, AlertRow], notices: dict[str, Notices], now: int
) -> tuple[list[int], dict[int, str]]:
    """Of changes that are due, in their order, those to tell; of those never to tell the outcome. By index.

    What fires under a silence waits for its end, unless it is resolved before; what is acknowledged is told when it
    is severer than it was, or resolved. Whom nobody told that an alert fires, nobody tells that it is resolved.
    """
    to_tell: list[int] = []
    to_drop: dict[int, str] = {}
    waiting: dict[str, list[int]] = {}  # under a silence, by alert
    fired = set[str]()
    for i, one in enumerate(due):
        key, state = one.change.alert_id, one.change.state
        alert, said = alerts.get(key), notices.get(key, Notices(False, ""))
        if one.changed_at < now - OLD_MS:
            to_drop[i] = "too_old"
        elif alert is None:
            continue  # it is being stored, or will be by the next owner
        elif said.silenced:
            waiting.setdefault(key, []).append(i)
            if state == "resolved":
                to_drop |= dict.fromkeys(waiting.pop(key), "silenced")
        elif state == "resolved" and not one.was_told and key not in fired:
            to_drop[i] = "unknown"
        elif state == "firing" and said.acked and _rank(alert.severity) <= _rank(said.acked):
            to_drop[i] = "acknowledged"
        else:
            fired.add(key)
            to_tell.append(i)
    return to_tell, to_drop


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


def messages(due: Sequence[Due], by_account: bool) -> Iterator[Sequence[Due]]:
    """What is told together; first what was tried the least, so that what always fails holds up nothing."""
    if not by_account:
        yield from parts(due, BATCH_ALERTS)
        return
    accounts: dict[AccountId, list[Due]] = {}
    for one in due:
        accounts.setdefault(account_of(one), []).append(one)
    for these in sorted(accounts.values(), key=lambda these: max(one.attempts for one in these)):
        yield from parts(these, MESSAGE_ALERTS)


def change_as_told(one: Due, alerts: dict[str, AlertRow]) -> Change:
    """A change as JSON: the alert in the state of the change, in all else as it is now."""
    change, alert = one.change, alerts[one.change.alert_id]
    ended = (alert.resolved_at or one.changed_at) if change.state == "resolved" else None
    then = alert._replace(state=change.state, value=change.value, version=change.version, resolved_at=ended)
    return as_told(then, one.changed_at)


def as_told(alert: AlertRow, changed_at: int) -> Change:
    """With an id that is the same whenever this change is told, also when another owner found it again."""
    number = alert.version & ((1 << EPOCH_BITS) - 1)
    told = {"id": f"{alert.alert_id}-{alert.state}-{number}"}
    return told | as_json(alert) | {"changed_at": iso_time(changed_at, "milliseconds")}


def pause_s(attempts: int, longest: float = 1e9) -> float:
    """How long to wait after so many attempts."""
    return random.uniform(0.5, 1) * min(PAUSE_S[0] * 2.0 ** min(attempts - 1, 30), PAUSE_S[1], longest)


UNTRIED: dict[str, Any] = {"told_at": None, "attempts": 0, "next_at": None, "last_error": ""}


def outcome_of(failed: Untold | None, attempts: int) -> dict[str, Any]:
    """What to note of an attempt."""
    if failed is None:
        return {"outcome": "told", "told_at": now_ms(), "attempts": attempts}
    if not failed.may_pass:
        return {"outcome": "given_up", "attempts": attempts, "last_error": str(failed)}
    next_at = now_ms() + round(1000 * max(pause_s(attempts), failed.after_s))
    return {"outcome": "retrying", "attempts": attempts, "next_at": next_at, "last_error": str(failed)}


def note_of(receiver: str, one: Due, outcome: str, **more: Any) -> Notification:
    """What came of a change, for a receiver."""
    change, before = one.change, {"told_at": one.told_at, "attempts": one.attempts}
    return Notification(
        receiver, change.seller_id, change.marketplace_id, change.alert_id, change.day, change.state, change.version,
        outcome, **(UNTRIED | before | more),
    )  # fmt: skip


def number(of: int, what: str) -> str:
    """The number of something, in words.

    >>> number(2, "alert change")
    '2 alert changes'
    """
    return f"{of} {what}{'s' * (of != 1)}"


def parts(of: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of at most that size."""
    for at in range(0, len(of), size):
        yield of[at : at + size]


def account_of(one: Due) -> AccountId:
    """Whose change it is."""
    return one.change.seller_id, one.change.marketplace_id


def now_ms() -> int:
    """The wall clock, epoch ms."""
    return time.time_ns() // 1_000_000
