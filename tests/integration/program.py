"""What tests of the whole program share: its commands as processes, waiting with a deadline, and the topics."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from schemas.codec import Codec
from schemas.events import TOPICS, UNKNOWN_TOPIC, Topic

SELLERPULSE = (str(Path(sys.executable).with_name("sellerpulse")),)
FAUST = (str(Path(sys.executable).with_name("faust")),)
DAILY = "SELECT * EXCEPT (computed_at) FROM seller_daily{where} ORDER BY seller_id, marketplace_id, day"
REST = """SELECT * FROM (
    SELECT 'orders' AS what, toString(tuple(* EXCEPT (first_seen_at))) AS row FROM order_events
    UNION ALL SELECT 'feedback', toString(tuple(* EXCEPT (first_seen_at))) FROM feedback_events
    UNION ALL SELECT 'surveys', toString(tuple(* EXCEPT (first_seen_at))) FROM survey_events{more}
) ORDER BY what, row"""
ALERTS = """
    UNION ALL SELECT 'alert', toString(tuple(*)) FROM alerts
    UNION ALL SELECT 'change', toString(tuple(* EXCEPT (changed_at))) FROM alert_history"""

PARTITIONS = 4
LARGEST_BYTES = 16 << 20  # that a producer of ours sends; a topic may take less
DLQ = tuple(f"{topic}.dlq" for topic in (*TOPICS, UNKNOWN_TOPIC))
Partition = tuple[str, int]


def every_partition(partitions: int = PARTITIONS) -> list[Partition]:
    """Those that workers read, if topics of events have so many."""
    return [(topic, p) for topic in TOPICS for p in range(partitions)] + [(topic, 0) for topic in DLQ]


EVERY = [*every_partition(), *(("alerts", p) for p in range(PARTITIONS))]

Headers = list[tuple[str, str | bytes | None]]
Sent = tuple[str, bytes | None, bytes | None, Headers]  # topic, key, value, headers
T = TypeVar("T")
_CODEC = Codec()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """No settings but these, named as in KAFKA__GROUP, no port of workers, and a host whose zone is not the data's."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SELLERPULSE_")}
    settings = {"WEB__ENABLED": "false"} | dict(settings)
    return plain | {"TZ": "America/New_York"} | {f"SELLERPULSE_{name}": value for name, value in settings.items()}


def run(folder: Path, *words: str | Path, within_s: float = 120, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command, run in this folder to its end, whatever that is."""
    return subprocess.run(
        [*SELLERPULSE, *map(str, words)], cwd=folder, env=environment(settings),
        capture_output=True, text=True, timeout=within_s, check=False,
    )  # fmt: skip


def succeed(folder: Path, *words: str | Path, within_s: float = 120, **settings: str) -> str:
    """What a command says that must end well."""
    done = run(folder, *words, within_s=within_s, **settings)
    assert done.returncode == 0, f"{words[0]} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def sql(db: str | Path, query: str) -> str:
    """The result of a query as JSON lines."""
    return succeed(Path(), "sql", query, "--db", db, "--format", "JSONEachRow")


def assert_same(found: str, wanted: str) -> None:
    """Two results, of any size, are the same; else the first line that differs is told, and no more."""
    if found != wanted:
        lines, other = found.splitlines(), wanted.splitlines()
        differing = [(a, b) for a, b in zip(lines, other, strict=False) if a != b]
        said = "\n".join(differing[0]) if differing else "one ends sooner"
        raise AssertionError(f"{len(lines)} lines for {len(other)}; {len(differing)} differ, the first:\n{said}")


class Program:
    """A command in the background, in a process group of its own, from construction to the end of a `with` block."""

    def __init__(self, folder: Path, *words: str | Path, command: Sequence[str] = SELLERPULSE, **settings: str) -> None:
        self.words = tuple(map(str, words))
        self._log = folder / f"{self.words[0].lstrip('-')}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.words], cwd=folder, env=environment(settings),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def log(self) -> str:
        """What it has said so far on either stream."""
        return self._log.read_text(errors="replace")

    def runs(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def kill(self) -> None:
        """kill -9 of all its processes. Of one that has ended the number may be somebody else's by now."""
        if self.runs():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def stop(self, within_s: float = 20) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.ended(within_s)

    def ended(self, within_s: float = 20) -> int:
        """Its exit code, once it ended by itself."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.words[0]} still runs after {within_s} s: {self.log()[-2000:]}") from None


def wait_until(condition: Callable[[], T], within_s: float, what: str, *running: Program) -> T:
    """The condition's value as soon as it is true. Fails when the time is over, or one of the programs ended."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        for program in running:
            assert program.runs(), f"{program.words[0]} ended: {program.log()[-3000:]}"
        if time.monotonic() > deadline:
            logs = "\n".join(program.log()[-1500:] for program in running)
            raise AssertionError(f"not within {within_s} s: {what}\n{logs}")
        time.sleep(0.1)
    return value


class Database:
    """`sellerpulse clickhouse` on a folder: a ClickHouse server for any number of databases. Its port stays."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._folder, self._words, self._port = folder, words, "0"
        self._program: Program | None = None
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        words = ["clickhouse", "--db", str(self._folder / "served"), "--port", self._port, *self._words]
        self._program = program = Program(self._folder, *words)
        said = wait_until(self._address, 30, "a served folder", program)
        self._port = said.rpartition("/")[0].rpartition(":")[2]

    @property
    def port(self) -> int:
        """Where it answers."""
        return int(self._port)

    def _address(self) -> str:
        return self._program.log().rpartition(" is served at ")[2].strip() if self._program else ""

    def kill(self) -> None:
        """kill -9."""
        if self._program is not None:
            self._program.kill()

    def client(self) -> Client:
        """A client of the database that every folder has; for what a command of its own would take too long to ask."""
        return clickhouse_connect.get_client(host="127.0.0.1", port=int(self._port), database="sellerpulse")

    def url(self, name: str) -> str:
        """The address of a database in it."""
        return f"http://127.0.0.1:{self._port}/{name}"


@contextmanager
def serving(folder: Path, *words: str) -> Iterator[Database]:
    """A database server for the block, started with these further flags."""
    database = Database(folder, *words)
    try:
        yield database
    finally:
        database.kill()


class Silent(BaseHTTPRequestHandler):
    """Answers, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Nothing."""


class Loopback:
    """An HTTP server at a port of its own, for a `with` block."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Webhook(Loopback):
    """A receiver of alerts on loopback, for a `with` block; keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(Silent):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

        super().__init__(Handler)
        self.url = f"http://127.0.0.1:{self.port}/alerts"


Identity = tuple[str, ...]
IDS = """SELECT 'orders' AS topic, seller_id, marketplace_id, order_id AS subject, event_id FROM order_events
    UNION ALL SELECT 'feedback', seller_id, marketplace_id, order_id, event_id FROM feedback_events
    UNION ALL SELECT 'surveys', seller_id, marketplace_id, conversation_id, event_id FROM survey_events"""


def stored(db: str | Path) -> set[Identity]:
    """The events of a database, by what tells them apart."""
    return {tuple(json.loads(line).values()) for line in sql(db, IDS).splitlines()}


def identity(record: Message) -> Identity:
    """What tells an event on a topic apart."""
    decoded = _CODEC.decode(cast("Topic", record.topic()), record.value())
    event: Mapping[str, Any] = decoded.event  # type: ignore[union-attr]  # no refusal: it was simulated
    subject = event["conversation_id" if decoded.topic == "surveys" else "order_id"]
    return str(decoded.topic), event["seller_id"], event["marketplace_id"], subject, event["event_id"]


# --- what is on the topics -----------------------------------------------------------------------------------


class Place:
    """A group that has read nothing of what is to come, and an empty database."""

    def __init__(self, ground: "Ground", group: str) -> None:
        self.folder, self.kafka, self.admin, self.group = ground.folder, ground.kafka, ground.admin, group
        self.db = ground.database.url(group)
        self.begin: dict[Partition, int] = {}
        self._every = EVERY
        self._consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": group, "log_level": 0})

    def worker(self, *options: str, command: Sequence[str] = SELLERPULSE, **settings: str) -> Program:
        """`sellerpulse worker` here."""
        words = ["worker", "--kafka", self.kafka, "--db", self.db, *options]
        return Program(self.folder, *words, command=command, KAFKA__GROUP=self.group, **settings)

    def look_at(self, partitions: int) -> None:
        """The topics of events have so many partitions now."""
        self._every = every_partition(partitions)
        self._consumer.list_topics()  # the client learns of them

    def set_back(self) -> bool:
        """Let the group begin where the topics end now; False if the broker, just started, is not ready for that."""
        try:
            self.begin.update(self.ends())
            self.rewind()
            return self.committed() == self.begin
        except KafkaException:
            return False

    def rewind(self) -> None:
        """Let the group, which has no worker, begin once more where it did."""
        offsets = [TopicPartition(*at, begin) for at, begin in self.begin.items()]
        self._consumer.commit(offsets=offsets, asynchronous=False)

    def committed(self) -> dict[Partition, int]:
        """The group's next offsets. (The admin client can crash on this: librdkafka issue 5040.)"""
        found = self._consumer.committed([TopicPartition(*at) for at in self._every], timeout=10)
        return {(at.topic, at.partition): at.offset for at in found}

    def ends(self) -> dict[Partition, int]:
        """The next offset of every partition."""
        return {at: self._consumer.get_watermark_offsets(TopicPartition(*at), timeout=10)[1] for at in self._every}

    def progress(self, partitions: Sequence[Partition] | None = None) -> int:
        """How many records the group has done with."""
        done = self.committed()
        return sum(max(done[at], 0) - self.begin.get(at, 0) for at in partitions or done if at[0] != "alerts")

    def left(self) -> dict[Partition, int]:
        """How many records of its topics the group has not done with, where there are any."""
        end, done = self.ends(), self.committed()
        return {at: end[at] - max(done[at], 0) for at in end if at[0] != "alerts" and max(done[at], 0) != end[at]}

    def owned(self) -> list[set[Partition]]:
        """The partitions of each worker of the group; none while it is about to divide them anew."""
        try:
            group = self.admin.describe_consumer_groups([self.group])[self.group].result(10)
        except KafkaException:  # a broker that has just started looks for its groups
            return []
        if group.state.name != "STABLE":
            return []
        return [{(at.topic, at.partition) for at in one.assignment.topic_partitions} for one in group.members]

    def shared_by(self, workers: int) -> bool:
        """Whether so many workers have shared out everything."""
        owned = self.owned()
        wanted = [at for at in self._every if at[0] != "alerts"]
        return len(owned) == workers and sum(map(len, owned)) == len(wanted)

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Rows of the database."""
        return [json.loads(line) for line in sql(self.db, query).split("\n") if line]  # not at every U+0085

    def records(self, spans: Mapping[Partition, tuple[int, int]]) -> list[Message]:
        """The records of these spans of offsets."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "reader", "enable.auto.commit": False})
        wanted = sum(end - begin for begin, end in spans.values())
        found: list[Message] = []
        consumer.assign([TopicPartition(*at, begin) for at, (begin, end) in spans.items() if begin < end])
        deadline = time.monotonic() + 60
        while len(found) < wanted and time.monotonic() < deadline:
            for record in consumer.consume(10_000, 0.2):
                begin, end = spans[cast("str", record.topic()), cast("int", record.partition())]
                if begin <= cast("int", record.offset()) < end:
                    found.append(record)
        consumer.close()
        assert len(found) == wanted
        return found

    def produce(self, records: Iterable[Sent], partitioner: str = "murmur2_random") -> list[Message]:
        """Send records; what Kafka made of them, in their order."""
        config: dict[str, Any] = {"message.max.bytes": LARGEST_BYTES, "partitioner": partitioner}
        producer = Producer({"bootstrap.servers": self.kafka} | config)
        reports: dict[int, Message] = {}

        def report(number: int, error: KafkaError | None, message: Message) -> None:
            assert error is None
            reports[number] = message

        for number, (topic, key, value, headers) in enumerate(records):
            producer.produce(topic, value, key, headers=headers, on_delivery=partial(report, number))
            producer.poll(0)
        assert producer.flush(30) == 0
        return [reports[number] for number in range(len(reports))]


@dataclass(frozen=True)
class Ground:
    """The broker with its topics and the server, for all tests."""

    folder: Path
    kafka: str
    admin: AdminClient
    database: Database

    def place(self, name: str) -> Place:
        """A place that nobody else has."""
        place = Place(self, name)
        wait_until(place.set_back, 30, "a group that begins where the topics end")
        return place

    def ingest(self, file: Path) -> None:
        """All events of a file to the topics."""
        succeed(self.folder, "ingest", file, "--kafka", self.kafka)


def laid_out(folder: Path, kafka: str, database: Database) -> Ground:
    """A broker's topics as `topics create` makes them, and a server."""
    succeed(folder, "topics", "create", "--kafka", kafka, KAFKA__PARTITIONS=str(PARTITIONS))
    return Ground(folder, kafka, AdminClient({"bootstrap.servers": kafka, "log_level": 0}), database)
