"""A marketplace from a seed: what demo, benchmarks and tests feed in where no export is at hand.

The same numbers give the same events on every machine and Python: all chance is `Random.random`, whose
sequence Python guarantees, all arithmetic exact by IEEE (no logarithms; no `sum` of floats, which Pythons
round differently), and nothing reads a clock. The rates are like a real marketplace's; some accounts are in
trouble at known places (`troubles`), so that what the rules find can be held against what was planted.
"""

import gzip
from bisect import bisect
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, chain, cycle, islice
from math import sqrt
from pathlib import Path
from random import Random
from typing import IO, Any, NamedTuple, cast

import orjson
import zstandard

from schemas.errors import ConfigurationError
from schemas.events import EPOCH, MS_A_DAY, ORDER_KINDS, YEAR_2000_MS, Parsed, Topic, from_json

LAST_DAY = (date(2025, 6, 30) - EPOCH.date()).days  # fixed: the same flags give the same bytes on every day
RECOVERED, UNHELPFUL, DRIED_UP = "service recovered", "unhelpful service", "feedback dried up"
LATE, BATCH, CLAIMS, REMOVED = "late deliveries", "bad batch", "claims", "negative feedback removed later"
# What, and from which to which part of the simulated time. The first three show in big accounts only and come
# once, in the biggest; the others again and again, until 8 accounts in 100 are in trouble.
_ONCE = ((RECOVERED, 0.25, 0.6), (UNHELPFUL, 0.75, 1.0), (DRIED_UP, 0.55, 1.0))  # recovered: helpful again after
_AGAIN = ((LATE, 0.78, 0.93), (BATCH, 0.84, 0.97), (CLAIMS, 0.86, 1.0), (REMOVED, 0.68, 0.82))

_MARKETPLACES = (  # id, currency, the buyers' languages (one is drawn), whether ratings have no time of day
    ("MKT-US", "USD", ("en", "en", "en-2", "es", "zh"), False),
    ("MKT-DE", "EUR", ("de", "de-2", "fr", "it", "pt"), False),
    ("MKT-JP", "JPY", ("ja", "ja", "ja", "en", "zh"), True),
)
_CAUSES = ("fine", "late", "product", "service")
_COMMENTS = {  # by language, one for each of the causes
    "en": ("Fast shipping!", "Arrived a week late.", "Stopped working after two days.", "Nobody replies."),
    "en-2": ("All as described.", "Tracking never moved.", "Poor quality.", "Refused! Write to [e-mail]"),
    "de": ("Schnelle Lieferung!", "Kam zu spät.", "Nach zwei Tagen kaputt.", "Keine Antwort erhalten."),
    "de-2": ("Alles bestens.", "Nie angekommen.", "Schlechte Qualität.", "Erstattung verweigert."),
    "es": ("Llegó rápido.", "Llegó con retraso.", "Mala calidad.", "El vendedor no responde."),
    "fr": ("Livraison rapide.", "Arrivé en retard.", "Mauvaise qualité.", "Le vendeur ne répond pas."),
    "it": ("Spedizione veloce.", "Arrivato in ritardo.", "Pessima qualità.", "Il venditore non risponde."),
    "pt": ("Chegou rápido.", "Chegou com atraso.", "Má qualidade.", "O vendedor não responde."),
    "zh": ("发货很快", "晚到了一个星期", "质量很差", "卖家不回复我的消息"),
    "ja": ("迅速な発送でした。", "到着が遅れました。", "二日で壊れました。", "出品者から返事がありません。"),
}


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What to simulate: exactly `events` events in the `days` days up to `last_day`, days since the epoch."""

    sellers: int = 200
    days: int = 365
    events: int = 300_000
    seed: int = 1
    last_day: int = LAST_DAY

    def __post_init__(self) -> None:
        """Raises ConfigurationError."""
        if min(self.sellers, self.days, self.events) < 1 or self.first_day * MS_A_DAY < YEAR_2000_MS:
            raise ConfigurationError("a simulation needs a seller, a day since 2000 and an event at least")

    @property
    def first_day(self) -> int:
        """The first simulated day."""
        return self.last_day - self.days + 1


class Trouble(NamedTuple):
    """What is planted in an account: `what` befalls orders placed from `from_day` to the end of `to_day`."""

    seller_id: str
    marketplace_id: str
    what: str
    from_day: int
    to_day: int


def simulate(simulation: Simulation) -> Iterator[Parsed]:
    """Complete, valid events in the order of their times, exactly as many as asked."""
    return islice(_Market(simulation).events(simulation.events), simulation.events)


def troubles(simulation: Simulation) -> list[Trouble]:
    """What `simulate` plants, the biggest account first."""
    return [a.trouble for a in _accounts(simulation, Random(simulation.seed).random) if a.trouble]


def write(simulation: Simulation, path: Path, progress: Callable[[int], object]) -> int:
    """Writes JSON lines (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), returns how many. All of `path` or nothing.

    `progress` is told how many are written, now and then and at the end. Raises ConfigurationError.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as raw, _compressing(path.name, raw) as out:
            for count, (topic, event) in enumerate(simulate(simulation), 1):
                out.write(orjson.dumps({"topic": topic, **event}, option=orjson.OPT_APPEND_NEWLINE))
                if count % 10_000 == 0 or count == simulation.events:
                    progress(count)
        partial.replace(path)
    except OSError as failed:
        raise ConfigurationError(f"cannot write {path}: {failed.strerror or failed}") from failed
    finally:
        with suppress(OSError):
            partial.unlink()
    return simulation.events


def _compressing(name: str, raw: IO[bytes]) -> IO[bytes]:
    if name.endswith(".jsonl"):
        return raw
    if name.endswith(".jsonl.gz"):
        return cast("IO[bytes]", gzip.GzipFile("", "wb", 6, raw, mtime=0))  # no name, no time: same bytes
    if name.endswith(".jsonl.zst"):
        return cast("IO[bytes]", zstandard.ZstdCompressor().stream_writer(raw))
    raise ConfigurationError(f"{name}: a simulation is written as .jsonl, .jsonl.gz or .jsonl.zst")


class _Account(NamedTuple):
    """A seller on a marketplace. `wrong`: how careless it is, from 0.3 to 1.3."""

    seller_id: str
    marketplace: tuple[str, str, tuple[str, ...], bool]
    size: float
    wrong: float
    skus: tuple[str, ...]
    trouble: Trouble | None = None


def _accounts(simulation: Simulation, draw: Callable[[], float]) -> list[_Account]:
    """All accounts, the biggest first: sizes fall with rank to the power 1.25, every third sells twice."""
    accounts = []
    for rank in range(1, simulation.sellers + 1):
        seller = "A" + "".join("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[int(draw() * 36)] for _ in range(13))
        skus = tuple(f"{seller[1:5]}-{number:03d}" for number in range(1, 4 + int(draw() * 10)))
        home, size = int(draw() * len(_MARKETPLACES)), 1 / (rank * sqrt(sqrt(rank)))
        for away, share in enumerate((0.7, 0.3) if rank % 3 == 2 else (1.0,)):
            marketplace = _MARKETPLACES[(home + away) % len(_MARKETPLACES)]
            accounts.append(_Account(seller, marketplace, size * share, 0.3 + draw(), skus))
    accounts.sort(key=lambda account: -account.size)
    count = min(max(len(accounts) * 8 // 100, len(_ONCE + _AGAIN)), len(accounts) // 2)
    for number, (what, *parts) in enumerate(islice(chain(_ONCE, cycle(_AGAIN)), count)):
        account = accounts[2 * number + 1]  # every second one: a healthy neighbour of its size follows
        back = 0.5 * draw() if number >= len(_ONCE + _AGAIN) else 0.0  # later rounds at other times
        start, end = (simulation.first_day + int((part - back) * simulation.days) for part in parts)
        trouble = Trouble(account.seller_id, account.marketplace[0], what, start, max(start, end - 1))
        accounts[2 * number + 1] = account._replace(trouble=trouble)
    return accounts


def _weight(day: int, days_left: int) -> float:
    """How many events a day's orders lead to, beside other days': Mondays are busy, Christmas is a peak."""
    when = date.fromordinal(day + EPOCH.toordinal())
    from_peak = abs((when - date(when.year, 12, 8)).days)
    demand = (1.15, 1.1, 1.0, 1.0, 0.95, 0.8, 1.0)[when.weekday()] * (1 + max(0.0, 1.3 - from_peak / 17))
    return demand * (1 + min(0.95, days_left / 3) + min(0.95, days_left / 10) + min(0.35, days_left / 90))


class _Order(NamedTuple):
    """What is decided of an order before its events are told. `trouble`: what befalls it, mostly nothing."""

    order_id: str
    account: _Account
    trouble: str
    spoilt: bool
    late: bool
    fulfilment: str
    agent: str


class _Market:
    """The chance and the events to come, by day. An order's story is told when it is placed, then waits."""

    def __init__(self, simulation: Simulation) -> None:
        self._first, self._last = simulation.first_day, simulation.last_day
        self._draw = Random(simulation.seed).random
        self._accounts = _accounts(simulation, self._draw)
        self._days: list[list[Parsed]] = [[] for _ in range(simulation.days)]
        self._told = self._placed = 0

    def events(self, count: int) -> Iterator[Parsed]:
        """At least `count` events, by time. A day places the orders that the events still to tell ask for."""
        sizes = list(accumulate(account.size for account in self._accounts))
        days = range(self._first, self._last + 1)
        weights = [_weight(day, self._last - day) for day in days]
        left = list(accumulate(reversed(weights)))[::-1]
        for day, weight, weight_left, told in zip(days, weights, left, self._days, strict=True):
            share = weight / weight_left if day < self._last else 1.0
            target = self._told + (count - self._told) * share
            while self._told < target:
                self._place(self._accounts[bisect(sizes, self._draw() * sizes[-1])], day)
            told.sort(key=lambda parsed: parsed.event["event_time"])
            yield from told
            told.clear()

    def _tell(self, topic: Topic, order: _Order, at_ms: int, **told: Any) -> None:
        """Keeps an event for its day, unless it lies beyond the simulated days."""
        if at_ms // MS_A_DAY <= self._last:
            self._told += 1
            account = {"seller_id": order.account.seller_id, "marketplace_id": order.account.marketplace[0]}
            event = {"event_id": f"{topic[0]}{self._told}", "event_time": at_ms, "source": "simulate"}
            parsed = from_json({"topic": topic, "order_id": order.order_id, **account, **event, **told})
            self._days[at_ms // MS_A_DAY - self._first].append(cast("Parsed", parsed))

    def _pause(self, low_days: float, high_days: float) -> int:
        return int((low_days + (high_days - low_days) * self._draw()) * MS_A_DAY)

    def _follow(
        self, order: _Order, kind: str, after: int, low: float, high: float, chance: float = 1, /, **told: Any
    ) -> int:
        """Tells by chance what follows an event, low to high days after. Returns when, 0 if it did not."""
        if not after or self._draw() >= chance:
            return 0
        at_ms = after + self._pause(low, high)
        self._tell("orders" if kind in ORDER_KINDS else "feedback", order, at_ms, kind=kind, **told)
        return at_ms

    def _place(self, account: _Account, day: int) -> None:
        """An order and all that comes of it: its own events, a rating, a conversation."""
        draw, skus, trouble = self._draw, account.skus, account.trouble
        self._placed += 1
        number = f"{self._placed * 7_368_787_963_147 % 10**14:014d}"  # a factor prime to 10: all differ
        order_id = f"{100 + self._placed % 899}-{number[:7]}-{number[7:]}"
        befallen = trouble.what if trouble and trouble.from_day <= day <= trouble.to_day else ""
        late = draw() < (0.6 if befallen == LATE else 0.02 * account.wrong)
        bought = [skus[int(draw() * draw() * len(skus))] for _ in range(1 if draw() < 0.9 else 2)]
        spoilt = befallen == BATCH and skus[0] in bought
        fulfilment, agent = "MARKETPLACE" if draw() < 0.25 else "SELLER", f"agent-{1 + int(draw() * 4)}"
        order = _Order(order_id, account, befallen, spoilt, late, fulfilment, agent)
        placed = day * MS_A_DAY + int((draw() + draw()) / 2 * MS_A_DAY)
        if received := self._deliver(order, bought, placed):
            claims, denied = (0.1, 0.15) if befallen == CLAIMS else (0.004 * account.wrong, 0.5)
            opened = self._follow(order, "CLAIM_OPENED", received, 1, 25, claims)
            self._follow(order, "CLAIM_DENIED", opened, 2, 10, denied)
            self._follow(order, "CHARGEBACK", received, 10, 50, 0.0005)
            self._follow(order, "RETURNED", received, 2, 20, 0.2 if spoilt else 0.04)
            asked = self._follow(order, "FEEDBACK_ASKED", received, 4, 7, 0.06, agent=agent)
            self._follow(order, "OPTED_OUT", asked, 0.1, 2, 0.04)
            if draw() < (0.002 if befallen == DRIED_UP else 0.3 if spoilt else 0.12):
                self._rate(order, received + self._pause(1, 30))
        if draw() < (0.14 if befallen in (RECOVERED, UNHELPFUL) else 0.06):
            self._converse(order, placed + self._pause(0.5, 15))

    def _deliver(self, order: _Order, skus: list[str], placed: int) -> int:
        """PLACED to DELIVERED (some never reported). Returns when the buyer has it, 0 if cancelled."""
        draw, late = self._draw, order.late
        shipped = placed + self._pause(0.5, 3)
        received = shipped + self._pause(2, 9)
        promised = max(placed, received + (self._pause(-4, -1) if late else self._pause(0, 4)))
        promise = (promised // MS_A_DAY + 1) * MS_A_DAY - 1000  # 23:59:59 of that day
        told = {"kind": "PLACED", "fulfilment": order.fulfilment, "skus": skus}
        known = draw() < 0.92
        self._tell("orders", order, placed, deliver_by=promise if known else None, **told)
        if self._follow(order, "CANCELLED", placed, 0.05, 2, 0.03):
            return 0
        revised = promise + MS_A_DAY if known and not late else promise
        again = draw() < (0.05 if known else 0.5)
        self._tell("orders", order, shipped, kind="SHIPPED", deliver_by=revised if again else None)
        self._follow(order, "DELIVERED", received, 0, 0, 0.97)
        return received

    def _rate(self, order: _Order, at_ms: int) -> None:
        """The buyer's rating: in healthy accounts 4 in 100 are angry. Staff works on most bad ones."""
        luck, wrong = self._draw(), order.account.wrong
        product = 0.5 if order.spoilt else 0.3 if order.trouble == REMOVED else 0.02 * wrong
        odds = (0.35 if order.late else 0.01 * wrong, product, 0.01 * wrong)
        angry = (cause for cause, chance in zip(_CAUSES[1:], odds, strict=True) if self._draw() < chance)
        cause = next(angry, "fine")
        if cause == "fine":
            self._submit(order, at_ms, cause, 5 if luck < 0.917 else 4 if luck < 0.98 else 3)
            return
        self._submit(order, at_ms, cause, 1 if luck < 0.62 else 2)
        if order.trouble == REMOVED or self._draw() < 1.1 - 0.4 * wrong:
            self._work_on(order, at_ms, cause)

    def _submit(self, order: _Order, at_ms: int, cause: str, rating: int) -> None:
        draw, (_, _, languages, date_only) = self._draw, order.account.marketplace
        told: dict[str, Any] = {"kind": "SUBMITTED", "rating": rating, "date_only": date_only}
        if draw() < (0.45 if cause == "fine" else 0.8):
            told["comment"] = _COMMENTS[languages[int(draw() * len(languages))]][_CAUSES.index(cause)]
        if draw() < 0.5:
            told["arrived_on_time"] = not order.late and cause != "late"
            told["item_as_described"] = cause != "product"
            told["customer_service"] = cause != "service" if draw() < 0.6 else None
        self._tell("feedback", order, at_ms // MS_A_DAY * MS_A_DAY if date_only else at_ms, **told)

    def _work_on(self, order: _Order, rated: int, cause: str) -> None:
        """Staff answers, within hours or a day late; then asks for the rating's removal or makes good."""
        draw, follow, luck, staff = self._draw, self._follow, self._draw(), {"agent": order.agent}
        acted = follow(order, "RESPONDED" if draw() < 0.5 else "CONTACTED", rated, 0.01, 1.2, **staff)
        if order.trouble == REMOVED or luck < 0.4:
            asked = follow(order, "REMOVAL_REQUESTED", acted, 0.05, 0.8, **staff)
            if order.trouble == REMOVED:
                follow(order, "REMOVED", asked, 15, 40)
            elif order.fulfilment == "MARKETPLACE" and cause == "late":
                follow(order, "STRUCK", asked, 1, 6)
            else:
                follow(order, "REMOVED" if draw() < 0.45 else "REMOVAL_DENIED", asked, 1, 6, 0.8)
        elif luck < 0.7:
            money = {"amount": int(500 + 9500 * draw()) / 100, "currency": order.account.marketplace[1]}
            paid = follow(order, "REFUNDED", acted, 0.05, 0.8, **staff, **money)
            if draw() < 0.4:
                self._submit(order, paid + self._pause(1, 8), "fine", 4 + int(draw() * 2))
            else:
                follow(order, "REMOVED", paid, 1, 8, 0.2)
        elif luck < 0.8:
            follow(order, "REPLACED", acted, 0.05, 0.8, **staff)
        follow(order, "REVIEWED", acted, 1, 8, 0.2, agent="agent-lead", root_cause=cause)

    def _converse(self, order: _Order, at_ms: int) -> None:
        """A conversation that the buyer began, with one to four answers to the survey, hours apart."""
        helped = 0.35 if order.trouble in (RECOVERED, UNHELPFUL) else 0.93 - 0.1 * order.account.wrong
        told: dict[str, Any] = {"conversation_id": f"C{self._placed:09d}", "buyer_initiated": True}
        told |= {"order_id": order.order_id if self._draw() < 0.9 else None, "agent": order.agent}
        for message in ("M1", "M2", "M3", "M4")[: 1 + int(self._draw() * self._draw() * 4)]:
            self._tell("surveys", order, at_ms, message_id=message, solved=self._draw() < helped, **told)
            at_ms += self._pause(0.1, 2)
