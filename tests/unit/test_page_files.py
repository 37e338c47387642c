"""The page's files: no markup out of text, nothing inline, words for everything, vendored files as they were."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sink.desk import CLOSED, OPEN
from streams.core.metrics import COUNTER_INDEX, METRIC_BY_NAME, METRICS
from streams.core.remedies import GOOD_FOR
from streams.core.rules import DEFAULT_RULES, OTHER_RULES
from streams.reading.catalogue import group_of
from tests.vendored import MANIFESTS, ROOT, sha256

STATIC = ROOT / "streams/web/static"
OURS = [file for file in STATIC.iterdir() if file.suffix in (".html", ".css", ".js")]
SCRIPTS = [file for file in OURS if file.suffix == ".js"]
PLAYBOOK: dict[str, Any] = tomllib.loads((ROOT / "streams/core/playbook.toml").read_text())
TEXT = (STATIC / "words.js").read_text()
WORDS: dict[str, list[str]] = json.loads(TEXT[TEXT.index("const WORDS = ") + 14 : TEXT.index("\n};") + 2])
# What makes markup or code out of a text.
MAKES = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc")


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.name)
def test_a_file_is_short_and_makes_no_markup_out_of_text(file: Path) -> None:
    text = file.read_text()
    assert MAKES.findall(text) == []
    assert text.count("\n") < 300
    assert "http://" not in text
    assert "https://" not in text


def test_the_page_has_no_inline_style_or_script() -> None:
    text = (STATIC / "index.html").read_text()
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", text) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", text) == []
    assert [
        file.name for file in SCRIPTS if "cssText" in file.read_text() or re.search(r"\bstyle:", file.read_text())
    ] == []


def test_every_text_is_in_both_languages_with_the_same_names_in_it() -> None:
    for key, texts in WORDS.items():
        english, chinese = texts
        assert english, key
        assert chinese, key
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key


def test_every_text_that_is_asked_for_is_there_and_every_other_is_used() -> None:
    code = "\n".join(file.read_text() for file in SCRIPTS if file.name != "words.js")
    asked = set(re.findall(r"\bt\(\"([\w. ]+)\"", code))
    assert asked <= WORDS.keys()
    kinds = (
        "metric.",
        "rule.",
        "status.",
        "ground.",
        "cause.",
        "step.",
        "good.",
        "event.",
        "group.",
        "severity.",
        "state.",
        "band.",
    )
    quoted = set(re.findall(r"[\"`]([\w.]+)[\"`]", code))
    assert {key for key in WORDS if not key.startswith(kinds)} - asked - quoted - {
        "leaves.age",
        "leaves.event",
    } == set()


@pytest.mark.parametrize(
    "kind, names",
    [
        ("metric", {re.sub(r"_(30d|60d|90d|365d|lifetime)$", "", each) for each in (*METRIC_BY_NAME, *COUNTER_INDEX)}),
        ("rule", {*(rule.name for rule in DEFAULT_RULES), *OTHER_RULES}),
        ("status", {*OPEN, *CLOSED}),
        ("ground", set(PLAYBOOK["reasons"])),
        ("cause", set(PLAYBOOK["solutions"])),
        ("step", {step["title"] for step in PLAYBOOK["step"]}),
        ("good", {good.name for good in GOOD_FOR.values()}),
        ("group", {group_of(metric) for metric in METRICS}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_there_are_words_for_whatever_the_server_names(kind: str, names: set[str]) -> None:
    assert {key.removeprefix(f"{kind}.") for key in WORDS if key.startswith(f"{kind}.")} == names


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda file: file.parent.name)
def test_vendored_files_are_those_of_the_registry_with_their_licence(manifest: Path) -> None:
    told = json.loads(manifest.read_text())
    assert told["license"] in ("MIT", "MPL-2.0")
    assert "LICENSE" in told["files"]
    assert {Path(path).name: digest for path, digest in told["files"].items()} == {
        file.name: sha256(file) for file in manifest.parent.iterdir() if file != manifest
    }
