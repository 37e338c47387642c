"""Progress for who waits: a bar and the step under way on a terminal, a line a step elsewhere. On stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Watch:
    """Tells of so many runs, for a `with` block."""

    def __init__(self, runs: int) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"),
            console=self._console, transient=True, disable=not self._console.is_terminal,
            refresh_per_second=2,  # the bar shares the processors with what is measured
        )  # fmt: skip
        self._task = self._bar.add_task("", total=runs)

    def step(self, text: str) -> None:
        """What is under way from now on."""
        self._bar.update(self._task, description=text)
        if not self._console.is_terminal:
            self.say(f"{text} ...")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(f"{time.strftime('%H:%M:%S')} {text}", markup=False, highlight=False, soft_wrap=True)

    def advance(self) -> None:
        """One more run is over."""
        self._bar.advance(self._task)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
