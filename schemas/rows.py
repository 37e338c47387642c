"""Rows that cross the boundary between what computes and where rows rest, other than events and metrics."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from schemas.events import Topic

AccountId = tuple[str, str]  # seller_id, marketplace_id
EPOCH_BITS = 40  # of a version: above them the fencing epoch, below a number that grows within it
CELLS_SHOWN = 10  # of an account's cells that are wrong


class Standard(NamedTuple):
    """Hashes of the settings that rows and alerts follow. `rules` is 0 for a live worker: its alerts are of the run."""

    formula: int
    rules: int = 0


class Mark(NamedTuple):
    """How far an account's rows are: a checksum of the events they know of, the settings they follow, first and last
    day. `version` is fencing epoch and number of marks written in it: the greatest stands."""

    account: AccountId
    checksum: int
    standard: Standard
    first_day: int
    as_of: int
    version: int

    def follows(self, standard: Standard) -> bool:
        """Whether the rows that it tells of follow these settings."""
        return self.standard.formula == standard.formula and standard.rules in (0, self.standard.rules)


class Stored(NamedTuple):
    """How much is stored of an account: events, the checksum of them, the day of the first."""

    events: int
    checksum: int
    first_day: int


class DailyRows(NamedTuple):
    """Rows of `seller_daily`, `sizes[i]` (at least one) of `accounts[i]`, sorted by day; columns by name."""

    accounts: list[AccountId]
    sizes: list[int]
    columns: dict[str, Any]

    @classmethod
    def of(cls, sellers: Sequence[str], marketplaces: Sequence[str], columns: dict[str, Any]) -> Self:
        """Rows sorted by account and day, an account's one after the other."""
        sizes = Counter(zip(sellers, marketplaces, strict=True))
        return cls(list(sizes), list(sizes.values()), columns)


class Cell(NamedTuple):
    """A value that is not what the stored events give, both as text. Of a row that should or should not be there the
    column is `row`."""

    day: int
    column: str
    stored: str
    right: str


class Wrong(NamedTuple):
    """What of an account's rows is not as its stored events give it: so many `rows` have cells that differ, so many
    are missing or surplus. `examples` are the first `CELLS_SHOWN` by day."""

    rows: int
    missing: int
    surplus: int
    cells: int
    examples: list[Cell]

    @property
    def all_rows(self) -> int:
        """Of all three kinds."""
        return self.rows + self.missing + self.surplus


class SelfCheck(NamedTuple):
    """What came of holding rows against their events: in a worker's epoch so far, or, as epoch 0, over all accounts.

    `differing`: rows that were wrong, missing or surplus. Times are epoch ms.
    """

    epoch: int
    checked_at: int
    accounts: int
    rows: int
    differing: int
    differed_at: int | None


class Loaded(NamedTuple):
    """What is stored of some accounts. A row: seller_id, marketplace_id, subject, then the fields of its fact."""

    events: dict[Topic, list[tuple[Any, ...]]]
    marks: dict[AccountId, Mark]


class Rejected(NamedTuple):
    """One refused record; -1 and "" where a coordinate does not apply. `time` is epoch ms."""

    topic: str
    partition: int
    offset: int
    file: str
    line: int
    reason: str
    time: int


class DeadLetter(NamedTuple):
    """A refused record, by a name for people, and what was done with it: `state` is open, replayed or dropped."""

    name: str
    record: Rejected
    state: str


class Which(NamedTuple):
    """A choice among dead letters: all that each of these says is true of. Times are epoch ms, `until` is open.

    `reason` is any part of it, in upper or lower case; `records` are names, none for any.
    """

    topic: str = ""
    reason: str = ""
    since: int = 0
    until: int = 1 << 62
    records: tuple[str, ...] = ()


class AlertRow(NamedTuple):
    """One alert in one state; times are epoch ms. `gone`: it never was."""

    alert_id: str
    rule: str
    seller_id: str
    marketplace_id: str
    subject: str
    state: str
    severity: str
    value: float | None
    threshold: float
    since: int
    resolved_at: int | None
    order_ids: list[str]
    order_count: int
    version: int
    gone: int = 0


class AlertChange(NamedTuple):
    """One change of one alert, on the as-of day `day`; nobody is told of one that is `muted`."""

    alert_id: str
    day: int
    rule: str
    seller_id: str
    marketplace_id: str
    state: str
    value: float | None
    version: int
    gone: int = 0
    muted: int = 0
