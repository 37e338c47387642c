"""One statement that computes rows of `seller_daily` from the stored events, for any number of accounts at once.

It says in SQL what `streams.core` says in Python, in the same three steps: what stories say (`sink.said`), the steps of
every counter by day, rows as prefix sums of them (`Calendar`). Windows and formulas come from the same catalogue. It
costs a third of a second however little it computes, and some three microseconds of processor time an event: for an
event at a time the fold is better, for a thousand accounts this is. Tests hold the two against each other cell by cell.

Read it from the bottom up. Days are numbers since the epoch, times epoch ms; 0 is "never".
"""

from collections.abc import Sequence

from schemas.rows import EPOCH_BITS
from sink.said import A_DAY, ACCOUNT, WORDS, changes, day, ms
from streams.core.metrics import (
    COUNTERS,
    FOREVER,
    METRICS,
    MONDAY,
    SURVEY_COLUMNS,
    SURVEY_COUNTERS,
    Terms,
    monday_of,
    snapshot_sql,
    spread,
)


def recompute(terms: Terms, accounts: str, *, first: int, as_of: int, epoch: int | None) -> str:
    """The SELECT of the rows of the days `first` to `as_of`: key, day, version, whether it is the last, every metric.

    `accounts` is a condition on seller_id and marketplace_id; all of them are judged by these terms. A row's version
    is that epoch, then the number of its account's events; without an epoch there is neither that nor the next.
    """
    version = f", bitOr(bitShiftLeft(toUInt64({epoch}), {EPOCH_BITS}), events), day = {as_of}"
    version = "" if epoch is None else version
    metrics = snapshot_sql(terms)
    columns = ",\n    ".join(_typed(metric.type, metrics[metric.name]) for metric in METRICS)
    by_day = ", ".join(["day", "last_event_time", *(counter.name for counter in COUNTERS), *_EVALUATIONS])
    return f"""
SELECT seller_id, marketplace_id, toDate(day){version},
    {columns}
FROM (
    SELECT seller_id, marketplace_id, events, {by_day}
    FROM ({_accounts(terms, accounts, first, as_of)}) ARRAY JOIN {by_day}
)"""


def _typed(clickhouse_type: str, expression: str) -> str:
    """An expression of `snapshot_sql` as a value of its column."""
    if clickhouse_type == "Nullable(Date)":
        return f"if({expression} < 0, NULL, toDate({expression}))"
    if clickhouse_type.startswith("DateTime64"):
        return f"fromUnixTimestamp64Milli({expression}, 'UTC')"
    return expression


# --- rows: counters summed up, day by day --------------------------------------------------------------------

# A step as one number, since those are fast to sort: its counter, its day, and the step itself, which is 0 only where a
# counter begins.
_COUNTER_AT, _DAY_AT = 56, 36
_NO_STEP, _STEP_MASK, _DAY_MASK = 1 << 35, (1 << 36) - 1, (1 << 20) - 1
_DAY_OF_MOVE = f"bitAnd(bitShiftRight(move, {_DAY_AT}), {_DAY_MASK})"
_EVALUATIONS = [f"cs_{of}_{name}" for of, names in SURVEY_COLUMNS.items() for name in names]


def _accounts(terms: Terms, accounts: str, first: int, as_of: int) -> str:
    """Accounts with arrays of as many values as they have rows: the latest event, every counter, the survey's weeks."""
    step = f"toInt64(counter) * {1 << _COUNTER_AT} + day * {1 << _DAY_AT} + step + {_NO_STEP}"
    row = f"greatest({_DAY_OF_MOVE} - first_row, 0)"
    names = [counter.name for counter in COUNTERS]
    return f"""
SELECT seller AS seller_id, marketplace AS marketplace_id, toUInt64(events) AS events,
    toInt64(length(latest)) AS size, {as_of} + 1 - size AS first_row,
    range(first_row, {as_of} + 1) AS day, latest AS last_event_time,
    arraySort(arrayConcat(
        arrayMap(counter -> counter * {1 << _COUNTER_AT}, range({len(names)}::Int64)), moves)) AS sorted,
    {_summed("counted", names, "sorted", row, "size")},
    {_evaluated(terms, as_of)}
FROM ({_latest(accounts, first, as_of)}) AS every
LEFT ANY JOIN (
    SELECT account, groupArray({step}) AS moves
    FROM ({_steps(terms, accounts, as_of)}) GROUP BY account
) AS moved ON every.account = moved.account"""


def _summed(what: str, names: Sequence[str], moves: str, place: str, size: str, first: int = 0) -> str:
    """Columns `names`: the sums of so many counters, from the `first` on, at each of `size` places.

    `moves` are steps as numbers, sorted, `place` is where a `move` belongs. The sums are computed as one array, the
    places of one counter after those of another: a prefix sum over all of it, less that where the counter begins.
    """
    each = ",\n    ".join(f"arraySlice({what}, {n} * {size} + 1, {size}) AS {name}" for n, name in enumerate(names))
    at = f"(bitShiftRight(move, {_COUNTER_AT}) - {first}) * {size} + {place}"
    return f"""arrayMap(move -> {at}, {moves}) AS {what}_at,
    arrayMap(move -> bitAnd(move, {_STEP_MASK}), {moves}) AS {what}_steps,
    arrayCumSum(step -> if(step = 0, 0, step - {_NO_STEP}), {what}_steps) AS {what}_sums,
    arrayMap((sum, before) -> sum - before,
        {what}_sums, arrayFill((sum, step) -> step = 0, {what}_sums, {what}_steps)) AS {what}_counts,
    {_every(f"{what}_at", f"{what}_counts", f"{len(names)} * {size}")} AS {what},
    {each}"""


def _evaluated(terms: Terms, as_of: int) -> str:
    """Columns: of every day the evaluation of the survey on its week's Monday, and the one on show since then.

    An evaluation is of the days before the Monday, and so are the sums that weeks begin with.
    """
    first, last_monday = SURVEY_COUNTERS.start, monday_of(as_of)
    responses, conversations, solved = (f"week_{name}" for name in SURVEY_COLUMNS["week"])
    week = f"greatest(intDiv({_DAY_OF_MOVE} - first_monday, 7) + 1, 0)"
    summed = _summed("weeks", (responses, conversations, solved), "surveyed", week, "weeks_size", first)
    by_day = ",\n    ".join(
        f"arraySlice(arrayFlatten(arrayMap(of_week -> arrayWithConstant(7, of_week), {by_week})),"
        f" first_row - first_monday + 1, size) AS {name}"
        for name, by_week in zip(
            _EVALUATIONS, (responses, conversations, solved, "shown.1", "shown.2", "shown.3"), strict=True
        )
    )
    return f"""first_day - (first_day - {MONDAY}) % 7 AS first_monday, range(first_monday, {as_of} + 1, 7) AS mondays,
    toInt64(length(mondays)) AS weeks_size,
    arrayFilter(move -> move >= {first << _COUNTER_AT} AND {_DAY_OF_MOVE} < {last_monday}, sorted) AS surveyed,
    {summed},
    arrayFill(week -> week.1 >= 0, arrayMap(
        (monday, responses, conversations, solved) -> if(
            responses >= {terms.cs_min_responses} AND conversations > 0, (monday, conversations, solved), (-1, 0, 0)),
        mondays, {responses}, {conversations}, {solved})) AS shown,
    {by_day}"""


def _latest(accounts: str, first: int, as_of: int) -> str:
    """Accounts that have rows, how many events they have in all, and the latest by the end of each row's day.

    What happened before `first` is put on that day, here and in the sums: from there on they are the same.
    """
    each = " UNION ALL ".join(
        f"SELECT {ACCOUNT}, seller_id, marketplace_id, {ms('event_time')} AS t FROM {table} FINAL WHERE {accounts}"
        for table in ("stored_order_events", "stored_feedback_events", "stored_survey_events")
    )
    return f"""
SELECT account, seller, marketplace, events, first_day, {_every("days.1", "days.2", f"{as_of} + 1")} AS latest
FROM (
    SELECT account, any(seller) AS seller, any(marketplace) AS marketplace, sum(n) AS events, min(day) AS first_day,
        arraySort(groupArrayIf((greatest(day, {first}), latest), day <= {as_of})) AS days
    FROM (
        SELECT account, any(seller_id) AS seller, any(marketplace_id) AS marketplace,
            {day("t")} AS day, max(t) AS latest, count() AS n
        FROM ({each}) GROUP BY account, day
    ) GROUP BY account HAVING notEmpty(days)
)"""


def _every(begins: str, values: str, end: str) -> str:
    """Values that hold from one place to the next, of places that are sorted, as values of every place before `end`."""
    return f"""arrayFlatten(arrayMap((value, this, next) -> arrayWithConstant(next - this, toInt64(value)),
            {values}, {begins}, arrayPushBack(arrayPopFront({begins}), {end})))"""


def _steps(terms: Terms, accounts: str, as_of: int) -> str:
    """The steps of counters by day, up to the as-of day: up where a word enters a window, down where it leaves."""
    spreads = spread(terms)
    counted = ", ".join(
        str([(*counter, amount) for fact, amount in word.items() if amount for counter in spreads[fact]])
        for word in WORDS
    )
    return f"""
SELECT account, move.1 AS day, move.2 AS step, counter FROM (
    SELECT account, toInt8(at.1) AS counter, times * at.4 AS amount,
        toInt64(intDiv(said, {A_DAY})) + at.3 AS begins, begins + at.2 AS leaves, greatest(since, begins) AS enters
    FROM ({changes(terms, accounts, as_of)})
    ARRAY JOIN ([{counted}]::Array(Array(Tuple(Int32, Int64, Int64, Int64))))[said % {A_DAY}] AS at
    WHERE enters < leaves
) ARRAY JOIN [(toInt32(enters), amount), (toInt32(least(leaves, {FOREVER})), -amount)] AS move
WHERE day <= {as_of}"""
