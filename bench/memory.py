"""The resident memory of processes and all that they start, sampled from outside."""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import psutil

SAMPLE_S = 0.1
LOOK_AROUND_S = 1.0  # finding descendants reads every process of the machine: ten times a second that would show


class Memory:
    """Samples the trees of these processes, for a `with` block; one that has ended counts nothing."""

    def __init__(self, *roots: int) -> None:
        self.peak_mb = 0.0  # of all at one moment
        self.process_mb = 0.0  # of the largest
        self.samples: list[tuple[float, float]] = []  # time.monotonic() and MB of all, every SAMPLE_S
        self._roots = [psutil.Process(root) for root in roots]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def _sample(self) -> None:
        processes, looked = self._roots, float("-inf")
        while not self._over.wait(SAMPLE_S):
            if time.monotonic() - looked >= LOOK_AROUND_S:
                processes, looked = self._everyone(), time.monotonic()
            sizes = [_resident_mb(process) for process in processes]
            self.peak_mb = max(self.peak_mb, sum(sizes))
            self.samples.append((time.monotonic(), sum(sizes)))
            self.process_mb = max(self.process_mb, *sizes)

    def _everyone(self) -> list[psutil.Process]:
        everyone = list(self._roots)
        for root in self._roots:
            with suppress(psutil.NoSuchProcess):
                everyone += root.children(recursive=True)
        return everyone

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()


def _resident_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
