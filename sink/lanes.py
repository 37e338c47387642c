"""Lanes, each for one statement at a time: a request borrows one, or that of its session.

Place in the flow: between `front`, which knows requests and headers, and whoever runs statements: `lane` in this
process, `door` in another's. Knows no engine.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from sink.statement import Refused, Session, Statement, Terms

SPARE_LANES = 16
SESSIONS = 1000
# Once set these cannot be taken back, so a connection that wears one is thrown away.
ONE_WAY = frozenset({"readonly", "allow_ddl"})


@dataclass
class Answer:
    """What a statement gave: the blocks of its result (consume or close them), or none with format None."""

    format: str | None
    blocks: Generator[bytes]
    summary: dict[str, int] = field(default_factory=dict)


class Lane(Protocol):
    """Where a statement runs. One thread at a time."""

    spent: bool  # of no use to another request

    def run(self, statement: Statement, terms: Terms) -> Answer:
        """Run a checked statement on the request's terms. Raises Refused, also while blocks are consumed."""

    def close(self) -> None:
        """What its session held is gone."""


@dataclass
class _Kept:
    """A session's lane between its requests; `until` is on the monotonic clock."""

    lane: Lane
    until: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Lanes:
    """All lanes of what is served: those of sessions, by name, and spare ones for requests without."""

    def __init__(self, opened: Callable[[], Lane]) -> None:
        self._opened = opened
        self._mutex = threading.Condition()
        self._busy = 0
        self._closed = False
        self._spare: list[Lane] = []
        self._sessions: dict[str, _Kept] = {}

    @contextmanager
    def borrow(self, terms: Terms) -> Iterator[Lane]:
        """A lane for one request. Raises Refused if its session is busy or, though it must exist, unknown."""
        session = terms.session if ONE_WAY.isdisjoint(terms.settings) else None
        with self._mutex:
            if self._closed:
                raise Refused.by_us(236, "ABORTED", "The server is stopping")
            kept = self._enter(session) if session else None
            lane = kept.lane if kept else self._spare.pop() if self._spare else self._opened()
            self._busy += 1
        try:
            yield lane
        finally:
            self._give_back(lane, kept, session)

    def _give_back(self, lane: Lane, kept: _Kept | None, session: Session | None) -> None:
        with self._mutex:
            self._busy -= 1
            self._mutex.notify_all()
            if kept and session:
                kept.until = time.monotonic() + session.timeout_s
                kept.lock.release()
            if self._closed or (not kept and (lane.spent or len(self._spare) >= SPARE_LANES)):
                lane.close()
            elif not kept:
                self._spare.append(lane)

    def _enter(self, session: Session) -> _Kept:
        now = time.monotonic()
        self._forget(now)
        kept = self._sessions.get(session.name)
        if kept is None:
            if session.must_exist:
                raise Refused.by_us(372, "SESSION_NOT_FOUND", "Session not found")
            kept = self._sessions[session.name] = _Kept(self._opened(), now)
        if not kept.lock.acquire(blocking=False):
            message = f"Session {session.name} is locked by a concurrent client"
            raise Refused.by_us(373, "SESSION_IS_LOCKED", message)
        return kept

    def _forget(self, now: float) -> None:
        """Close sessions that timed out and, beyond the limit, those that will do so first."""
        idle = sorted((kept.until, name) for name, kept in self._sessions.items() if not kept.lock.locked())
        too_many = len(self._sessions) - SESSIONS
        for rank, (until, name) in enumerate(idle):
            if until < now or rank < too_many:
                self._sessions.pop(name).lane.close()

    def drain(self, seconds: float) -> bool:
        """Wait until no request runs; whether none does."""
        with self._mutex:
            return self._mutex.wait_for(lambda: not self._busy, seconds)

    def close(self) -> None:
        """Close the lanes that are not in use; the others will be closed when their requests end."""
        with self._mutex:
            self._closed = True
            idle = [kept.lane for kept in self._sessions.values() if not kept.lock.locked()]
            for lane in [*self._spare, *idle]:
                lane.close()
            self._spare.clear()
            self._sessions.clear()
