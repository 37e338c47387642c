"""What a connector looks at before anything is written, and how it reads JSON Lines, whole, half bad and cut short."""

import bz2
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from schemas.errors import ConfigurationError, FileDamaged
from schemas.events import RECORD_MAX, Parsed, Refusal, check
from streams.connectors.files import ReportOptions, find_sources
from streams.connectors.input import RECORD_KEPT
from tests.unit.sources import (
    MASKED,
    NOW_MS,
    ORDER,
    RATING,
    SURVEY,
    bare,
    container,
    events,
    lines,
    numbered,
    one,
    records,
    refusals,
    schema_of,
    until_damage,
    write_olist,
)

PACKINGS = [(".jsonl", bytes), (".jsonl.gz", gzip.compress), (".jsonl.zst", zstandard.compress), (".ndjson", bytes)]


@pytest.mark.parametrize("suffix, pack", PACKINGS)
def test_lines_become_events_with_their_bytes_and_numbers(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"events{suffix}"
    path.write_bytes(pack(lines(ORDER, RATING, SURVEY)))
    found = records(path)
    assert [record.line for record in found] == [1, 2, 3]
    assert [record.raw for record in found] == lines(ORDER, RATING, SURVEY).splitlines()
    assert [record.item.topic for record in found] == ["orders", "feedback", "surveys"]
    assert all(check(item.topic, item.event, NOW_MS) is None for item, _, _ in found if isinstance(item, Parsed))


def test_comments_are_masked_and_the_buyer_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(RATING, SURVEY))
    rating, survey = events(records(path))
    assert rating["comment"] == MASKED
    assert survey["comment"] == "[e-mail]"
    assert not {"buyer_name", "rater_email"} & rating.keys()


def test_a_bad_line_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    bad = [
        b"{",
        b'"text"',
        b'{"topic": "coupons"}',
        b"\xff\xfe",
        b'{"topic": "orders", "event_id": "\xff"}',
        b"[" * 1010 + b"]" * 1010,
        b'{"topic": ' + b"[" * 1010 + b"]" * 1010 + b"}",
    ]
    path.write_bytes(b"".join(line + b"\n" + lines(ORDER) for line in bad))
    found = records(path)
    assert len(events(found)) == len(bad)
    reasons = dict(refusals(found))
    assert list(reasons) == [1, 3, 5, 7, 9, 11, 13]
    assert [found[line - 1].raw for line in reasons] == bad
    assert reasons[7] == reasons[9] == "not UTF-8"
    assert reasons[5] == "unknown topic: coupons"


@pytest.mark.parametrize(
    "field, value",
    [("rating", "5"), ("rating", 4.5), ("rating", True), ("date_only", "true"), ("event_time", 1.5), ("seller_id", 7)],
)
def test_types_are_strict(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines({**RATING, field: value}))
    ((item, _, _),) = records(path)
    assert isinstance(item, Refusal)
    assert item.topic == "feedback"
    assert item.reason.startswith(f"{field} is not")


def test_a_mark_of_byte_order_blank_lines_and_line_ends_of_windows_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + lines(ORDER).replace(b"\n", b"\r\n") + b"\r\n\n  \n" + lines(SURVEY).rstrip())
    found = records(path)
    assert [record.line for record in found] == [1, 5]
    assert not refusals(found)


def test_a_line_too_long_is_refused_with_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    longest = b'{"topic": "orders", "x": "' + b"x" * (RECORD_MAX - 28) + b'"}'
    assert len(longest) == RECORD_MAX
    path.write_bytes(
        gzip.compress(lines(ORDER) + longest + b"\nx" + longest * 5 + b"\n" + lines(ORDER) + longest * 2, 1)
    )
    found = records(path)
    assert refusals(found) == [
        (2, "missing event_id"),
        (3, f"a line over {RECORD_MAX} bytes"),
        (5, f"a line over {RECORD_MAX} bytes"),
    ]
    assert [len(record.raw) for record in found if record.line in (2, 3, 5)] == [RECORD_MAX, RECORD_KEPT, RECORD_KEPT]
    assert len(events(found)) == 2


def test_a_last_line_cut_short_is_a_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(ORDER, ORDER)[:-20])
    found = records(path)
    assert len(events(found)) == 1
    assert [line for line, _ in refusals(found)] == [2]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compression_cut_short_keeps_the_good_part_and_names_the_file(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "events.jsonl.xz"  # the content counts, whatever the name says
    whole = pack(numbered(20_000))
    path.write_bytes(whole[: len(whole) // 2])
    found, said = until_damage(path)
    good = events(found)
    assert 1000 < len(good) < 20_000
    assert [event["event_id"] for event in good] == [f"o-{i}" for i in range(len(good))]
    assert not refusals(found)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".zst", zstandard.compress)])
@pytest.mark.parametrize("left", [8, 20])
def test_compression_cut_before_its_first_line_is_damaged_too(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], left: int
) -> None:
    path = tmp_path / f"events.jsonl{suffix}"
    path.write_bytes(pack(lines(ORDER))[:left])
    assert until_damage(path)[0] == []


def test_the_last_line_before_the_damage_counts_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(gzip.compress(lines(ORDER, SURVEY).rstrip())[:-4])
    found, _ = until_damage(path)
    assert len(events(found)) == 2


def test_several_compressed_parts_in_one_file_are_all_read(tmp_path: Path) -> None:
    for name, pack in (("a.jsonl.gz", gzip.compress), ("b.jsonl.zst", zstandard.compress)):
        (tmp_path / name).write_bytes(pack(lines(ORDER)) + pack(lines(SURVEY)))
        assert len(events(records(tmp_path / name))) == 2


def test_progress_grows_to_the_size_of_the_file(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", numbered(20_000)), ("b.jsonl.gz", gzip.compress(numbered(20_000)))):
        path = tmp_path / name
        path.write_bytes(content)
        told: list[int] = []
        source = one(path)
        assert sum(1 for _ in source.read(told.append)) == 20_000
        assert told == sorted(told)
        assert told[-1] == source.size == len(content)
        assert len(told) > 2
        assert sum(1 for _ in source.read(told.append)) == 20_000  # a source may be read again


# --- looking before anything is written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("missing.jsonl", None, "No such file"),
        ("empty.jsonl", b"", "empty"),
        ("blank.jsonl", b"\xef\xbb\xbf \n\n", "empty"),
        ("nothing.jsonl.gz", gzip.compress(b""), "empty"),
        ("notes.txt", b"hello\n", "unknown format"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", "unknown format"),
        ("events.jsonl.bz2", bz2.compress(b"{}"), "unknown format"),
        ("array.json", b"[{}]", "unknown format"),
        ("pretty.json", b'{\n  "topic": "orders"\n}', "unknown format"),
        ("text.avro", b"hello\n", "not avro"),
        ("codec.avro", container("string", []).replace(b"null", b"lzma") + b"x", "not a readable Avro container"),
        ("string.avro", container("string", ["x"]), "not a readable Avro container"),
        ("wide.tsv", b"a\tb\tc\td\te\tf\tg\n1\t5\n", "unknown format"),
        ("six.tsv", b"a\tb\tc\td\te\tf\n1\t2.5\tx\tx\tx\tx\n", "unknown format"),
        ("olist_orders_dataset.csv", b"order_id\n", "is a folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # of a container it is another each time
)
def test_a_file_of_no_use_is_named_before_anything_is_read(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    target = path if not name.startswith("olist") else path.rename(tmp_path / "olist_orders.csv")
    with pytest.raises(ConfigurationError, match=said) as raised:
        one(target)
    assert str(target) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("options", [{"format": "xml"}, {"timezone": "Mars/Olympus"}, {"timezone": "Europe"}])
def test_options_of_no_use_are_named(tmp_path: Path, options: dict[str, str]) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(ORDER))
    with pytest.raises(ConfigurationError, match=next(iter(options.values()))):
        one(path, **options)


def test_a_format_told_beats_the_name(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(lines(ORDER))
    assert one(path).format == "jsonl"
    assert one(path, format="jsonl").format == "jsonl"
    for other in ("avro", "olist", "feedback-report"):
        with pytest.raises(ConfigurationError, match=str(path)):
            one(path, format=other)


def test_a_folder_stands_for_what_is_in_it_by_name(tmp_path: Path) -> None:
    write_olist(tmp_path / "olist")
    for name in ("b.jsonl", "a.avro", "deep/er/c.jsonl.gz", ".hidden", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(lines(ORDER))
    (tmp_path / "a.avro").write_bytes(container(schema_of("orders"), [bare(ORDER)]))
    (tmp_path / "deep" / "empty").mkdir()
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    found = find_sources([tmp_path], ReportOptions())
    assert [str(source.path.relative_to(tmp_path)) for source in found] == [
        "a.avro",
        "b.jsonl",
        "deep/er/c.jsonl.gz",
        "olist",
    ]
    assert [source.format for source in found] == ["avro", "jsonl", "jsonl", "olist"]


def test_a_folder_with_nothing_in_it_or_with_something_unknown_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing to read"):
        one(tmp_path)
    (tmp_path / "LICENSE").write_text("words")
    with pytest.raises(ConfigurationError, match="LICENSE: unknown format"):
        one(tmp_path)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        one(tmp_path / "pipe.jsonl")


def test_a_file_that_is_gone_when_it_is_read_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(lines(ORDER))
    source = one(path)
    path.unlink()
    with pytest.raises(FileDamaged, match=str(path)):
        list(source.read(lambda _: None))
