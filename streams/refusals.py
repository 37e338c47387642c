"""How much of what a worker takes it refuses; past a limit it stops, before a bad deploy drains a topic.

Its place in the flow: between the decoding of a batch and its being set down for the next flush. Pure: counts.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from schemas.errors import TooManyRefused
from schemas.events import Refusal, Topic

if TYPE_CHECKING:
    from schemas.batch import Checked

LAST = 10_000  # records of a topic
FEW = 100  # refused ones; fewer of a topic never stop a worker
LIMIT = 0.1
NO_LIMIT = 1.0


class Refusals:
    """Of the last records of each topic, those that were refused. A worker has one for all its tenures.

    By topic, because the rare ones would be gone before they were a tenth of everything. At `NO_LIMIT` nothing is
    noted.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._taken: Counter[Topic] = Counter()
        self._refused: dict[Topic, deque[tuple[int, str]]] = defaultdict(deque)  # the how manieth record, and why

    def add(self, topic: Topic, decoded: "Sequence[Checked | Refusal]") -> None:
        """Note a decoded batch. Raises TooManyRefused if more than the limit were refused at any record of it."""
        if self._limit >= NO_LIMIT:
            return
        refused = self._refused[topic]
        for number, found in enumerate(decoded, self._taken[topic] + 1):  # 30 ns a record
            if type(found) is Refusal:
                refused.append((number, found.reason))
                while refused[0][0] <= number - LAST:
                    refused.popleft()
                taken = min(number, LAST)
                if len(refused) >= FEW and len(refused) > self._limit * taken:
                    raise TooManyRefused(self._told(topic, taken))
        self._taken[topic] += len(decoded)

    def _told(self, topic: Topic, taken: int) -> str:
        refused = self._refused[topic]
        share, limit = len(refused) / taken, self._limit
        # A reason may end in what was found, which is the producer's.
        ((why, _),) = Counter(reason.partition(": ")[0] for _, reason in refused).most_common(1)
        return (
            f"{len(refused):,} of the last {taken:,} records of topic {topic} were refused ({100 * share:.4g} %, limit "
            f"{100 * limit:.4g} %), most for: {why}; nothing of the last batch was sent to the dead-letter topics. "
            "Correct the producer, or start with --dlq-limit 1 to let them through and `dlq replay` them later"
        )
