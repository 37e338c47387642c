"""From records to a verdict each, and to what Kafka is to be given.

Place in the flow: after `body`, on the same thread. Events are held against the same rules as those of files. A reason
never repeats what was sent: neither a stranger's text nor a buyer's goes back, or into a log.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from orjson import dumps

from schemas.codec import Codec
from schemas.events import UNKNOWN_TOPIC, Refusal, Topic, account_key, check
from streams.connectors.input import Record
from streams.gateway.body import LETTER_BYTES, VALUE_BYTES
from streams.gateway.keys import Holder
from streams.tally import kind_of

LETTERS_MAX = 100  # refused events of a request that go to the dead letters; a verdict tells of each

Headers = list[tuple[str, str | bytes | None]]
Outgoing = tuple[str, bytes | None, bytes, Headers | None]  # topic, key, value, headers
Outcome = Literal["accepted", "refused", "forbidden"]


@dataclass
class Judged:
    """What became of a request's events, in their order; `outgoing` are the accepted ones and the dead letters."""

    verdicts: list[dict[str, Any]] = field(default_factory=list)
    outgoing: list[Outgoing] = field(default_factory=list)
    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)  # by topic
    reasons: Counter[tuple[Topic, str]] = field(default_factory=Counter)  # of refused ones, by topic

    def total(self, outcome: Outcome) -> int:
        """How many on all topics."""
        return sum(count for (_, each), count in self.counts.items() if each == outcome)

    @property
    def status(self) -> int:
        """202 if there is an accepted one, 403 if all are another's, else 422."""
        if self.total("accepted"):
            return 202
        return 403 if self.verdicts and self.total("forbidden") == len(self.verdicts) else 422

    def answer(self) -> bytes:
        """The body of the answer, JSON."""
        count = len(self.verdicts)
        if count and count == self.total("accepted") == self.verdicts[-1]["index"] + 1:
            return _all_accepted(count)
        totals = {outcome: self.total(outcome) for outcome in ("accepted", "refused", "forbidden")}
        return dumps(totals | {"verdicts": self.verdicts})


@lru_cache(maxsize=64)
def _all_accepted(count: int) -> bytes:
    """Batches are of the same size again and again."""
    verdicts = [{"index": n, "verdict": "accepted"} for n in range(count)]
    return dumps({"accepted": count, "refused": 0, "forbidden": 0, "verdicts": verdicts})


def judge(records: Sequence[Record], holder: Holder, codec: Codec, now_ms: int, where: str) -> Judged:
    """A verdict on each record. `where` stands in dead letters for a file's name. Raises Unavailable: no registry."""
    judged, letters = Judged(), 0
    for item, raw, line in records:
        topic: str = item.topic or UNKNOWN_TOPIC
        found = _found(item, holder, codec, now_ms)
        if isinstance(found, bytes):
            key = account_key(item.event)  # type: ignore[union-attr]  # a refusal has no value
            judged.outgoing.append((topic, key, found, None))
            judged.counts[topic, "accepted"] += 1
            judged.verdicts.append({"index": line - 1, "verdict": "accepted"})
        elif found is None:
            judged.counts[topic, "forbidden"] += 1
            judged.verdicts.append({"index": line - 1, "verdict": "forbidden"})
        else:
            reason = kind_of(found)
            judged.counts[topic, "refused"] += 1
            judged.reasons[topic, reason] += 1  # type: ignore[index]  # unknown is as good as a topic here
            judged.verdicts.append({"index": line - 1, "verdict": "refused", "reason": reason})
            if letters < LETTERS_MAX:
                letters += 1
                judged.outgoing.append(_letter(topic, reason, raw, where, line, now_ms))
    return judged


def _found(item: Any, holder: Holder, codec: Codec, now_ms: int) -> bytes | str | None:
    """The value that Kafka is to be given, why there is none, or None: it is no business of this key's."""
    if isinstance(item, Refusal):
        return item.reason
    topic, event = item
    if not holder.may_send(event["seller_id"], event["marketplace_id"]):
        return None
    if (reason := check(topic, event, now_ms)) is not None:
        return reason
    value = codec.encode(topic, event)
    return value if len(value) <= VALUE_BYTES else f"a record over {VALUE_BYTES} bytes"


def _letter(topic: str, reason: str, raw: bytes, where: str, line: int, now_ms: int) -> Outgoing:
    named = {"source_topic": None if topic == UNKNOWN_TOPIC else topic}
    about = {"reason": reason} | named | {"source_file": where, "source_line": line, "refused_at": now_ms}
    headers: Headers = [(name, str(value).encode()) for name, value in about.items() if value is not None]
    return f"{topic}.dlq", None, raw[:LETTER_BYTES], headers
