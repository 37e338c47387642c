"""Verdicts: which rows are in breach of which rule, what went before considered, and the alerts that this makes.

`judge` holds rows of any number of accounts and days against the rules at once, of a live worker as of a replay;
`history` reads the alerts that were off dense days. What pending, firing and cleared mean is defined here alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import NamedTuple

import numpy as np

from schemas.rows import DailyRows
from streams.core.metrics import Array, Columns
from streams.core.rules import BEYOND, EVERYWHERE, Condition, Rule, addends

QUIET = -1  # the severity of what is not in breach; others are an index of SEVERITIES


class Past(NamedTuple):
    """What went before the first rows of n accounts: at which severity an alert of theirs fires (QUIET: none does),
    and for how many days, the one of the first row not counted, a breach has held that fires nothing yet."""

    fired: Array
    held_days: Array


class Verdicts(NamedTuple):
    """What a rule says of n rows: `severity` (QUIET: no breach), and whether the breach `fires` or is pending.

    With the value, and the threshold it was held against.
    """

    severity: Array
    fires: Array
    value: Array
    threshold: Array

    @property
    def breach(self) -> Array:
        """Which rows are in breach."""
        result: Array = self.severity > QUIET
        return result


class _Row(NamedTuple):
    """What rows say without their past: the severity they reach, and the greatest that a firing alert keeps."""

    reached: Array
    kept: Array
    value: Array
    edges: list[Array]


def judge(rules: Iterable[Rule], rows: DailyRows, past: Mapping[str, Past] | None = None) -> dict[str, Verdicts]:
    """The verdicts of each rule on dense rows of some accounts, by the rule's name.

    `rows` hold what `metrics.snapshot` gives, NaN for null. What has no value, too small a sample or is silenced is
    in no breach, and keeps no alert. A rule that is silenced still silences others where its threshold is passed; one
    whose alert fires on until it clears silences as long. Without a `past`, by the rule's name, there was none.
    """
    sizes = np.asarray(rows.sizes, dtype=np.int64)
    silenced: dict[str, Array] = {}
    found: dict[str, Verdicts] = {}
    rules = list(rules)
    for rule in _silencing_first(rules):
        row = _held_against(rule, rows, sizes)
        said = row.reached > QUIET
        if (quiet := silenced.get(rule.name)) is not None:
            row = row._replace(reached=np.where(quiet, QUIET, row.reached), kept=np.where(quiet, QUIET, row.kept))
        severity, fires = _remembering(rule, row, sizes, past[rule.name] if past else None)
        for name in rule.silences:
            silenced[name] = said | (severity > QUIET) | silenced.get(name, False)
        threshold = row.edges[0]
        for rank, edge in zip(rule.ranks[1:], row.edges[1:], strict=True):
            threshold = np.where(severity >= rank, edge, threshold)
        found[rule.name] = Verdicts(severity, fires, row.value, threshold)
    return {rule.name: found[rule.name] for rule in rules}


def _silencing_first(rules: Sequence[Rule]) -> list[Rule]:
    """A rule comes after those that silence it, which is never a circle."""
    by_name = {rule.name: rule for rule in rules}
    order = TopologicalSorter({rule.name: () for rule in rules})
    for rule in rules:
        for name in rule.silences:
            order.add(name, rule.name)
    return [by_name[name] for name in order.static_order() if name in by_name]


def _held_against(rule: Rule, rows: DailyRows, sizes: Array) -> _Row:
    n = int(sizes.sum())
    reached, value = np.full(n, QUIET, dtype=np.int8), np.full(n, np.nan)
    kept = reached if rule.is_memoryless else reached.copy()
    edges = [_edges(rule, level, rows, sizes) for level in range(len(rule.levels))]
    beyond, before_clear = BEYOND[rule.comparison], BEYOND[rule.comparison[0]]
    for condition in rule.conditions:
        here = np.asarray(rows.columns[condition.metric], dtype=np.float64)
        enough = _enough(condition, rows.columns)
        value = np.where(np.isnan(value), here, value)
        for level, rank, edge in zip(rule.levels, rule.ranks, edges, strict=True):
            passed = enough & beyond(here, edge)
            if kept is not reached:
                stays = (passed if level.clear is None else enough & before_clear(here, level.clear)) & (kept < rank)
                kept[stays] = rank
                value[stays & (reached == QUIET)] = here[stays & (reached == QUIET)]
            worse = passed & (reached < rank)
            reached[worse], value[worse] = rank, here[worse]
    if rule.scope != EVERYWHERE:
        elsewhere = np.repeat(np.array([not rule.scope.has(account) for account in rows.accounts], dtype=bool), sizes)
        reached[elsewhere] = kept[elsewhere] = QUIET
    return _Row(reached, kept, value, edges)


def _edges(rule: Rule, level: int, rows: DailyRows, sizes: Array) -> Array:
    edge = float(rule.levels[level].threshold)
    if not rule.marketplaces:
        return np.full(int(sizes.sum()), edge)
    there = {name: float(thresholds[level]) for name, thresholds in rule.marketplaces.items()}
    return np.repeat(np.array([there.get(marketplace, edge) for _, marketplace in rows.accounts]), sizes)


def _enough(condition: Condition, columns: Columns) -> Array:
    enough: Array = np.asarray(True)
    for text, least in condition.minimum.items():
        sample = sum(np.asarray(columns[term], dtype=np.float64) for term in addends(text))
        enough = enough & (sample >= least)
    return enough


# --- memory --------------------------------------------------------------------------------------------------


def _remembering(rule: Rule, row: _Row, sizes: Array, past: Past | None) -> tuple[Array, Array]:
    """The severity of dense rows and whether it fires: the one place where pending, firing and clearing are defined.

    A breach is pending until its threshold has been passed on each day for `for_days`, then fires. What fires goes on
    until the value clears, and has of the levels the severest that was reached and has not cleared since.
    """
    reached, kept = row.reached, row.kept
    if rule.is_memoryless:
        return reached, reached > QUIET
    days, accounts = np.arange(len(reached)), len(sizes)
    past = past or Past(np.full(accounts, QUIET, dtype=np.int8), np.zeros(accounts, dtype=np.int64))
    firsts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    fired = np.repeat(past.fired, sizes)
    calm = np.maximum.accumulate(np.where(reached == QUIET, days, -1))
    held = np.where(calm < firsts, days - firsts + np.repeat(past.held_days, sizes), days - calm - 1)
    due = (reached > QUIET) & (held >= rule.for_days)
    fires = _latched(due, kept == QUIET, fired > QUIET, firsts)
    severity = reached.copy()
    for rank in rule.ranks:
        at_least = _latched(fires & (reached >= rank), kept < rank, fired >= rank, firsts)
        severity[at_least & (severity < rank)] = rank
    return severity, fires


def _latched(sets: Array, resets: Array, before: Array, firsts: Array) -> Array:
    """Whether of all rows since an account's first one the last that sets or resets sets; else as it was before."""
    last = np.maximum.accumulate(np.where(sets | resets, np.arange(len(sets)), -1))
    result: Array = np.where(last >= firsts, sets[last], before)
    return result


# --- the alerts that were ------------------------------------------------------------------------------------


class Episode(NamedTuple):
    """An alert as it was, in rows: where it began, fired or changed severity (`turns`, of which the first `pending`
    fired nothing), its last row in breach, the first one after.

    `account` is the position of the account; `resolved` is None while the account's last row is in breach.
    """

    account: int
    turns: Array
    pending: int
    last: int
    resolved: int | None

    @property
    def since(self) -> int:
        """Its first row in breach."""
        return int(self.turns[0])

    @property
    def firing(self) -> list[int]:
        """The rows where it began to fire, or fired with another severity."""
        firing: list[int] = self.turns[self.pending :].tolist()
        return firing


def history(verdicts: Verdicts, sizes: Sequence[int] | Array) -> list[Episode]:
    """Each maximal run of days in breach that fired or still may, in the order of the rows.

    Rows are dense and sorted by day, `sizes[i]` (at least one) of account i after those of the accounts before it.
    """
    severity, fires = verdicts.severity, verdicts.fires
    lengths = np.asarray(sizes, dtype=np.int64)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    before, after = np.roll(severity, 1), np.roll(severity, -1)
    before[starts] = after[ends - 1] = QUIET
    breach = severity > QUIET
    turns = np.flatnonzero(breach & ((severity != before) | (fires != np.roll(fires, 1))))
    begins = np.flatnonzero(before[turns] == QUIET)
    lasts = np.flatnonzero(breach & (after == QUIET))
    accounts = np.searchsorted(ends, lasts, side="right")
    pending = np.add.reduceat((~fires[turns]).astype(np.int64), begins) if len(begins) else begins
    found = [
        Episode(account, of_run, waited, last, last + 1 if last + 1 < end else None)
        for account, of_run, waited, last, end in zip(
            accounts.tolist(), np.split(turns, begins)[1:], pending.tolist(), lasts.tolist(), ends[accounts].tolist(),
            strict=True,
        )
    ]  # fmt: skip
    return [one for one in found if one.pending < len(one.turns) or one.resolved is None]
