"""Kills: workers that end as by kill -9 at a failpoint or at any moment, and replays that do."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import get_args

from streams.failpoints import VARIABLE, Failpoint
from tests.chaos.clock import Clock
from tests.chaos.scene import LOOK_S, Outcome, Scene, difference
from tests.chaos.stream import LAST_DAY, Stream, tables
from tests.integration.program import ALERTS, Ground, Program

WORKERS = 3
KILLED_WITHIN_S = 120.0
STIR_S = 15.0  # nobody came to a failpoint for so long: one is killed all the same, which moves partitions
A_KILL_S = 10.0  # a dead worker is taken for one for so long, and keeps the others waiting
ANY_MOMENT = "any moment"
MOMENTS_S = (0.3, 6.0)
# Replays; tests/integration/test_receivers.py, test_polls.py and test_forget.py.
ELSEWHERE = {"fed", "alerts_stored", "before_notify", "after_notify", "acknowledged"} | {
    point for point in get_args(Failpoint) if point.startswith("forget_")
}
OF_WORKERS = (*(point for point in get_args(Failpoint) if point not in ELSEWHERE), ANY_MOMENT)

Armed = tuple[dict[str, str], float]  # environment of a worker to come, and after how many seconds it is killed


def kill_workers(ground: Ground, stream: Stream, points: Sequence[str], kills: int, seed: int) -> Outcome:
    """Three workers that come to these failpoints; one that is killed is started again at once, so many times.

    Raises AssertionError if no worker came to one, or one ended otherwise.
    """
    name = f"kill -9: {points[0] if len(points) == 1 else 'everywhere'}"
    with Scene(ground, name, stream, seed=seed, lasts_s=kills * A_KILL_S) as scene:
        plan = _plan(points, scene.rng, ground.folder)
        doomed: dict[Program, float] = {}

        def start() -> None:
            environ, after_s = next(plan)
            doomed[scene.start(environ)] = time.monotonic() + after_s

        for _ in range(WORKERS):
            start()
        scene.load()
        last, came = time.monotonic(), 0
        while scene.kills < kills:
            if time.monotonic() - last > STIR_S:
                doomed[scene.rng.choice(scene.workers)] = 0
            for worker in list(scene.workers):
                came += not worker.runs()
                if time.monotonic() > doomed[worker]:
                    worker.kill()
                if not worker.runs():
                    assert worker.process.returncode == -signal.SIGKILL, worker.log()[-3000:]
                    scene.drop(worker)
                    scene.kills, last = scene.kills + 1, time.monotonic()
                    start()
            time.sleep(LOOK_S)
        assert came or points == (ANY_MOMENT,), f"no worker came to {', '.join(points)}"
        scene.note = f"{came} there" if came else ""
        for worker in list(scene.workers):  # they are still armed
            worker.kill()
            scene.drop(worker)
            scene.kills += 1
        for _ in range(WORKERS):
            scene.start()
        return scene.outcome()


def _plan(points: Sequence[str], rng: Random, folder: Path) -> Iterator[Armed]:
    """The workers to come. Only a later day turns: each worker has a day more by its clock, where one may be told."""
    for n, point in zip(count(), cycle(points), strict=False):
        if point == ANY_MOMENT:
            yield {}, rng.uniform(*MOMENTS_S)
        elif point == "turned":
            yield {VARIABLE: "turned=kill"} | Clock(folder / f"clock-{n}", days=n).environ, float("inf")
        else:
            yield {VARIABLE: f"{point}=kill@{rng.randint(1, 3)}"}, float("inf")


def kill_replays(folder: Path, stream: Stream, point: str, kills: int, seed: int) -> Outcome:
    """A replay that is killed so many times, with all its processes, and started again each time."""
    name = f"kill -9 of a replay: {point}"
    rng, db = Random(f"{seed} {name}"), folder / name.replace(" ", "-").replace(":", "")
    words = ("replay", stream.file, "--db", db, "--as-of", LAST_DAY)
    killed = 0
    while killed < kills:
        within_s = rng.uniform(*MOMENTS_S) if point == ANY_MOMENT else KILLED_WITHIN_S
        armed = {} if point == ANY_MOMENT else {"FAILPOINTS": f"{point}=kill@{rng.randint(1, 9)}"}
        with Program(folder, *words, **armed) as replay:
            until = time.monotonic() + within_s
            while replay.runs() and time.monotonic() < until:
                time.sleep(0.02)
            assert replay.process.returncode in (None, 0, -signal.SIGKILL), replay.log()[-3000:]
            killed += replay.process.returncode != 0
            with suppress(ProcessLookupError):
                os.killpg(replay.process.pid, signal.SIGKILL)
            replay.process.wait()
    with Program(folder, *words) as replay:
        assert replay.ended(300) == 0, replay.log()[-3000:]
    found = difference(tables(db, more=ALERTS), stream.replayed)
    return Outcome(name, killed, len(stream.records), *found, 0.0)
