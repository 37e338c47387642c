"""A wall clock that a test sets, for programs that it starts."""

from pathlib import Path

DAY_S = 86_400


class Clock:
    """So many days ahead of the host's clock, or behind; kept in a file that programs with `environ` look at."""

    def __init__(self, file: Path, *, days: int = 0) -> None:
        self._file = file
        self.environ = {"CHAOS_CLOCK": str(file), "PYTHONPATH": str(Path(__file__).parent)}
        self.set(days)

    def set(self, days: int) -> None:
        """It is so many days later than it is."""
        new = self._file.with_suffix(".new")
        new.write_text(str(days * DAY_S))
        new.replace(self._file)  # whoever looks meanwhile finds one of the two
