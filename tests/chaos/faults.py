"""Faults besides kills: workers that sleep, stop or come and go, brokers and databases that fail, disks, clocks."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # public

from schemas.events import TOPICS
from streams.failpoints import VARIABLE
from tests.chaos.clock import Clock
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.scene import RIGHT_WITHIN_S, Outcome, Scene
from tests.chaos.stream import Stream
from tests.integration.broker import Broker
from tests.integration.program import PARTITIONS, Database, Ground, Program, laid_out, run, wait_until

STALL_MAX_S = 15.0  # of a rebalance
GROWTH_MAX_MB = 300.0  # of the workers together while the database is away
MANY_PARTITIONS = 12
DISK_MB = 400
LAST_BYTES = 100 << 20  # of a disk that fills up


@dataclass(frozen=True)
class Stage:
    """What all faults share. `scale` shortens outages, for a short run."""

    ground: Ground
    broker: Broker
    stream: Stream
    seed: int
    scale: float = 1.0

    def scene(self, name: str, *, ground: Ground | None = None, db: str | None = None, partitions: int = 4) -> Scene:
        """A scene of this fault."""
        return Scene(ground or self.ground, name, self.stream, seed=self.seed, db=db, partitions=partitions)


# --- workers -------------------------------------------------------------------------------------------------


def asleep(stage: Stage) -> Outcome:
    """SIGSTOP in the middle of a write until others own the partitions and have gone on, then SIGCONT."""
    points = ("events_stored", "before_commit", "rows_stored")
    with stage.scene("SIGSTOP, taken over, SIGCONT") as scene:
        scene.begin(1)
        for point in points:
            sleeper = scene.start({VARIABLE: f"{point}=stop@2"})
            wait_until(partial(_is_stopped, sleeper), 90, f"a worker that stops at {point}", *scene.workers)
            wait_until(lambda: scene.place.shared_by(1), 60, "its partitions taken over")
            scene.moves_on()
            scene.moves_on()
            sleeper.process.send_signal(signal.SIGCONT)
            wait_until(lambda: scene.place.shared_by(2), 60, "the sleeper back in the group", *scene.workers)
            scene.moves_on()
            assert sleeper.stop() == 0, sleeper.log()[-3000:]
            scene.drop(sleeper)
        return scene.outcome()


def _is_stopped(worker: Program) -> bool:
    return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED


def told_to_stop(stage: Stage) -> Outcome:
    """SIGTERM, Ctrl-C, Ctrl-C twice: each ends within seconds, and its successor goes on."""
    with stage.scene("SIGTERM, Ctrl-C, twice Ctrl-C") as scene:
        scene.begin(2)
        for signals in ((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT)):
            scene.moves_on()
            worker = scene.workers[0]
            for number in signals:
                worker.process.send_signal(number)
                time.sleep(0.2)
            code = worker.ended(20)
            assert code in (0, 130), f"after {signals} it ended with {code}: {worker.log()[-3000:]}"
            assert "Traceback" not in worker.log(), worker.log()[-3000:]
            scene.drop(worker)
            scene.start()
            wait_until(lambda: scene.place.shared_by(2), 60, "two workers that share", *scene.workers)
        return scene.outcome()


def come_and_go(stage: Stage) -> Outcome:
    """1 > 3 > 1 workers under load, then a rolling restart of three."""
    with stage.scene("workers 1 > 3 > 1, rolling restart") as scene:
        scene.begin(1)
        for workers in (3, 1, 3):
            scene.moves_on()
            while len(scene.workers) < workers:
                scene.start()
            for worker in scene.workers[workers:]:
                assert worker.stop() == 0, worker.log()[-3000:]
                scene.drop(worker)
            wait_until(partial(scene.place.shared_by, workers), 60, f"{workers} workers that share", *scene.workers)
        for worker in list(scene.workers):
            scene.moves_on()
            assert worker.stop() == 0, worker.log()[-3000:]
            scene.drop(worker)
            scene.start()
            wait_until(lambda: scene.place.shared_by(3), 60, "three workers that share", *scene.workers)
        outcome = scene.outcome()
        assert outcome.stall_s < STALL_MAX_S, f"nothing was committed for {outcome.stall_s:.1f} s"
        return outcome


# --- Kafka ---------------------------------------------------------------------------------------------------


def broker_killed(stage: Stage) -> Outcome:
    """kill -9 of the broker, and a start on the same data; twice."""
    with stage.scene("broker: kill -9, restart") as scene:
        scene.begin(2)
        for _ in range(2):
            scene.moves_on()
            stage.broker.kill()
            scene.kills += 1
            scene.settle(5)
            stage.broker.start()
            scene.moves_on(120)
        return scene.outcome()


def broker_unreachable(stage: Stage) -> Outcome:
    """The broker answers nobody for a minute."""
    with stage.scene("broker: no answer for 60 s") as scene:
        scene.begin(2)
        scene.moves_on()
        stage.broker.sleep()
        scene.settle(60 * stage.scale)
        stage.broker.wake()
        scene.moves_on(180)
        return scene.outcome()


def more_partitions(stage: Stage) -> Outcome:
    """4 to 12 partitions, as README tells; `status` warns while the topics differ."""
    folder = _folder(stage, "more-partitions")
    with _own_broker(folder) as broker:
        ground = laid_out(folder, broker.bootstrap, stage.ground.database)
        with stage.scene("partitions: 4 > 12", ground=ground, partitions=PARTITIONS) as scene:
            first = scene.begin(2)
            scene.moves_on()
            scene.feed.paused.set()
            wait_until(lambda: not scene.place.left(), 120, "drained while producers pause", *first)
            for worker in first:
                assert worker.stop() == 0, worker.log()[-3000:]
                scene.drop(worker)
            for topic in TOPICS:
                told = run(folder, "status", "--kafka", ground.kafka, "--db", scene.place.db)
                assert (f"should be {PARTITIONS}" in told.stdout) == (topic != TOPICS[0]), told.stdout
                made = ground.admin.create_partitions([NewPartitions(topic, MANY_PARTITIONS)])
                made[topic].result(30)
            scene.watch.look_at(MANY_PARTITIONS)
            scene.place.look_at(MANY_PARTITIONS)
            for _ in range(2):
                scene.start(KAFKA__PARTITIONS=str(MANY_PARTITIONS))
            scene.feed.paused.clear()
            scene.moves_on()
            return scene.outcome()


# --- ClickHouse ----------------------------------------------------------------------------------------------


def database_fails(stage: Stage, name: str, mode: Mode, seconds: float) -> Outcome:
    """The database misbehaves for so long: nothing piles up in the workers, and they stay in their group."""
    with Proxy(stage.ground.database.port) as proxy:
        place = f"http://127.0.0.1:{proxy.port}"
        with stage.scene(f"ClickHouse: {name}", db=place) as scene:
            scene.begin(2)
            scene.moves_on()
            before, tenures = scene.resident_mb(), _tenures(scene)
            proxy.mode = mode
            scene.settle(seconds * stage.scale)
            grown = scene.resident_mb() - before
            proxy.mode = "well"
            scene.moves_on(60)
            assert _tenures(scene) == tenures, "a worker left its group"
            assert grown < GROWTH_MAX_MB, f"the workers grew by {grown:.0f} MB"
            scene.note = f"memory {grown:+.0f} MB"
            return scene.outcome()


def _tenures(scene: Scene) -> int:
    return sum(worker.log().count("epoch ") for worker in scene.workers)


def two_on_one_folder(stage: Stage) -> Outcome:
    """A second process on an embedded database: it says who holds it, and the first one goes on."""
    folder = _folder(stage, "two-on-one-folder")
    with stage.scene("two processes on one embedded database", db=str(folder / "db")) as scene:
        (worker,) = scene.begin(1)
        scene.moves_on()
        for words in (("worker", "--kafka", scene.place.kafka), ("sql", "SELECT 1"), ("rebuild",)):
            second = run(folder, *words, "--db", scene.place.db)
            assert second.returncode == 2, second
            assert second.stderr.count("\n") == 1, second.stderr
            assert f"is in use by process {worker.process.pid}" in second.stderr, second.stderr
        scene.moves_on()
        scene.drain()
        scene.settle(RIGHT_WITHIN_S / 6)  # rows follow, and cannot be looked at
        assert worker.stop() == 0, worker.log()[-3000:]
        scene.drop(worker)
        return scene.outcome()


# --- disks and clocks ----------------------------------------------------------------------------------------


def disk_full_under_database(stage: Stage) -> Outcome:
    """No byte is left under the embedded database, then some are."""
    with _small_disk(_folder(stage, "small-database")) as disk:
        database = Database(disk)
        try:
            with stage.scene("disk full: database", ground=replace(stage.ground, database=database)) as scene:
                scene.begin(2)
                scene.moves_on()
                with _filled(disk):
                    scene.settle(20 * stage.scale)
                scene.moves_on(120)
                return scene.outcome()
        finally:
            database.kill()


def disk_full_under_kafka(stage: Stage) -> Outcome:
    """No byte is left under the broker, which ends; then some are, and it is started again."""
    with _small_disk(_folder(stage, "small-kafka")) as disk, _own_broker(disk) as broker:
        ground = laid_out(stage.ground.folder, broker.bootstrap, stage.ground.database)
        with stage.scene("disk full: Kafka", ground=ground) as scene:
            scene.begin(2)
            scene.moves_on()
            with _filled(disk):
                scene.settle(20 * stage.scale)
            broker.kill()
            broker.start()
            scene.moves_on(180)
            return scene.outcome()


def clock_jumps(stage: Stage) -> Outcome:
    """The workers' clock jumps a day ahead, two days back, and to where it was; their host is not in UTC anyway."""
    clock = Clock(_folder(stage, "clock") / "clock")
    with stage.scene("clock: a day ahead, two back") as scene:
        scene.begin(2, clock.environ)
        tomorrow = (datetime.now(UTC) + timedelta(1)).date().isoformat()
        for days in (1, -1, 0):
            scene.moves_on()
            clock.set(days)
            wait_until(lambda: _last_day(scene) == tomorrow, 60, "rows of the next day, which stay", *scene.workers)
            scene.settle(3)
        scene.moves_on()
        assert _last_day(scene) == tomorrow
        return scene.outcome()


def _last_day(scene: Scene) -> str:
    (found,) = scene.place.ask("SELECT max(day) AS day FROM seller_daily")
    return str(found["day"])


def _folder(stage: Stage, name: str) -> Path:
    folder = stage.ground.folder / f"{name}-{time.monotonic_ns()}"
    folder.mkdir()
    return folder


@contextmanager
def _own_broker(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    """Not a byte is free for the block; the last ones go after a while, as on a disk that fills up."""
    ballast = disk / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while shutil.disk_usage(disk).free > LAST_BYTES:
                file.write(bytes(1 << 16))
            time.sleep(2)
            while True:
                file.write(bytes(1 << 16))
    except OSError:
        yield
    finally:
        ballast.unlink()


FAULTS: dict[str, Callable[[Stage], Outcome]] = {
    "asleep": asleep,
    "signals": told_to_stop,
    "rebalances": come_and_go,
    "broker-killed": broker_killed,
    "broker-unreachable": broker_unreachable,
    "partitions": more_partitions,
    "clickhouse-refuses": partial(database_fails, name="unreachable for 120 s", mode="refusing", seconds=120),
    "clickhouse-500s": partial(database_fails, name="answers 500 for 30 s", mode="failing", seconds=30),
    "clickhouse-forgets": partial(database_fails, name="works, does not answer, 30 s", mode="forgetting", seconds=30),
    "clickhouse-slow": partial(database_fails, name="1 s late for 30 s", mode="slow", seconds=30),
    "two-processes": two_on_one_folder,
    "disk-database": disk_full_under_database,
    "disk-kafka": disk_full_under_kafka,
    "clock": clock_jumps,
}
