"""The outbox: every change of an alert is told to every receiver, at least once, each at its own pace.

Place in the flow: behind the alerter. What is to be told is `alert_history` itself: a change that is not muted and has
no note in `notifications` is due, also after a kill -9. A receiver has a task of its own, and the database is asked on
a thread and a connection of the outbox's own, so one that hangs or is gone holds up neither the others nor a flush.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from schemas.rows import AccountId, AlertRow, Due, Notices, Notification
from streams.due import (
    BATCH_ALERTS,
    UNTRIED,
    account_of,
    as_told,
    change_as_told,
    messages,
    note_of,
    now_ms,
    number,
    outcome_of,
    parts,
    pause_s,
    sorted_out,
)
from streams.failpoints import reach
from streams.marks import Tenure
from streams.port import patiently
from streams.receivers import Change, Message, Receiver, Untold, about
from streams.tally import Tally

log = logging.getLogger(__name__)

LOOK_S = 60.0  # how often a receiver looks by itself, and what resends does
MOMENT_S = 1.0  # what comes within so much of the first change goes with it in one message
NOTE_S = 0.5  # what was told is noted so often while there is more to tell
GONE_S = 60.0  # the longest that a failing receiver is left alone, whatever waits for it
T = TypeVar("T")


class OutboxStore(Protocol):
    """What the outbox needs of a store. Calls block."""

    def introduce(self, receivers: Sequence[str]) -> None:
        """These are told of what changes from now on; those that were there already, from then on."""

    def due(self, receiver: str, partitions: int, owned: Iterable[int]) -> list[Due]:
        """What is yet to be told to a receiver of the alerts of these partitions, in its order."""

    def notices(self, accounts: Sequence[AccountId]) -> dict[str, Notices]:
        """What people say about the alerts of these accounts."""

    def told_firing(self, receiver: str, partitions: int, owned: Iterable[int]) -> set[str]:
        """The firing alerts of which the receiver was told."""

    def alerts(self, accounts: Sequence[AccountId] | None = None, only_open: bool = False) -> list[AlertRow]:
        """Alerts in their latest state, of these accounts or of all; the open ones are pending or firing."""

    def notify(self, notifications: Sequence[Notification]) -> None:
        """Note what came of telling."""

    def notification(self, receiver: str, account: AccountId, alert_id: str) -> Notification | None:
        """What came of telling a receiver of something that is no change of an alert."""

    def close(self) -> None:
        """Let go of the connection."""


class _Lane:
    """A receiver, and how it goes with it."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.woken = asyncio.Event()
        self.telling = asyncio.Lock()  # held from before a message goes out until it is noted
        self.failures = 0  # one after the other
        self.rest_s = 0.0  # for how long it is left alone after them
        self.notes: list[Notification] = []
        self.noted = time.monotonic()


class Outbox:
    """Tells receivers of the changes of a tenure's partitions, from `begin` to `end`; all on one event loop.

    `open_store` connects to the store, in the outbox's own thread. What came of telling is counted in `tally`.
    """

    def __init__(
        self, receivers: Sequence[Receiver], open_store: Callable[[], OutboxStore], tally: Tally | None = None
    ) -> None:
        self._receivers, self._open_store, self._tally = receivers, open_store, tally or Tally()
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._store: OutboxStore | None = None
        self._lanes: list[_Lane] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._over, self._closed = True, False

    async def begin(self, tenure: Tenure) -> None:
        """A tenure begins, and no row of it was judged yet: from here on each change finds its receivers."""
        self._over = False
        if not self._receivers:
            return
        if self._store is None:
            self._store = await self._call(self._open_store)
        await self._call(self._store.introduce, [receiver.name for receiver in self._receivers])
        self._lanes = [_Lane(receiver) for receiver in self._receivers]
        self._tasks = [asyncio.create_task(self._serve(lane, self._store, tenure)) for lane in self._lanes]

    def wake(self) -> None:
        """Changes were stored."""
        for lane in self._lanes:
            lane.woken.set()

    async def end(self, timeout_s: float) -> None:
        """The tenure ends: what is being told has so much time to arrive and be noted; the next owner has the rest."""
        self._over = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for lane in self._lanes:
                    await lane.telling.acquire()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTE_S):
                for lane in self._lanes:  # one that was cut short has perhaps told something before
                    if self._store is not None:
                        await self._note(lane, self._store)
        self._lanes, self._tasks = [], []

    async def close(self) -> None:
        """Let go of everything; `end` comes before."""
        self._closed = True
        for receiver in self._receivers:
            await receiver.close()
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._store is not None:
            self._store.close()

    @property
    def takes_posts(self) -> bool:
        """Whether there is anybody to `post` to."""
        return any(receiver.by_account for receiver in self._receivers)

    async def post(self, account: AccountId, day: int, message: Message) -> bool:
        """Tell receivers of something other than alerts, once each; whether nobody is left to be told.

        False: call again in a minute with a message of the same id; who was told is noted. An account of the tenure's.
        """
        if self._over or self._store is None:
            return not self._receivers
        lanes = [lane for lane in self._lanes if lane.receiver.by_account]
        return all(await asyncio.gather(*(self._post(lane, self._store, account, day, message) for lane in lanes)))

    # --- one receiver ------------------------------------------------------------------------------------

    async def _serve(self, lane: _Lane, store: OutboxStore, tenure: Tenure) -> None:
        """Tell a receiver what is due, again and again."""
        resend_at = 0.0
        while not self._over:
            wait_s = LOOK_S  # if the look goes wrong
            lane.woken.clear()
            try:
                async with lane.telling:
                    wait_s = await self._tell_due(lane, store, tenure)
                    if lane.receiver.resends and not (lane.failures or self._over) and time.monotonic() >= resend_at:
                        resend_at = time.monotonic() + LOOK_S * 0.9
                        await self._resend(lane, store, tenure)
            except Exception:  # of ours: others are told all the same, and this one is tried again
                log.exception("receiver %s: the outbox goes on in %d s", lane.receiver.name, LOOK_S)
            if lane.failures:
                await asyncio.sleep(lane.rest_s)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(lane.woken.wait(), wait_s)
                    await asyncio.sleep(MOMENT_S)

    async def _tell_due(self, lane: _Lane, store: OutboxStore, tenure: Tenure) -> float:
        """Tell what is due, until the receiver fails; how long to wait for the next of it, if nothing wakes us."""
        due = await self._call(store.due, lane.receiver.name, tenure.partitions, sorted(tenure.owned))
        if not due:
            return LOOK_S
        accounts = list({account_of(one): None for one in due})
        alerts = {alert.alert_id: alert for alert in await self._call(store.alerts, accounts)}
        notices = await self._call(store.notices, accounts)
        to_tell, to_drop = sorted_out(due, alerts, notices, now_ms())
        if old := sum(note == "too_old" for note in to_drop.values()):
            log.warning("receiver %s: %s too old to be told", lane.receiver.name, number(old, "alert change"))
        lane.notes += [note_of(lane.receiver.name, due[i], outcome) for i, outcome in to_drop.items()]
        waiting_ms = [LOOK_S * 1000]
        for these in messages([due[i] for i in to_tell], lane.receiver.by_account):
            later_ms = max(one.next_at or 0 for one in these) - now_ms()
            if later_ms > 0 and all(one.attempts for one in these):  # a change that is new takes the others along
                waiting_ms.append(later_ms)
            elif not await self._tell(lane, store, these, [change_as_told(one, alerts) for one in these]) or self._over:
                break
            if time.monotonic() - lane.noted >= NOTE_S:
                await self._note(lane, store)
        await self._note(lane, store)
        return min(waiting_ms) / 1000

    async def _tell(self, lane: _Lane, store: OutboxStore, due: Sequence[Due], changes: Sequence[Change]) -> bool:
        """Bring one message; False if it shall be tried again."""
        attempts = max(one.attempts for one in due) + 1
        reach("before_notify")
        failed = await self._failure(lane, about(changes), number(len(due), "alert change"), attempts)
        if failed is None:
            reach("after_notify")
        lane.notes += [note_of(lane.receiver.name, one, **outcome_of(failed, attempts)) for one in due]
        return failed is None or not failed.may_pass

    async def _failure(self, lane: _Lane, message: Message, what: str, attempts: int) -> Untold | None:
        """Bring a message; what went wrong, said in the log, if anything."""
        receiver = lane.receiver
        try:
            await receiver.tell(message)
        except Untold as failed:
            untold = failed
        except Exception as bug:  # noqa: BLE001  # of a receiver's; its words may hold a secret
            untold = Untold(type(bug).__name__, may_pass=True)
        else:
            lane.failures = 0
            return None
        lane.failures = lane.failures + 1 if untold.may_pass else 0
        lane.rest_s = max(pause_s(lane.failures, GONE_S), untold.after_s)
        then = f"attempt {attempts}, to be tried again" if untold.may_pass else "given up"
        log.log(
            logging.WARNING if untold.may_pass else logging.ERROR,
            "receiver %s was not told of %s: %s; %s", receiver.name, what, untold, then,
        )  # fmt: skip
        return untold

    async def _resend(self, lane: _Lane, store: OutboxStore, tenure: Tenure) -> None:
        """Tell once more what fires of what the receiver was told."""
        told = await self._call(store.told_firing, lane.receiver.name, tenure.partitions, sorted(tenure.owned))
        if not told:
            return
        firing = [alert for alert in await self._call(store.alerts, None, True) if alert.alert_id in told]
        for these in parts(firing, BATCH_ALERTS):
            changes = [as_told(alert, now_ms()) for alert in these]
            if (
                self._over
                or await self._failure(lane, about(changes), number(len(these), "firing alert"), 1) is not None
            ):
                return

    async def _post(self, lane: _Lane, store: OutboxStore, account: AccountId, day: int, message: Message) -> bool:
        """One receiver for `post`; whether it is done with."""
        async with lane.telling:
            name = lane.receiver.name
            before = await self._call(store.notification, name, account, message.id)
            if before is not None and before.outcome != "retrying":
                return True
            if before is not None and (before.next_at or 0) > now_ms():
                return False
            attempts = 1 if before is None else before.attempts + 1
            failed = await self._failure(lane, message, message.id, attempts)
            fields = UNTRIED | outcome_of(failed, attempts)
            self._tally.told[name, fields["outcome"]] += 1
            await self._call(store.notify, [Notification(name, *account, message.id, day, "posted", 0, **fields)])
            return failed is None or not failed.may_pass

    # --- the store ---------------------------------------------------------------------------------------

    async def _note(self, lane: _Lane, store: OutboxStore) -> None:
        notes, lane.notes = lane.notes, []
        if notes:
            await self._call(store.notify, notes)
            self._tally.told.update((note.receiver, note.outcome) for note in notes)
        lane.noted = time.monotonic()

    async def _call(self, call: Callable[..., T], *args: Any) -> T:
        return await patiently(self._thread, lambda: not self._closed, call, *args, waits=self._tally.waits)
