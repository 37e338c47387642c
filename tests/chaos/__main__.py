"""`python -m tests.chaos`: every fault under load against the real broker, and one table of what was lost.

Exit 0 if nothing was lost, doubled or different, 1 else.
"""

import argparse
import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.faults import FAULTS, Stage
from tests.chaos.kills import ANY_MOMENT, OF_WORKERS, kill_replays, kill_workers
from tests.chaos.scene import Outcome, alone
from tests.chaos.stream import make

OF_REPLAYS = ("fed", ANY_MOMENT)
REPLAYS = 10  # kills of each
HEADINGS = ("fault", "kills", "events", "lost", "doubled", "differing rows", "longest stall", "seen")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    names = [*(f"kill-{point}" for point in OF_WORKERS), *(f"replay-{point}" for point in OF_REPLAYS), *FAULTS]
    names = [name.replace(" ", "-") for name in names]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="of workers and replays together, at least")
    parser.add_argument("--events", type=int, default=40_000, metavar="N", help="of the stream before any comes twice")
    parser.add_argument("--seed", type=int, default=1, help="of the stream and of every choice")
    parser.add_argument("--scale", type=float, default=1.0, help="of the outages' length")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="FAULT", help=", ".join(names))
    parser.add_argument("--output", type=Path, default=Path("chaos.json"), metavar="FILE", help="where the table goes")
    return parser.parse_args(words)


def _runs(stage: Stage, kills: int) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    each = max(1, math.ceil((kills - len(OF_REPLAYS) * REPLAYS) / len(OF_WORKERS)))
    for point in OF_WORKERS:
        yield f"kill-{point}", partial(kill_workers, stage.ground, stage.stream, (point,), each, stage.seed)
    for point in OF_REPLAYS:
        folder = stage.ground.folder
        yield f"replay-{point}", partial(kill_replays, folder, stage.stream, point, REPLAYS, stage.seed)
    for name, fault in FAULTS.items():
        yield name, partial(fault, stage)


def main(words: Sequence[str] | None = None) -> int:
    """Run the faults, print the table."""
    asked, console = _arguments(words), Console()
    outcomes: list[Outcome] = []
    failed: list[str] = []
    with alone() as (ground, broker):
        console.print(f"seed {asked.seed}: making {asked.events:,} events, and the tables of a clean run")
        stream = make(ground.folder, events=asked.events, seed=asked.seed)
        for name, fault in _runs(Stage(ground, broker, stream, asked.seed, asked.scale), asked.kills):
            if (name := name.replace(" ", "-")) in asked.only:
                _one(name, fault, outcomes, failed, console, asked.seed)
    console.print(_table(outcomes))
    asked.output.write_text(json.dumps([outcome._asdict() for outcome in outcomes], indent=1) + "\n")
    console.print(f"kills: {sum(outcome.kills for outcome in outcomes)}; the table is in {asked.output}")
    if failed:
        console.print(f"not as they should be: {', '.join(failed)}; seed {asked.seed}")
    return 1 if failed else 0


def _one(
    name: str, fault: Callable[[], Outcome], outcomes: list[Outcome], failed: list[str], console: Console, seed: int
) -> None:
    console.print(f"{name} ...")
    try:
        outcome = fault()
    except Exception:  # noqa: BLE001  # told, and the others have their turn
        traceback.print_exc()
        failed.append(name)
        return
    outcomes.append(outcome)
    if not outcome.is_good:
        failed.append(name)
        console.print(f"again by: python -m tests.chaos --seed {seed} --only {name}")
    console.print(" | ".join(_cells(outcome)))


def _cells(outcome: Outcome) -> list[str]:
    stall = f"{outcome.stall_s:.1f} s" if outcome.stall_s else ""
    numbers = (outcome.kills, outcome.events, outcome.lost, outcome.doubled, outcome.differing)
    return [outcome.fault, *(f"{number:,}" for number in numbers), stall, outcome.note]


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(*HEADINGS)
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    return table


if __name__ == "__main__":
    sys.exit(main())
