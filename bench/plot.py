"""The pictures of the results: events a second by subject, on a logarithmic scale, and how the whole job grows."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bench import ceilings, worker
from bench.growth import Grown, grown
from bench.peers import subjects as peers
from bench.targets import Rows

OURS, PEER, CEILING = "#d9480f", "#4c6ef5", "#adb5bd"
INK, FAINT = "#212529", "#dee2e6"
COLOURS: Mapping[str, str] = {
    **dict.fromkeys(ceilings.ROWS, CEILING),
    **dict.fromkeys(worker.ROWS, OURS),
    **dict.fromkeys(peers.ROWS, PEER),
}
LEGEND = {
    "Sellerpulse: every metric, every row, kept events, committed": OURS,
    "others: the one thing that their name says (and the whole job against it)": PEER,
    "ceilings: a single step, nothing else done": CEILING,
}


def plot_rates(file: Path, rows: Rows, machine: Mapping[str, str]) -> bool:
    """Write the picture as PNG; False if nothing that belongs in it was measured."""
    from matplotlib.patches import Patch

    plt = _pyplot()
    found = {row: median(run.value for run in runs) for row, runs in rows.items() if row in COLOURS}
    if not found:
        return False
    names = sorted(found, key=lambda row: found[row])
    figure, axes = plt.subplots(figsize=(10, 1.5 + 0.42 * len(names)), dpi=150, facecolor="white")
    places = range(len(names))
    axes.barh(places, [found[row] for row in names], color=[COLOURS[row] for row in names], height=0.68, zorder=2)
    axes.set_yticks(places, names)
    axes.set_xscale("log")
    axes.set_xlim(min(found.values()) / 4, max(found.values()) * 5)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()
    for place, name in enumerate(names):
        axes.text(found[name] * 1.08, place, _label(found, name), va="center", fontsize=9, color=INK)
    axes.set_xlabel(
        f"events a second ({machine['cores']} cores, Python {machine['Python']}, Kafka {machine['Kafka']})", color=INK
    )
    axes.grid(axis="x", color=FAINT, linewidth=0.8, zorder=0)
    axes.tick_params(axis="y", length=0, labelsize=9.5, labelcolor=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    shown = {COLOURS[name] for name in names}
    patches = [Patch(color=colour, label=label) for label, colour in LEGEND.items() if colour in shown]
    figure.legend(handles=patches, loc="lower center", frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, (0.15 + 0.2 * len(patches)) / figure.get_figheight(), 1, 1))
    figure.savefig(file)
    plt.close(figure)
    return True


def plot_growth(file: Path, rows: Rows) -> bool:
    """Write the picture as PNG, a field for each series; False if there is none."""
    plt, found = _pyplot(), grown(rows)
    if not found:
        return False
    size = (3.3 * len(found), 3.5)
    figure, fields = plt.subplots(1, len(found), figsize=size, dpi=150, facecolor="white", sharey=True, squeeze=False)
    for axes, (series, series_of) in zip(fields[0], found.items(), strict=True):
        _plot_series(axes, series, series_of)
    everything = [seconds for series_of in found.values() for seconds in series_of.seconds]
    fields[0][0].set_ylim(min(everything) / 2, max(everything) * 3)
    fields[0][0].yaxis.set_major_formatter("{x:,.0f}")
    fields[0][0].set_ylabel("seconds until every row is right", fontsize=9, color=INK)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
    return True


def _plot_series(axes: Any, series: str, found: Grown) -> None:
    """Both scales logarithmic: a straight line is a power, and its slope the exponent."""
    axes.plot(found.sizes, found.seconds, "o-", color=OURS, zorder=2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for size, seconds in zip(found.sizes, found.seconds, strict=True):
        axes.annotate(
            f"{seconds:,.1f} s", (size, seconds), (0, 7), textcoords="offset points", ha="center", fontsize=8, color=INK
        )
    axes.margins(x=0.18)
    axes.minorticks_off()
    axes.set_xticks(found.sizes, [f"{size:,.0f}" for size in found.sizes], fontsize=8)
    axes.set_title(f"{series}: {found.told(series)}", fontsize=9, color=INK)
    axes.grid(color=FAINT, linewidth=0.8, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _pyplot() -> Any:
    """Matplotlib without a screen."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def _label(found: Mapping[str, float], row: str) -> str:
    """The rate, and how many times as fast the whole job is where it is faster."""
    told, whole = f"{found[row]:,.0f}", found.get(worker.WHOLE)
    if whole is None or row not in peers.ROWS:
        return told
    times = whole / found[row]
    return f"{told}   ({times:,.0f} x)" if times >= 10 else f"{told}   ({times:.1f} x)"
