"""Faust fed by batches: one message per fetched partition batch, and commits of what the sink made durable.

Faust starts two asyncio tasks per message; with a message per batch that cost is gone. Its acknowledgements are out
of the way too: nothing is committed because an agent went on to the next message, only because `durable` says so.
Registered as the Faust transport `sellerpulse` (entry point group `faust.transports`).
"""

import asyncio
import logging
import signal
import time
from asyncio import CancelledError
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

import faust
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.exceptions import ConsumerNotStarted
from faust.tables import TableManager
from faust.transport.drivers import aiokafka
from faust.types import TP, ConsumerMessage
from mode.utils.types.trees import NodeT

from schemas.errors import SellerpulseError
from schemas.events import TOPICS

# A fetch under way does not see a partition whose buffer drained since it began, and a broker is asked by one fetch
# at a time: short ones see it soon. (Faust's 1.5 s held a partition up that long, most of all on the embedded broker.)
FETCH_S = 0.1


class Beside(Protocol):
    """Runs beside the flow."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""


class App(faust.App):
    """A Faust app. If it has a `share`, n of so many workers, it takes that part of the partitions, and joins no group.

    That is for workers that come and go together: a group waits for seconds for members that may yet join.
    """

    class BootStrategy(faust.app.BootStrategy):
        """Faust's own web server shows what it likes to whoever asks, and `faust worker` starts it whatever we set."""

        enable_web = False

    share: tuple[int, int] | None = None
    ended: SellerpulseError | None = None
    beside: "Sequence[Beside]" = ()  # started before all else and stopped after it
    logger = logging.getLogger("faust.app")  # else it would speak in our name

    async def on_first_start(self) -> None:
        """Call when starting."""
        await super().on_first_start()
        for one in self.beside:
            await one.start()

    async def on_shutdown(self) -> None:
        """Call when everything else has stopped."""
        await super().on_shutdown()
        for one in self.beside:
            await one.stop()

    async def end(self, reason: SellerpulseError) -> None:
        """Stop in good order, as when told to, but fail: for a reason that is no fault of the program."""
        self.ended = reason
        worker: Any = cast("NodeT[Any]", self.beacon.root).data
        worker.crash_reason = reason  # Faust's program then exits 1
        signal.raise_signal(signal.SIGTERM)


class NoTables(TableManager):
    """We have none: nothing to wait for, where Faust gives a second to tables that may yet be declared."""

    async def on_start(self) -> None:
        """Call when starting."""
        await self._update_channels()
        await self.recovery.start()


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """The driver's thread, with short fetches."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = int(FETCH_S * 1000)  # noqa: SLF001  # Faust has no setting for it
        return consumer

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Join the group, or take our share of the partitions."""
        share = cast("App", self.app).share
        if share is None:
            await super().subscribe(topics)
        else:
            await self.call_thread(self._take, sorted(topics), *share)

    async def _take(self, topics: list[str], n: int, workers: int) -> None:
        counts = {topic: await self.count_partitions([topic]) for topic in topics}
        mine = [TopicPartition(topic, p) for topic, count in counts.items() for p in range(n, count, workers)]
        listener = self._rebalance_listener
        await listener.on_partitions_revoked(set())  # as a group's coordinator does
        self._ensure_consumer().assign(mine)
        self._assigned = asyncio.create_task(listener.on_partitions_assigned(mine))  # which asks this thread things

    async def on_thread_stop(self) -> None:
        """Stop the consumer; also when Kafka is away."""
        with suppress(CancelledError):  # of a fetch that aiokafka cancels while it pauses for a broker
            await super().on_thread_stop()

    async def count_partitions(self, topics: Iterable[str]) -> int:
        """As `Consumer.count_partitions`, in the thread whose client it asks."""
        client = self._ensure_consumer()._client  # noqa: SLF001  # nothing public asks anew
        await client.force_metadata_update()
        return max(len(client.cluster.partitions_for_topic(topic) or ()) for topic in topics)

    async def answers(self) -> bool:
        """Whether any broker does. Beside the group's own notion of the cluster, whose change it acts upon."""
        client = self._ensure_consumer()._client  # noqa: SLF001  # as above
        if not client.cluster.brokers():
            return True  # it was not asked for anything yet
        answered: bool = await client._metadata_update(ClusterMetadata(), TOPICS[:1])  # noqa: SLF001
        return answered

    def next_offset(self, tp: TP) -> int | None:
        """The offset from which a partition is read next, if that is known."""
        subscription = self._ensure_consumer()._subscription.subscription  # noqa: SLF001  # the public way waits
        if subscription is None or subscription.assignment is None:
            return None  # a rebalance is under way, after which all are read from what is committed
        state = subscription.assignment.state_value(tp)
        return state.position if state is not None and state.has_valid_position else None

    async def take_back(self, offsets: Mapping[TP, int]) -> None:
        """Read partitions again from these offsets: what was fetched from there on was given to nobody.

        A fetch that lasts through a rebalance brings records of the next assignment, and moves on there, although
        nobody waits for them: were they left at that, what follows them would be committed over them. Faust seeks back
        to what is committed when a rebalance ends; this is for what comes after.
        """
        with suppress(ConsumerNotStarted):  # any more: it stops
            for tp, offset in offsets.items():
                if (at := self.next_offset(tp)) is not None and at > offset:
                    self._ensure_consumer().seek(tp, offset)


class Consumer(aiokafka.Consumer):
    """The aiokafka driver's consumer, with a batch for a message and our own offsets to commit.

    `durable` maps a partition to the offset after the last record that the sink made durable. The worker sets it;
    it is forgotten when partitions are revoked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.durable: dict[TP, int] = {}
        self._committed: dict[TP, int] = {}
        self._begun: dict[TP, int] = {}  # the first offset that was fetched
        self._fetched: dict[TP, int] = {}
        self.asked = time.monotonic()  # when records were last asked for

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def count_partitions(self, topics: Iterable[str]) -> int:
        """How many partitions these topics have now, the most of them if they differ.

        Asked of the broker: Faust's `topic_partitions` knows it in the group's leader alone.
        """
        thread = cast("ConsumerThread", self._thread)
        count: int = await thread.call_thread(thread.count_partitions, topics)
        return count

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message per partition with records: its value the list of them, its offset the last one's."""
        self.asked = time.monotonic()
        generation = self.app.consumer_generation_id  # one that changes meanwhile has other partitions to read
        records, active = await self._wait_next_records(min(timeout, FETCH_S))
        left = {tp: batch for tp, batch in (records or {}).items() if batch}
        for tp, batch in list(left.items()):
            if self.should_stop or self.app.consumer_generation_id != generation or not self._flows():
                break
            if active is None or tp in active or tp in self._buffered_partitions:
                del left[tp]
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                self._begun.setdefault(tp, batch[0].offset)
                self._fetched[tp] = batch[-1].offset + 1
                yield tp, self._to_batch(tp, batch, generation)
        if left and not self.should_stop:
            thread = cast("ConsumerThread", self._thread)
            await thread.call_thread(thread.take_back, {tp: batch[0].offset for tp, batch in left.items()})

    def _flows(self) -> bool:
        """Whether records may be handed on: not in the middle of a rebalance. Changes while we are suspended."""
        return self.flow_active

    def _to_batch(self, tp: TP, batch: list[Any], generation: int) -> ConsumerMessage:
        last = batch[-1]
        return ConsumerMessage(
            tp.topic, tp.partition, last.offset, last.timestamp / 1000, last.timestamp_type, [], None,
            batch,  # type: ignore[arg-type]  # Faust thinks of one record; our agents know better
            None, 0, 0, tp, generation_id=generation,
        )  # fmt: skip

    def waiting(self) -> int:
        """How many records have yet to be fetched, of partitions that some were fetched of."""
        return sum(max(self.highwater(tp) - offset, 0) for tp, offset in self._fetched.items())

    def lag(self) -> dict[TP, int]:
        """How many records of each of our partitions are not durable, as far as the broker has told where it ends."""
        lag = {}
        with suppress(ConsumerNotStarted, AssertionError, AttributeError):  # in the middle of a rebalance
            for tp in self.assignment():
                end, done = cast("int | None", self.highwater(tp)), self.durable.get(tp, self._begun.get(tp))
                if done is None:
                    done = cast("ConsumerThread", self._thread).next_offset(tp)
                if end is not None and done is not None:
                    lag[tp] = max(end - done, 0)
        return lag

    async def answers(self, within_s: float) -> bool:
        """Whether Kafka does, within so much time. What cannot ask says nothing against it."""
        thread = cast("ConsumerThread", self._thread)
        if not thread.thread_loop.is_running():
            return True
        asked = asyncio.run_coroutine_threadsafe(thread.answers(), thread.thread_loop)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), within_s)
        except ConsumerNotStarted:
            return True
        except (TimeoutError, KafkaError, OSError):
            return False

    # --- what is committed -------------------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """A message is done with; says nothing of what is durable."""
        message.acked = True
        self._unacked_messages.discard(message)
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps matter to acknowledgements only."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter([tp for tp in self.durable if topics is None or tp in topics or tp.topic in topics])

    def _new_offset(self, tp: TP) -> int | None:
        return self.durable.get(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        # Not Faust's own note of it, which moves on although a commit failed.
        return offset > self._committed.get(tp, -1)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        committed: bool = await super()._commit(offsets)
        if committed:
            self._committed.update(offsets)
        return committed

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Partitions go: whatever was durable of them is committed by now or will be read again."""
        await super().on_partitions_revoked(revoked)
        self.durable.clear()
        self._committed.clear()
        self._begun.clear()
        self._fetched.clear()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust would call a long flush a stuck stream."""


class Transport(aiokafka.Transport):
    """Kafka by aiokafka, in batches: broker URLs read `sellerpulse://host:port`."""

    Consumer = Consumer
