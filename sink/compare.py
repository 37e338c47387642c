"""One statement that holds rows of `seller_daily` against what the stored events give, cell by cell."""

from schemas.rows import CELLS_SHOWN
from sink.recompute import recompute
from streams.core.metrics import METRICS, Terms

_KEY = "seller_id, marketplace_id"


def compare(terms: Terms, accounts: str, *, as_of: int) -> str:
    """The SELECT of accounts with rows that are other than they should be: the fields of `Wrong`, cells as tuples.

    `accounts` is a condition on seller_id and marketplace_id; all of them are judged by these terms.
    """
    names = ", ".join(metric.name for metric in METRICS)
    stored = f"SELECT {_KEY}, day, {names} FROM stored_seller_daily FINAL WHERE {accounts}"
    # The columns of a union are named by its first part, which has no rows.
    unnamed = recompute(terms, accounts, first=0, as_of=as_of, epoch=None)
    right = f"SELECT {_KEY}, day, {names} FROM stored_seller_daily WHERE false UNION ALL {unnamed}"
    same = " AND ".join(f"(s.{metric.name} <=> r.{metric.name})" for metric in METRICS)
    cells = ", ".join(f"('{metric.name}', {_text('s', metric.name)}, {_text('r', metric.name)})" for metric in METRICS)
    return f"""
SELECT {_KEY}, countIf(in_both), countIf(is_missing), countIf(NOT in_both AND NOT is_missing),
    sumIf(length(cells), in_both), groupArraySortedArray({CELLS_SHOWN})(cells)
FROM (
    SELECT {_KEY}, s.there AND r.there AS in_both, NOT s.there AS is_missing,
        arrayMap(cell -> (toInt32(day), cell.1, cell.2, cell.3), if(in_both,
            arrayFilter(cell -> cell.2 != cell.3, [{cells}]),
            [('row', if(s.there, 'there', 'missing'), if(s.there, 'none', 'there'))])) AS cells
    FROM (SELECT *, true AS there FROM ({stored})) AS s
    FULL JOIN (SELECT *, true AS there FROM ({right})) AS r USING ({_KEY}, day)
    WHERE s.there != r.there OR NOT ({same})
) GROUP BY {_KEY}"""


def _text(side: str, name: str) -> str:
    return f"ifNull(toString({side}.{name}), 'null')"
