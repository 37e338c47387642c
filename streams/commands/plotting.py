"""A metric's curve over days: in a terminal, of dots in braille characters, or as a PNG.

Place in the flow: behind commands, drawing what they found. Knows numbers and days, no metric and no rule.
"""

from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from schemas.errors import ConfigurationError
from streams.core.metrics import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.figure import Figure

WIDTH, HEIGHT = 64, 8  # characters, each two dots wide and four high
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of a character, by column and row
_BLANK = 0x2800


class Curve(NamedTuple):
    """A value a day from day `first` on, NaN for null; the threshold it is held against; days worth a mark."""

    name: str
    first: int
    values: "Sequence[float]"
    threshold: float | None
    marks: dict[int, str]

    @property
    def last(self) -> int:
        """The last day."""
        return self.first + len(self.values) - 1


def in_terminal(curve: Curve, text_of: "Callable[[float], str]") -> list[str]:
    """The curve in lines: the threshold is dashed, marks are arrows under it. Empty where every value is null."""
    known = [value for value in curve.values if not isnan(value)]
    if not known:
        return []
    edges = [*known, *([] if curve.threshold is None else [curve.threshold])]
    low, high = min(edges), max(edges)

    def height(value: float) -> int:
        return round((value - low) / ((high - low) or 1) * (4 * HEIGHT - 1))

    cells = _dots([None if isnan(value) else height(value) for value in curve.values])
    labels = {0: text_of(high), HEIGHT - 1: text_of(low)}
    if curve.threshold is not None:
        row = HEIGHT - 1 - height(curve.threshold) // 4
        labels[row] = text_of(curve.threshold)
        cells[row] = [cell or ord("╌") - _BLANK for cell in cells[row]]
    margin = max(map(len, labels.values()))
    lines = [f"{labels.get(i, ''):>{margin}} ┤{_text(row)}" for i, row in enumerate(cells)]
    at = {round(_x(day - curve.first, curve) / 2): "▲" for day in curve.marks if curve.first <= day <= curve.last}
    axis = "".join(at.get(x, "─") for x in range(WIDTH))
    ends = f"{iso(curve.first)}{iso(curve.last):>{WIDTH - 10}}"
    return [*lines, f"{'':{margin}} └{axis}", f"{'':{margin}}  {ends}"]


def _x(index: int, curve: Curve) -> int:
    return round(index * (2 * WIDTH - 2) / max(len(curve.values) - 1, 1))


def _dots(heights: "Sequence[int | None]") -> list[list[int]]:
    """Rows of characters, as offsets in the braille block: each day's dots, joined to the day's before."""
    cells = [[0] * WIDTH for _ in range(HEIGHT)]
    span = max(len(heights) - 1, 1)
    before: int | None = None
    for x in range(2 * WIDTH):
        here = heights[min(x * span // (2 * WIDTH - 1), len(heights) - 1)]
        if here is not None:
            joined = here if before is None else before + (1 if here > before else -1 if here < before else 0)
            for y in range(min(here, joined), max(here, joined) + 1):
                cells[HEIGHT - 1 - y // 4][x // 2] |= _DOTS[x % 2][3 - y % 4]
        before = here
    return cells


def _text(row: list[int]) -> str:
    return "".join(chr(_BLANK + cell) if cell else " " for cell in row).rstrip()


def as_png(curves: "Sequence[Curve]", path: Path, unit: str) -> None:
    """Draw curves over each other, the first one with its threshold and marks. Raises ConfigurationError."""
    check_that_it_can()
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    for curve, style in zip(curves, ("-", "--"), strict=False):
        axes.step(range(curve.first, curve.last + 1), curve.values, style, where="post", label=curve.name)
    shown = curves[0]
    if shown.threshold is not None:
        axes.axhline(shown.threshold, color="tab:red", linewidth=1, linestyle=":", label="threshold")
    for day, told in shown.marks.items():
        if shown.first <= day <= shown.last:
            axes.axvline(day, color="grey", linewidth=1)
            axes.annotate(told, (day, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", ha="center", va="bottom", fontsize=8)  # fmt: skip
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_ylabel(unit)
    axes.legend(fontsize=8)
    save(figure, path)


def check_that_it_can() -> None:
    """Raises ConfigurationError where no PNG can be drawn."""
    if find_spec("matplotlib") is None:
        raise ConfigurationError("--png needs matplotlib: pip install 'sellerpulse[plot]'")


def save(figure: "Figure", path: Path) -> None:
    """Write a picture as a PNG. Raises ConfigurationError."""
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as failed:
        raise ConfigurationError(f"{path} cannot be written: {failed.strerror}") from failed
