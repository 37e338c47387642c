"""What the stories of stored events say, in SQL: which words, dated when, true of the rows since which day.

It is what `streams.core.stories` says in Python, for all orders and conversations of some accounts at once. Read it
from the bottom up. Days are numbers since the epoch, times epoch ms; 0 is "never".
"""

from itertools import accumulate, chain, product

from clickhouse_connect.driver.binding import format_query_value

from streams.core.metrics import FOREVER, Fact, Terms

_MS_A_DAY = 86_400_000

# A story says words, each dated: an order up to four, one of each kind, a conversation three. What a word counts for is
# told here; in the statement it is a number, its place in `WORDS` from 1.
Word = dict[Fact, int]
_PLACED: list[Word] = [  # by is_negative + 2 is_claimed + 4 is_charged_back + 8 is_theirs; of the day it was placed
    {
        "orders": 1, "odr_negative": negative, "odr_claims": claimed, "odr_chargebacks": charged_back,
        "odr_defects": negative | claimed | charged_back,
        "odr_orders_seller": 1 - theirs, "odr_defects_seller": (negative | claimed | charged_back) * (1 - theirs),
    }
    for theirs, charged_back, claimed, negative in product((0, 1), repeat=4)
]  # fmt: skip
_RECEIVED: list[Word] = [  # by whether it is problem-free; of the day it was received
    {"received_orders": 1, "problem_free_orders": problem_free} for problem_free in (0, 1)
]
_RATED: list[Word] = [  # by its stars, from 1; of the day of its standing rating, as is the next
    {"negative" if stars < 3 else "neutral" if stars == 3 else "positive": 1, "stars": stars} for stars in range(1, 6)
]
_ANSWERED: list[Word] = [  # by its answers, 0 none, 1 no, 2 yes: the first, 3 times the second, 9 times the third
    {
        "arrived_on_time_answers": int(on_time > 0), "arrived_on_time_yes": int(on_time > 1),
        "item_as_described_answers": int(described > 0), "item_as_described_yes": int(described > 1),
        "customer_service_answers": int(service > 0), "customer_service_yes": int(service > 1),
    }
    for service, described, on_time in product(range(3), repeat=3)
]  # fmt: skip
_SURVEYED: list[Word] = [{"cs_responses": 1}, {"cs_running_conversations": 1}, {"cs_running_solved": 1}]
_PARTIAL: list[Word] = [{"partial_ratings": 1}]
_KINDS_OF_WORDS = (_PLACED, _RECEIVED, _RATED, _ANSWERED, _SURVEYED, _PARTIAL)
WORDS = list(chain(*_KINDS_OF_WORDS))
_PLACED_AT, _RECEIVED_AT, _RATED_AT, _ANSWERED_AT, _SURVEYED_AT, _PARTIAL_AT, _ = accumulate(
    map(len, _KINDS_OF_WORDS), initial=1
)
A_DAY = 64  # a word that is dated: day * 64 + place

_SPOILT, _CLAIM_OPENED, _CLAIM_DENIED, _SUBMITTED, _GONE = 4, 6, 7, 8, 9
_KINDS = {
    "PLACED": 1, "SHIPPED": 2, "DELIVERED": 3, "CANCELLED": _SPOILT, "RETURNED": _SPOILT, "CHARGEBACK": 5,
    "CLAIM_OPENED": _CLAIM_OPENED, "CLAIM_DENIED": _CLAIM_DENIED,
    "SUBMITTED": _SUBMITTED, "REMOVED": _GONE, "STRUCK": _GONE,
}  # fmt: skip
# A number for an account, since strings are slow to group by: 128 bits, so that no two accounts share one.
ACCOUNT = "sipHash128(seller_id, marketplace_id) AS account"
_RANK = "reinterpretAsUInt64(digest) AS rank"


def changes(terms: Terms, accounts: str, as_of: int) -> str:
    """Words that are said in the rows `since` that day, so many `times` more than before."""
    return f"""
SELECT account, since, at.1 AS said, sum(at.2) AS times
FROM ({_orders(terms, accounts)}) ARRAY JOIN [(says, 1), (said_before, -1)] AS at
WHERE said != 0 AND since <= {as_of} GROUP BY account, since, said HAVING times != 0
UNION ALL
{_surveys(accounts)}{_partial(terms, accounts)}"""


def _orders(terms: Terms, accounts: str) -> str:
    """What orders say at the end of each of their days, of each kind of word, where it is not what they said before."""
    return f"""
SELECT account, since, change.1 AS says, change.2 AS said_before FROM (
    SELECT account, ends.2 AS days, arrayMap(at -> (
        [{_said("placed", f"{_PLACED_AT} + is_negative + 2 * is_claimed + 4 * is_charged_back + 8 * is_theirs")},
        {_said("receipt", f"{_RECEIVED_AT} + is_problem_free")},
        {_said("rated", f"{_RATED_AT - 1} + stars")},
        if(answers = 0, 0, {_said("rated", f"{_ANSWERED_AT} + answers")})],
        at.1 AS now, at.4 = 2 AS is_theirs, at.5 AS deliver_by, at.6 = {_CLAIM_OPENED} AS is_claimed,
        at.7 AS rating, rating.1 = {_SUBMITTED} AS is_rated, if(is_rated, rating.2, 0) AS rated,
        if(is_rated, rating.3, 0) AS stars, stars IN (1, 2) AS is_negative, rating.4 AS answers,
        if({_by_now("first_placed")}, first_placed, 0) AS placed,
        multiIf(
            {_by_now("first_delivered")}, first_delivered,
            NOT {_by_now("first_shipped")}, 0,
            deliver_by = 0, first_shipped + {terms.receipt_days * _MS_A_DAY},
            greatest(first_shipped, deliver_by)) AS receipt,
        deliver_by != 0 AND receipt > deliver_by AND NOT is_theirs AS is_late,
        {_by_now("first_spoilt")} AS is_spoilt, {_by_now("first_charged_back")} AS is_charged_back,
        NOT (is_late OR is_negative OR is_spoilt OR is_claimed OR is_charged_back) AS is_problem_free
    ).1, ends) AS each FROM ({_stories(accounts)})
)
ARRAY JOIN days AS since, each AS now, arrayPushFront(arrayPopBack(each), [0, 0, 0, 0]) AS before
ARRAY JOIN arrayFilter(change -> change.1 != change.2, arrayZip(now, before)) AS change"""


def _stories(accounts: str) -> str:
    """Every order's story: when things first happened, and what was told last at the `ends` of its days.

    An end: time, day, day of the next one, whose fulfilment, deliver_by, claim, rating (code, time, stars, answers).
    """
    return f"""
SELECT account, first_placed, first_shipped, first_delivered, first_spoilt, first_charged_back,
    story.1 AS times, arrayMap(t -> {day("t")}, times) AS days, story.4 AS codes,
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
    told = f"{ACCOUNT}, order_id, {ms('event_time')} AS t, event_id, {_RANK}"
    told += f", transform(kind, {codes}, 0)::UInt8 AS code"
    answers = " + ".join(
        f"{times} * if(isNull({question}), 0, 1 + {question})"
        for times, question in ((1, "arrived_on_time"), (3, "item_as_described"), (9, "customer_service"))
    )
    return f"""
SELECT {told}, multiIf(isNull(fulfilment), 0, fulfilment = 'MARKETPLACE', 2, 1)::UInt8 AS theirs,
    ifNull({ms("deliver_by")}, 0)::Int64 AS by, 0::UInt8 AS stars, 0::UInt8 AS answers
FROM stored_order_events FINAL WHERE {accounts}
UNION ALL
SELECT {told}, 0::UInt8 AS theirs, 0::Int64 AS by, ifNull(rating, 0)::UInt8 AS stars, ({answers})::UInt8 AS answers
FROM stored_feedback_events FINAL WHERE ({accounts}) AND code != 0"""


def _surveys(accounts: str) -> str:
    """The changes of conversations: every answer is a response, the latest speaks for the conversation."""
    responses, conversations, solved = (f"day * {A_DAY} + {_SURVEYED_AT + n}" for n in range(3))
    return f"""
SELECT account, change.1 AS since, toInt64(change.2) AS said, sum(toInt64(change.3)) AS times FROM (
    SELECT account, answer.1 AS day, answer.2 AS next, toInt32(answer.3) AS is_solved FROM (
        SELECT account, arraySort(groupArray((t, event_id, rank, solved))) AS story,
            arrayMap(t -> {day("t")}, story.1) AS days
        FROM (
            SELECT {ACCOUNT}, conversation_id, {ms("event_time")} AS t, event_id, {_RANK}, solved
            FROM stored_survey_events FINAL WHERE {accounts}
        ) GROUP BY account, conversation_id
    ) ARRAY JOIN arrayZip(days, arrayPushBack(arrayPopFront(days), {FOREVER}::Int32), story.4) AS answer
) ARRAY JOIN [
    (day, {responses}, 1),
    (day, {conversations}, 1), (next, {conversations}, -1),
    (day, {solved}, is_solved), (next, {solved}, -is_solved)
] AS change
GROUP BY account, since, said HAVING times != 0"""


def _partial(terms: Terms, accounts: str) -> str:
    """The changes that ratings of partial sources are, one each and for good; nothing to ask where there are none."""
    if not terms.partial_sources:
        return ""
    names = format_query_value(sorted(terms.partial_sources))
    return f"""
UNION ALL
SELECT {ACCOUNT}, {day(ms("event_time"))} AS since, toInt64(since * {A_DAY} + {_PARTIAL_AT}) AS said,
    toInt64(count()) AS times
FROM stored_feedback_events FINAL WHERE ({accounts}) AND kind = 'SUBMITTED' AND has({names}, source)
GROUP BY account, since, said"""


# --- words ---------------------------------------------------------------------------------------------------


def ms(column: str) -> str:
    """A column of times as numbers."""
    return f"toUnixTimestamp64Milli({column})"


def day(time: str) -> str:
    """The day of a time."""
    return f"toInt32(intDiv({time}, {_MS_A_DAY}))"


def _said(time: str, word: str) -> str:
    """A word dated by the day of a time; 0 if there is none."""
    return f"if({time} = 0, 0, toInt64({day(time)} * {A_DAY} + {word}))"


def _by_now(first: str) -> str:
    return f"({first} != 0 AND {first} <= now)"
