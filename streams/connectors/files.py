"""Files in, events out: finds out what each file is, before anything is written, and reads it when asked.

Its place in the flow: the first step. What a file holds is typed and masked here; whether an event is acceptable is
held against the clock by whoever feeds it on.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from stat import S_ISREG
from zoneinfo import ZoneInfo

from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import Parsed, Refusal
from streams.connectors.avro import MAGIC, check_avro, read_avro
from streams.connectors.etsy import Shop, is_etsy, read_etsy
from streams.connectors.feedback_polls import Account, Poll
from streams.connectors.feedback_report import EMPTY, dated, is_feedback_report, read_feedback_report
from streams.connectors.input import BOM, Progress, Record, peek
from streams.connectors.jsonl import read_jsonl
from streams.connectors.olist import check_olist, is_olist, read_olist
from streams.connectors.order_change import is_order_change, read_order_change
from streams.connectors.order_report import is_order_report, read_order_report
from streams.connectors.polls import Polls
from streams.connectors.reports import Whose
from streams.connectors.returns_report import (
    is_fba_returns_report,
    is_returns_report,
    read_fba_returns_report,
    read_returns_report,
)

__all__ = ["FORMATS", "Record", "ReportOptions", "Source", "expand", "find_sources", "owed_source"]

# The marketplace's reports of orders: by name, what tells one and what reads it.
_OF_ORDERS = {
    "amazon-orders": (is_order_report, read_order_report),
    "amazon-returns": (is_returns_report, read_returns_report),
    "amazon-fba-returns": (is_fba_returns_report, read_fba_returns_report),
}
_REPORTS = ("feedback-report", "etsy", *_OF_ORDERS)  # formats that are polled
_REFUSED = "refused"  # among the reports of the polls
FORMATS = ("jsonl", "avro", "olist", *_REPORTS, "amazon-order-change")
_KNOWN = (
    "JSON Lines (one event a line), Avro container, Olist data set, Amazon's feedback, all-orders or returns report,"
    " its ORDER_CHANGE notifications, or Etsy's receipts and reviews"
)
HEAD_BYTES = 1 << 16
_NO_DATA = (b"", b"CANCELLED", b"CANCELED", b"DONE_NO_DATA")  # what is left where a report was cancelled


@dataclass(frozen=True)
class ReportOptions:
    """What files do not say of themselves: `--format`, and for reports `--seller`, `--marketplace`, `--timezone`.

    Also `--source`, what a report's events have for one; `--polled-at`, epoch ms, else the time of the file; whether
    any number of ratings may vanish; and what is known of earlier polls, None: nothing.
    """

    format: str | None = None
    seller: str | None = None
    marketplace: str | None = None
    timezone: str = "UTC"
    source: str | None = None
    polled_ms: int | None = None
    accepts_removals: bool = False
    polls: Polls | None = None


@dataclass
class Source:
    """One input file, or the folder of one data set. `size` is in bytes, as `read` reports its progress."""

    path: Path
    format: str
    size: int
    _reader: Callable[[Progress, Counter[str]], Iterator[Record]] = field(repr=False)
    left_out: Counter[str] = field(default_factory=Counter)
    """Rows that are no event and no fault, by why; complete once `read` is exhausted."""

    def read(self, progress: Progress) -> Iterator[Record]:
        """Everything in it, in its order; may be called again. Raises FileDamaged after the good part, nothing else."""
        self.left_out.clear()
        yield from self._reader(progress, self.left_out)
        progress(self.size)


def find_sources(paths: Sequence[Path], options: ReportOptions) -> list[Source]:
    """What `paths` hold; a folder stands for the files in it and below, by name, hidden ones left out; returns last.

    Looks at every file's beginning. Raises ConfigurationError, one line that names the file, for one that is missing,
    unreadable, empty, of no known format or without what its report lacks: then nothing should be written.
    """
    if options.format is not None and options.format not in FORMATS:
        raise ConfigurationError(f"unknown format {options.format}: one of {', '.join(FORMATS)}")
    zone = _zone(options.timezone)
    sources: list[Source] = []
    for path in paths:
        before = len(sources)
        sources += (_source(found, options, zone) for found in expand(path, set()))
        if len(sources) == before:
            raise ConfigurationError(f"{path}: a folder with nothing to read in it")
    # Returns are of orders that the others tell.
    return sorted(sources, key=lambda source: source.format in ("amazon-returns", "amazon-fba-returns"))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as wrong:  # unknown, a folder of the zone database, no name at all
        raise ConfigurationError(f"unknown timezone {name}: give a name like Europe/Berlin") from wrong


def expand(path: Path, seen: set[Path]) -> Iterator[Path]:
    """A file or a data set's folder itself, or what a folder holds. Folders met again, through links, are skipped."""
    try:
        if not path.is_dir() or is_olist(path):
            yield path
            return
        if (resolved := path.resolve()) in seen:
            return
        seen.add(resolved)
        children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError as wrong:
        raise ConfigurationError(f"{path}: {wrong.strerror}") from wrong
    for child in children:
        yield from expand(child, seen)


def _source(path: Path, options: ReportOptions, zone: ZoneInfo) -> Source:
    if path.is_dir():
        if options.format not in (None, "olist"):
            raise ConfigurationError(f"{path}: an Olist data set and not {options.format}")
        return Source(path, "olist", check_olist(path), partial(read_olist, path))
    size = _size(path)
    head, is_intact = peek(path, HEAD_BYTES)
    content = head.removeprefix(BOM).strip()
    if is_intact and content.strip(b'"').upper() in _NO_DATA and (content or options.format in _REPORTS):
        return Source(path, options.format or "report", size, lambda _, left_out: _nothing(left_out))
    if is_intact and not content:
        raise ConfigurationError(f"{path}: empty")
    match options.format or _format(path, head):
        case "jsonl":
            return Source(path, "jsonl", size, lambda progress, _: read_jsonl(path, progress))
        case "avro" if head.startswith(MAGIC[: len(head)]):
            check_avro(path)
            return Source(path, "avro", size, lambda progress, _: read_avro(path, progress))
        case "feedback-report" if is_feedback_report(head):
            account, poll = dated(path, _account(path, options, zone, "feedback-report")), _poll(path, options)
            return _polled(path, "feedback-report", size, options, partial(read_feedback_report, path, account, poll))
        case ("amazon-orders" | "amazon-returns" | "amazon-fba-returns") as told if _OF_ORDERS[told][0](head):
            return _polled(
                path, told, size, options, partial(_OF_ORDERS[told][1], path, _whose(path, options, zone, told))
            )
        case "amazon-order-change" if is_order_change(head):
            source = options.source or "amazon-order-change"
            read = partial(read_order_change, path, source)
            return Source(path, "amazon-order-change", size, lambda _, left_out: read(left_out))
        case "etsy" if is_etsy(head):
            return _polled(path, "etsy", size, options, partial(read_etsy, path, _shop(path, options)))
        case "olist":
            raise ConfigurationError(f"{path}: an Olist data set is a folder with its three tables in it")
        case None:
            raise ConfigurationError(f"{path}: unknown format: no {_KNOWN}")
        case told:
            raise ConfigurationError(f"{path}: not {told}")


def _size(path: Path) -> int:
    """The size of a regular file that can be opened. Raises ConfigurationError for anything else."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path}: not a regular file")
        path.open("rb").close()
        return status.st_size
    except OSError as wrong:
        raise ConfigurationError(f"{path}: {wrong.strerror}") from wrong


def _format(path: Path, head: bytes) -> str | None:
    """The format that content and name speak for; content decides where the name does not."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    suffix = suffixes[-1] if suffixes else ""
    if head.startswith(MAGIC) or suffix == ".avro":
        return "avro"
    if path.name.startswith("olist_") and suffix == ".csv":
        return "olist"
    if is_order_change(head):
        return "amazon-order-change"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if is_etsy(head):
        return "etsy"
    start = head.removeprefix(BOM).lstrip()
    is_document = start[:1] == b"[" or start.split(b"\n", 1)[0].strip() == b"{"  # JSON, but no event a line
    if not is_document and (start[:1] == b"{" or suffix == ".json"):
        return "jsonl"
    found = next((name for name, (is_one, _) in _OF_ORDERS.items() if is_one(head)), None)
    return found or ("feedback-report" if is_feedback_report(head) else None)


def _account(path: Path, options: ReportOptions, zone: ZoneInfo, form: str) -> Account:
    if not options.seller or not options.marketplace:
        raise ConfigurationError(f"{path}: a report does not say whose it is: tell --seller and --marketplace")
    return Account(options.seller, options.marketplace, zone, "", options.source or form)


def _whose(path: Path, options: ReportOptions, zone: ZoneInfo, form: str) -> Whose:
    if not options.seller:
        raise ConfigurationError(f"{path}: a report does not say whose it is: tell --seller")
    return Whose(options.seller, options.marketplace, zone, options.source or form)


def _shop(path: Path, options: ReportOptions) -> Shop:
    if not options.seller:
        raise ConfigurationError(f"{path}: Etsy's answers do not name the shop as you do: tell --seller")
    return Shop(options.seller, options.marketplace or "etsy", options.source or "etsy")


# --- reports that are polled -----------------------------------------------------------------------------------


def _poll(path: Path, options: ReportOptions) -> Poll:
    at_ms = path.stat().st_mtime_ns // 1_000_000 if options.polled_ms is None else options.polled_ms
    return Poll(at_ms, 0, is_whole=False, accepts_removals=options.accepts_removals)


def _polled(
    path: Path, form: str, size: int, options: ReportOptions, read: Callable[..., Iterator[Record]]
) -> Source:  # fmt: skip
    """A report whose events are owed, once all of it was read, before the first is handed on.

    `read` is given the keywords `polls` and `left_out`. With `options.polls` those must open now.
    """
    if options.polls is not None:
        options.polls.open()

    account = f"{options.seller}|{options.marketplace}|{form}"

    def reader(_: Progress, left_out: Counter[str]) -> Iterator[Record]:
        with Polls(None) if options.polls is None else nullcontext(options.polls) as polls:
            records, damage = _until_damage(read(polls=polls, left_out=left_out))
            polls.owe(record.item for record in records if isinstance(record.item, Parsed))
            refused_before = polls.known(_REFUSED, account)
            for record in records:
                key = _key(record) if isinstance(record.item, Refusal) else None
                if key in refused_before:
                    left_out["rows that an earlier poll refused"] += 1
                    continue
                yield record
                if key is not None:  # not owed: until it is kept it may be refused again, but never lost
                    polls.learn(_REFUSED, account, key, record.line)
        if damage is not None:
            raise damage

    return Source(path, form, size, reader)


def _key(record: Record) -> str:
    """By what a refused row is known again: its bytes and the reason."""
    return blake2b(record.raw + str(record.item).encode(), digest_size=12).hexdigest()


def _until_damage(records: Iterable[Record]) -> tuple[list[Record], FileDamaged | None]:
    found: list[Record] = []
    try:
        found.extend(records)  # keeps what came before the exception
    except FileDamaged as damage:
        return found, damage
    return found, None


def _nothing(left_out: Counter[str]) -> Iterator[Record]:
    left_out[EMPTY] += 1
    yield from ()


def owed_source(polls: Polls) -> Source | None:
    """What an earlier run was about to send, and may have; None: nothing."""
    owed = polls.owed()
    return Source(Path("owed"), "owed", len(owed), lambda *_: (Record(item, b"", 0) for item in owed)) if owed else None
