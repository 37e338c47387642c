"""Rows that cross the boundary between what computes and where rows rest, other than events and metrics."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from schemas.events import Topic

AccountId = tuple[str, str]  # seller_id, marketplace_id
OrderId = tuple[str, str, str]  # seller_id, marketplace_id, order_id
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

    def and_also(self, other: "Wrong") -> "Wrong":
        """Both in one."""
        return Wrong(
            self.rows + other.rows, self.missing + other.missing, self.surplus + other.surplus,
            self.cells + other.cells, sorted([*self.examples, *other.examples])[:CELLS_SHOWN],
        )  # fmt: skip


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


class ForgottenOrder(NamedTuple):
    """What is kept of an order that is forgotten: hashes of its id, of its events in story order, of conversations."""

    seller_id: str
    marketplace_id: str
    mark: str
    salt: str
    events: list[str]
    conversations: list[str]


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


class CaseClocks(NamedTuple):
    """What rules look at of a case. Times are epoch ms; `steps`: each status that it had, with the time it began."""

    account: AccountId
    order_id: str
    event_id: str
    rating: int
    opened_at: int
    closed_at: int | None
    respond_target_at: int | None
    respond_by: int | None
    remove_by: int
    first_action_at: int | None
    follow_up_at: int | None
    steps: Sequence[tuple[str, int]]


# A source is silent that has brought nothing for so long, and usually brings something: so many events a day, on at
# least so many of the 28 days before the day of its last event. (That is half of them: a median of 5 or more.)
SILENT_MS = 48 * 3_600_000
USUAL_EVENTS, USUAL_DAYS, USUAL_OF_DAYS = 5, 14, 28


class SourceGap(NamedTuple):
    """A source that was silent: its last event before that, and the next one, if there is one. Times are epoch ms."""

    account: AccountId
    source: str
    last_at: int
    ended_at: int | None


class Threshold(NamedTuple):
    """Of a rule on a metric: in breach is what compares so with it; an alert ends at `clear`, None: there too."""

    rule: str
    severity: str
    comparison: str
    threshold: float
    clear: float | None


class Definition(NamedTuple):
    """What a metric is on a marketplace; of "" on every one that no other names. No `window_days`: it has no window."""

    name: str
    marketplace_id: str
    formula: str
    unit: str
    window_days: int | None
    thresholds: list[Threshold]
    source: str


class InForce(NamedTuple):
    """What the database needs of the settings: for views, and how long it keeps rows (None: for ever).

    `credits` are by root cause; spans are from so many days after an order's receipt until so many.
    """

    partitions: int
    receipt_days: int
    credits: dict[str, float]
    feedback_days: tuple[int, int]
    review: str
    review_days: tuple[int, int]
    definitions: list[Definition]
    keep_rejected_days: int | None = None
    keep_alert_history_days: int | None = None


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


class Due(NamedTuple):
    """A change that a receiver is to be told of: when it was stored, how often that was tried, when it is next, when
    it was told of an earlier version. `was_told`: of any change that its alert fires. Times are epoch ms."""

    change: AlertChange
    changed_at: int
    attempts: int
    next_at: int | None
    told_at: int | None
    was_told: bool


class Notices(NamedTuple):
    """What people say about an alert: whether a silence is over it, and the severity that somebody knows of, or ""."""

    silenced: bool
    acked: str


class Notification(NamedTuple):
    """What came of telling a receiver of a change, or of something else whose id stands for an alert's."""

    receiver: str
    seller_id: str
    marketplace_id: str
    alert_id: str
    day: int
    state: str
    version: int
    outcome: str
    told_at: int | None
    attempts: int
    next_at: int | None
    last_error: str


class Ack(NamedTuple):
    """Somebody knows of an alert, which has this severity."""

    seller_id: str
    marketplace_id: str
    alert_id: str
    severity: str
    by: str
    comment: str


class Silence(NamedTuple):
    """Alerts of which nobody is told until then, epoch ms: those that all four globs match."""

    silence_id: str
    rule: str
    seller_id: str
    marketplace_id: str
    severity: str
    until: int
    by: str
    comment: str


class Transition(NamedTuple):
    """A status that a case took; `at` is epoch ms, the event is the one that brought it."""

    status: str
    at: int
    event_id: str
    agent: str | None


class CaseRow(NamedTuple):
    """A case as the order's story tells it, columns as in `stored_cases`; times are epoch ms. `gone`: it makes none."""

    seller_id: str
    marketplace_id: str
    order_id: str
    feedback_event_id: str
    opened_at: int
    rating: int
    comment: str | None
    skus: list[str]
    agent: str | None
    status: str
    closed_at: int | None
    respond_target_at: int | None
    respond_by: int | None
    first_action_at: int | None
    reviewed_at: int | None
    remove_by: int
    removal_grounds: list[str]
    follow_up_at: int | None
    root_causes: list[str]
    expires_at: int | None
    transitions: list[Transition]
    checksum: int
    reading: int
    version: int
    gone: int = 0

    @property
    def order(self) -> OrderId:
        """The order that was rated."""
        return self.seller_id, self.marketplace_id, self.order_id


class CaseStories(NamedTuple):
    """What is stored of some orders, as far as cases go. A row: the fields of `OrderId`, then those of
    `streams.core.cases.OrderPart` or `FeedbackPart`. `cases` are their case rows, those that are gone among them."""

    orders: list[tuple[Any, ...]]
    feedback: list[tuple[Any, ...]]
    cases: list[CaseRow]
