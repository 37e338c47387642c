"""Failpoints: places in the flow where a process can be made to end or to stand still, to show that nothing is lost.

They are armed from outside, SELLERPULSE_FAILPOINTS="events_stored=kill@3,assigned=stop": the third time the process
comes to `events_stored` it ends as by kill -9, and the first time to `assigned` it stops until SIGCONT. `tests.chaos`
does that. Not armed, which is always but in tests, passing one is a look at an empty dictionary, once a batch or flush.
"""

import os
import signal
from collections import Counter
from typing import Literal, get_args

from schemas.errors import ConfigurationError

VARIABLE = "SELLERPULSE_FAILPOINTS"

Failpoint = Literal[
    "decoded",  # a batch's records are events or refused, and wait for a flush
    "loading",  # accounts were read from the database, and are not in memory yet
    "stories_changed",  # in memory alone
    "events_stored",  # of one topic; those of others may not be
    "before_commit",  # everything of a flush is durable, its offsets are not committed
    "after_commit",  # rows do not follow yet
    "rows_stored",  # not yet judged, nor marked
    "cases_stored",  # as little
    "alerts_sent",  # changes of alerts are on their topic, not in the tables
    "alerts_stored",  # nobody was notified of them
    "before_notify",  # a receiver is about to be told
    "after_notify",  # it has it, which is not noted
    "assigned",  # partitions were given, and an epoch taken
    "revoked",  # partitions are to go
    "turned",  # the as-of day has moved, no row has
    "acknowledged",  # what was ingested; that reports said it is not kept yet
    "forget_noted",  # an order is known as forgotten, and nothing else was done about it
    "forget_added",  # its events of one topic are there twice, the second time by pseudonyms
    "forget_dropped",  # they are there by pseudonyms alone
    "forget_renamed",  # so are alerts about its cases; not yet where others name it
    "forget_replaced",  # its rows are not restated yet
    "fed",  # by the feeder of an embedded broker: some hundred records
]
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _parsed(text: str) -> dict[str, tuple[signal.Signals, int]]:
    """By failpoint, which signal, and the how many-th time. Raises ConfigurationError."""
    armed = {}
    for one in filter(None, text.split(",")):
        point, _, what = one.partition("=")
        action, _, time = what.partition("@")
        if point not in get_args(Failpoint) or action not in _SIGNALS or not (time or "1").isdecimal():
            raise ConfigurationError(f"{VARIABLE}: {one!r} is not of the form events_stored=kill@3")
        armed[point] = _SIGNALS[action], int(time or 1)
    return armed


_armed = _parsed(os.environ.get(VARIABLE, ""))
_passed: Counter[str] = Counter()


def reach(point: Failpoint) -> None:
    """The flow is here."""
    if point not in _armed:
        return
    _passed[point] += 1
    what, time = _armed[point]
    if _passed[point] == time:
        os.kill(os.getpid(), what)
