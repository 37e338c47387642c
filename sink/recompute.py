"""One statement that computes rows of `seller_daily` from the stored events, for any number of accounts at once.

It says in SQL what `streams.core` says in Python, in the same three steps: what a story says (`stories`), the steps of
every counter by day (`points`), rows as prefix sums (`Calendar`). Windows and formulas come from the same catalogue.
It costs a tenth of a second however little it computes, and some four microseconds of processor time an event: for an
event at a time the fold is better, for a thousand accounts this is. Tests hold the two against each other cell by cell.

Read it from the bottom up. Days are numbers since the epoch, times epoch ms; 0 is "never".
"""

from schemas.rows import EPOCH_BITS
from streams.core.metrics import COUNTERS, FOREVER, METRICS, MONDAY, SURVEY_COUNTERS, Fact, Terms, snapshot_sql, spread

_MS_A_DAY = 86_400_000

# What an order's story says at the end of a day, one number a fact: the day that dates it times 8, plus its amount.
_OF_ORDERS: dict[Fact, str] = {
    "orders": "placed",
    "positive": "if(stars >= 4, rated, 0)",
    "neutral": "if(stars = 3, rated, 0)",
    "negative": "if(is_negative, rated, 0)",
    "stars": "if(stars = 0, 0, rated - 1 + stars)",
    "arrived_on_time_answers": "if(answers[1] = 0, 0, rated)",
    "arrived_on_time_yes": "if(answers[1] = 2, rated, 0)",
    "item_as_described_answers": "if(answers[2] = 0, 0, rated)",
    "item_as_described_yes": "if(answers[2] = 2, rated, 0)",
    "customer_service_answers": "if(answers[3] = 0, 0, rated)",
    "customer_service_yes": "if(answers[3] = 2, rated, 0)",
    "received_orders": "received",
    "problem_free_orders": "if(is_late OR is_negative OR is_spoilt OR is_claimed OR is_charged_back, 0, received)",
    "odr_negative": "if(is_negative, placed, 0)",
    "odr_claims": "if(is_claimed, placed, 0)",
    "odr_chargebacks": "if(is_charged_back, placed, 0)",
    "odr_defects": "if(is_negative OR is_claimed OR is_charged_back, placed, 0)",
    "odr_orders_seller": "if(is_theirs, 0, placed)",
    "odr_defects_seller": "if(is_theirs OR NOT (is_negative OR is_claimed OR is_charged_back), 0, placed)",
}
_OF_SURVEYS: tuple[Fact, ...] = ("cs_responses", "cs_running_conversations", "cs_running_solved")
_FACTS: tuple[Fact, ...] = (*_OF_ORDERS, *_OF_SURVEYS)  # in the statement a fact is its place here, from 1

_SPOILT, _CLAIM_OPENED, _CLAIM_DENIED, _SUBMITTED, _GONE = 4, 6, 7, 8, 9
_KINDS = {
    "PLACED": 1, "SHIPPED": 2, "DELIVERED": 3, "CANCELLED": _SPOILT, "RETURNED": _SPOILT, "CHARGEBACK": 5,
    "CLAIM_OPENED": _CLAIM_OPENED, "CLAIM_DENIED": _CLAIM_DENIED,
    "SUBMITTED": _SUBMITTED, "REMOVED": _GONE, "STRUCK": _GONE,
}  # fmt: skip
# A number for an account, since strings are slow to group by: 128 bits, so that no two accounts share one.
_ACCOUNT = "sipHash128(seller_id, marketplace_id) AS account"
_RANK = "reinterpretAsUInt64(digest) AS rank"


def recompute(terms: Terms, accounts: str, *, first: int, as_of: int, epoch: int | None) -> str:
    """The SELECT of the rows of the days `first` to `as_of`, with key, day, version and every metric, in that order.

    `accounts` is a condition on seller_id and marketplace_id; all of them are judged by these terms. A row's version
    is that epoch, then the number of its account's events; there is none without an epoch.
    """
    version = "" if epoch is None else f", bitOr(bitShiftLeft(toUInt64({epoch}), {EPOCH_BITS}), events)"
    metrics = snapshot_sql(terms)
    columns = ",\n    ".join(_typed(metric.type, metrics[metric.name]) for metric in METRICS)
    return f"""
WITH if(shown.1 = 0, -1, shown.1) AS cs_shown_week,
    shown.2 AS cs_shown_conversations, shown.3 AS cs_shown_solved
SELECT seller_id, marketplace_id, toDate(day){version},
    {columns}
FROM ({_rows(terms, accounts, first, as_of)}) AS rows
LEFT ANY JOIN ({_evaluations(terms, accounts, as_of)}) AS evaluated
ON rows.account = evaluated.account AND (rows.day - (rows.day - {MONDAY}) % 7) = evaluated.monday"""


def _typed(clickhouse_type: str, expression: str) -> str:
    """An expression of `snapshot_sql` as a value of its column."""
    if clickhouse_type == "Nullable(Date)":
        return f"if({expression} < 0, NULL, toDate({expression}))"
    if clickhouse_type.startswith("DateTime64"):
        return f"fromUnixTimestamp64Milli({expression}, 'UTC')"
    return expression


# --- rows: counters summed up, day by day --------------------------------------------------------------------


def _rows(terms: Terms, accounts: str, first: int, as_of: int) -> str:
    """Every day of every account with its counters and its latest event.

    What happened before `first` is put on that day: the sums from there on are the same.
    """
    names = [counter.name for counter in COUNTERS]
    sums = ",\n    ".join(f"anyIf(by_day, counter = {i}) AS {name}_sums" for i, name in enumerate(names))
    # An account whose counter never moved has no sums of it.
    dense = ",\n    ".join(f"{_to_the_left(f'{name}_sums')} AS {name}" for name in names)
    return f"""
SELECT * FROM (
    SELECT account, seller AS seller_id, marketplace AS marketplace_id, toUInt64(events) AS events,
        range({as_of} + 1 - size, {as_of} + 1) AS day, {_to_the_left("latest")} AS last_event_time,
        {dense}
    FROM ({_every_day(accounts, first, as_of)}) AS every
    LEFT ANY JOIN (
        SELECT account, {sums} FROM ({_sums(terms, accounts, first, as_of)}) GROUP BY account
    ) AS counted ON every.account = counted.account
) ARRAY JOIN day, last_event_time, {", ".join(names)}"""


def _to_the_left(sums: str) -> str:
    """Values of the last days as values of all `size` of them."""
    return f"arrayConcat(arrayWithConstant(toUInt32(size - length({sums})), toInt64(0)), {sums})"


def _sums(terms: Terms, accounts: str, first: int, as_of: int) -> str:
    """The sums of every counter that moved, one a day from its first step to the as-of day."""
    return f"""
SELECT account, counter, {_every("moves.1", "arrayCumSum(moves.2)", as_of)} AS by_day FROM (
    SELECT account, counter, arraySort(groupArray((greatest(day, {first}), step))) AS moves
    FROM ({_steps(terms, _changes(terms, accounts, as_of), as_of)}) GROUP BY account, counter
)"""


def _every_day(accounts: str, first: int, as_of: int) -> str:
    """Accounts that have rows, for how many days, with the latest event by the end of each; how many events in all."""
    each = " UNION ALL ".join(
        f"SELECT {_ACCOUNT}, seller_id, marketplace_id, {_ms('event_time')} AS t FROM {table} FINAL WHERE {accounts}"
        for table in ("stored_order_events", "stored_feedback_events", "stored_survey_events")
    )
    return f"""
SELECT account, seller, marketplace, events, {as_of} + 1 - days[1].1 AS size,
    {_every("days.1", "days.2", as_of)} AS latest
FROM (
    SELECT account, any(seller) AS seller, any(marketplace) AS marketplace, sum(n) AS events,
        arraySort(groupArrayIf((greatest(day, {first}), latest), day <= {as_of})) AS days
    FROM (
        SELECT account, any(seller_id) AS seller, any(marketplace_id) AS marketplace,
            {_day("t")} AS day, max(t) AS latest, count() AS n
        FROM ({each}) GROUP BY account, day
    ) GROUP BY account HAVING notEmpty(days)
)"""


def _every(days: str, values: str, as_of: int) -> str:
    """Values of some days, sorted, of which equal ones may be several, as values of every day up to the as-of day."""
    until = f"arrayPushBack(arrayPopFront({days}), {as_of} + 1)"
    return f"""arrayFlatten(arrayMap(
        (value, day, next) -> arrayWithConstant(toUInt32(next - day), toInt64(value)), {values}, {days}, {until}))"""


def _steps(terms: Terms, changes: str, as_of: int) -> str:
    """The steps of counters by day, up to the as-of day: up where a fact enters its window, down where it leaves."""
    spreads = spread(terms)
    counters = ", ".join(f"[{', '.join(str(entry) for entry in spreads[fact])}]" for fact in _FACTS)
    return f"""
SELECT account, move.1 AS day, move.2 AS step, counter FROM (
    SELECT account, toInt8(at.1) AS counter, toInt32(amount) AS amount,
        toInt64(dated) + at.3 AS begins, begins + at.2 AS leaves, greatest(toInt64(since), begins) AS enters
    FROM ({changes}) ARRAY JOIN ([{counters}]::Array(Array(Tuple(Int32, Int64, Int64))))[fact] AS at
    WHERE enters < leaves
) ARRAY JOIN [(toInt32(enters), amount), (toInt32(least(leaves, {FOREVER})), -amount)] AS move
WHERE day <= {as_of}"""


# --- what stories say ----------------------------------------------------------------------------------------


def _changes(terms: Terms, accounts: str, as_of: int) -> str:
    """What stories say anew or no more: `amount` more of a fact, dated `dated`, in the rows `since` that day."""
    return f"""
SELECT account, fact, at.1 AS since, intDiv(said, 8) AS dated, sum(at.2 * toInt32(said % 8)) AS amount
FROM ({_orders(terms, accounts)}) ARRAY JOIN [(start, 1), (until, -1)] AS at
WHERE since <= {as_of} GROUP BY account, fact, since, dated HAVING amount != 0
UNION ALL
{_surveys(accounts)}"""


def _orders(terms: Terms, accounts: str) -> str:
    """What orders' stories say at the end of each of their days, true of the rows from `start` until the next one."""
    return f"""
SELECT account, start, until, fact, said FROM (
    SELECT account, start, until, [{", ".join(_OF_ORDERS.values())}] AS says FROM (
        SELECT account, at.1 AS now, at.2 AS start, at.3 AS until,
            at.4 = 2 AS is_theirs, at.5 AS deliver_by, at.6 = {_CLAIM_OPENED} AS is_claimed,
            at.7 AS rating, rating.1 = {_SUBMITTED} AS is_rated,
            if(is_rated, rating.3, 0) AS stars, stars IN (1, 2) AS is_negative,
            if(is_rated, {_dated("rating.2")}, 0) AS rated,
            [rating.4 % 3, intDiv(rating.4, 3) % 3, intDiv(rating.4, 9)] AS answers,
            if({_by_now("first_placed")}, {_dated("first_placed")}, 0) AS placed,
            multiIf(
                {_by_now("first_delivered")}, first_delivered,
                NOT {_by_now("first_shipped")}, 0,
                deliver_by = 0, first_shipped + {terms.receipt_days * _MS_A_DAY},
                greatest(first_shipped, deliver_by)) AS receipt,
            if(receipt = 0, 0, {_dated("receipt")}) AS received,
            deliver_by != 0 AND receipt > deliver_by AND NOT is_theirs AS is_late,
            {_by_now("first_spoilt")} AS is_spoilt, {_by_now("first_charged_back")} AS is_charged_back
        FROM ({_stories(accounts)}) ARRAY JOIN ends AS at
    )
) ARRAY JOIN arrayEnumerate(says) AS fact, says AS said WHERE said != 0"""


def _stories(accounts: str) -> str:
    """Every order's story: when things first happened, and what was told last at the `ends` of its days.

    An end: time, day, day of the next one, whose fulfilment, deliver_by, claim, rating (code, time, stars, answers).
    """
    return f"""
SELECT account, first_placed, first_shipped, first_delivered, first_spoilt, first_charged_back,
    story.1 AS times, arrayMap(t -> {_day("t")}, times) AS days, story.4 AS codes,
    arrayFilter(end -> end.2 != end.3, arrayZip(
        times, days, arrayPushBack(arrayPopFront(days), {FOREVER}::Int32),
        arrayFill(theirs -> theirs != 0, story.5), arrayFill(by -> by != 0, story.6),
        arrayFill(code -> code IN ({_CLAIM_OPENED}, {_CLAIM_DENIED}), codes),
        arrayFill(rating -> rating.1 IN ({_SUBMITTED}, {_GONE}), arrayZip(codes, times, story.7, story.8)))) AS ends
FROM (
    SELECT account, arraySort(groupArray((t, event_id, rank, code, theirs, by, stars, answers))) AS story,
        minIf(t, code = 1) AS first_placed, minIf(t, code = 2) AS first_shipped, minIf(t, code = 3) AS first_delivered,
        minIf(t, code = {_SPOILT}) AS first_spoilt, minIf(t, code = 5) AS first_charged_back
    FROM ({_order_events(accounts)}) GROUP BY account, order_id
)"""


def _order_events(accounts: str) -> str:
    """Events of orders as numbers; 0: not told. Of an answer, 1 is no and 2 is yes; three of them make one number."""
    codes = f"[{', '.join(map(repr, _KINDS))}], [{', '.join(map(str, _KINDS.values()))}]"
    told = f"{_ACCOUNT}, order_id, {_ms('event_time')} AS t, event_id, {_RANK}"
    told += f", transform(kind, {codes}, 0)::UInt8 AS code"
    answers = " + ".join(
        f"{times} * if(isNull({question}), 0, 1 + {question})"
        for times, question in ((1, "arrived_on_time"), (3, "item_as_described"), (9, "customer_service"))
    )
    return f"""
SELECT {told}, multiIf(isNull(fulfilment), 0, fulfilment = 'MARKETPLACE', 2, 1)::UInt8 AS theirs,
    ifNull({_ms("deliver_by")}, 0)::Int64 AS by, 0::UInt8 AS stars, 0::UInt8 AS answers
FROM stored_order_events FINAL WHERE {accounts}
UNION ALL
SELECT {told}, 0::UInt8 AS theirs, 0::Int64 AS by, ifNull(rating, 0)::UInt8 AS stars, ({answers})::UInt8 AS answers
FROM stored_feedback_events FINAL WHERE ({accounts}) AND code != 0"""


def _surveys(accounts: str) -> str:
    """The changes of conversations: every answer is a response, the latest speaks for the conversation."""
    responses, conversations, solved = (f"toUInt32({_FACTS.index(fact) + 1})" for fact in _OF_SURVEYS)
    return f"""
SELECT account, change.1 AS fact, change.2 AS since, day AS dated, sum(change.3) AS amount FROM (
    SELECT account, answer.1 AS day, answer.2 AS next, toInt32(answer.3) AS solved FROM (
        SELECT account, arraySort(groupArray((t, event_id, rank, solved))) AS story,
            arrayMap(t -> {_day("t")}, story.1) AS days
        FROM (
            SELECT {_ACCOUNT}, conversation_id, {_ms("event_time")} AS t, event_id, {_RANK}, solved
            FROM stored_survey_events FINAL WHERE {accounts}
        ) GROUP BY account, conversation_id
    ) ARRAY JOIN arrayZip(days, arrayPushBack(arrayPopFront(days), {FOREVER}::Int32), story.4) AS answer
) ARRAY JOIN [
    ({responses}, day, 1),
    ({conversations}, day, 1), ({conversations}, next, -1),
    ({solved}, day, solved), ({solved}, next, -solved)
] AS change
GROUP BY account, fact, since, dated HAVING amount != 0"""


# --- the survey's weeks --------------------------------------------------------------------------------------


def _evaluations(terms: Terms, accounts: str, as_of: int) -> str:
    """Each Monday's evaluation of the survey, and the one on show from then on; of accounts that were asked at all."""
    names = [counter.name for counter in COUNTERS[SURVEY_COUNTERS]]
    steps = ", ".join(f"sumIf(step, counter = {i}) AS {n}" for i, n in enumerate(names, SURVEY_COUNTERS.start))
    sums = ", ".join(f"sum({name}) OVER by_week AS {name}" for name in names)
    responses, conversations, solved = names
    enough = f"{responses} >= {terms.cs_min_responses} AND {conversations} > 0"
    first = _monday_after(f"min({_day(_ms('event_time'))})")
    return f"""
SELECT account, monday, {responses} AS cs_week_responses, {conversations} AS cs_week_conversations,
    {solved} AS cs_week_solved, anyLastIf((monday, {conversations}, {solved}), {enough}) OVER by_week AS shown
FROM (
    SELECT account, monday, {sums} FROM (
        SELECT account, monday, {steps} FROM (
            SELECT account, {_monday_after("day")} AS monday, counter, step
            FROM ({_steps(terms, _surveys(accounts), as_of)})
            UNION ALL
            SELECT {_ACCOUNT}, arrayJoin(range({first}, {as_of} + 1, 7)) AS monday, -1, 0
            FROM stored_survey_events FINAL WHERE {accounts} GROUP BY account
        ) GROUP BY account, monday
    ) WINDOW by_week AS (PARTITION BY account ORDER BY monday)
) WINDOW by_week AS (PARTITION BY account ORDER BY monday)"""


# --- words ---------------------------------------------------------------------------------------------------


def _ms(column: str) -> str:
    return f"toUnixTimestamp64Milli({column})"


def _day(ms: str) -> str:
    return f"toInt32(intDiv({ms}, {_MS_A_DAY}))"


def _monday_after(day: str) -> str:
    return f"toInt32({day} + 7 - ({day} - {MONDAY}) % 7)"


def _dated(ms: str) -> str:
    """What a fact of amount 1 says that is dated by the day of a time."""
    return f"{_day(ms)} * 8 + 1"


def _by_now(first: str) -> str:
    return f"({first} != 0 AND {first} <= now)"
