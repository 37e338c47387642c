"""Whether a worker is alive, and whether it is ready: what `/healthz` and `/readyz` answer.

Place in the flow: beside it. Alive means that starting it anew would not help: nothing that waits is stuck. Ready means
that it does its work now: it has its partitions, and Kafka and ClickHouse answer. Asks Kafka itself now and then; of
ClickHouse it knows by what waits for it.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from streams.log import without_passwords
from streams.pipeline import Pipeline
from streams.tally import Tally, Wait
from streams.transport import Consumer

STUCK_S = 360.0  # a statement has 300 s to answer
ASK_S = 5.0  # how often Kafka is asked, and how long it has to answer
REASON_CHARS = 300


class Health:
    """Of one worker, whose pipeline and consumer these give, as far as there are any at present."""

    def __init__(
        self,
        tally: Tally,
        pipeline: Callable[[], Pipeline | None],
        consumer: Callable[[], Consumer | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.no_answer: float | None = None  # since when Kafka gives none
        self._tally, self._pipeline, self._consumer, self._clock = tally, pipeline, consumer, clock
        self._excused = 0.0  # until when others were to blame for what stands still
        self._task: asyncio.Task[None] | None = None

    def lost(self) -> dict[str, Wait]:
        """What the worker waits for: `kafka`, `clickhouse`, `registry`; each since when and why."""
        waits = sorted(self._tally.waits.values(), reverse=True)  # the longest wait last
        lost = {"registry" if wait.reason.startswith("Schema Registry") else "clickhouse": wait for wait in waits}
        if self.no_answer is not None:
            lost["kafka"] = Wait(self.no_answer, "Kafka does not answer")
        if lost:
            self._excused = self._clock()
        return lost

    def stuck(self) -> list[str]:
        """What stands still through nobody else's fault, one line each."""
        pipeline, consumer = self._pipeline(), self._consumer()
        if self.lost() or pipeline is None or consumer is None:
            return []
        moved = max(pipeline.moved, self._excused)
        still_s, unasked_s = self._clock() - moved, self._clock() - max(moved, consumer.asked)
        reasons = []
        if still_s > STUCK_S and pipeline.oldest_s() is not None:
            reasons.append(f"records wait, and no flush went on for {still_s:.0f} s")
        if unasked_s > STUCK_S:
            reasons.append(f"Kafka was not asked for records for {unasked_s:.0f} s")
        return reasons

    def unready(self) -> list[str]:
        """Why the worker does not do its work now, one line each."""
        reasons = self.stuck()
        if self._pipeline() is None:
            reasons.append("no partitions are assigned")
        for wait in self.lost().values():
            reason = " ".join(without_passwords(wait.reason).split())[:REASON_CHARS]
            reasons.append(f"{reason} (for {self._clock() - wait.since:.0f} s)")
        return reasons

    # --- Kafka -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to ask Kafka."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            consumer = self._consumer()
            if consumer is not None:
                asked = self._clock()
                if await consumer.answers(ASK_S):
                    self.no_answer = None
                elif self.no_answer is None:
                    self.no_answer = asked
            self.lost()  # notes who is to blame meanwhile
            await asyncio.sleep(ASK_S)
